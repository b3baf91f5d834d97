"""Makes every table and picture of the Results page, and those of README.md, from the logs in reference_logs.

`python -m sdcaffe.paper.results`, in a clone, writes them where they stand. A table of a page stands between two lines,
`<!-- made: NAME -->` and `<!-- /made -->`; what is around them is written by hand.
"""

from __future__ import annotations

from sdcaffe.paper.results.pages import PAGES, written
from sdcaffe.paper.results.pictures import pictures

__all__ = ["PAGES", "pictures", "written"]
