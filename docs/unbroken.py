"""A hook of mkdocs: a short piece of code within a line, such as a flag, is not broken at its hyphens."""

import re
from typing import Any


def on_page_content(html: str, **_: Any) -> str:
    """The page with a class for such pieces, which pages.css keeps on one line."""
    return re.sub(r"<code>([^<>]{1,32})</code>", r'<code class="short">\1</code>', html)
