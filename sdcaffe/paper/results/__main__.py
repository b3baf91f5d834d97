"""`python -m sdcaffe.paper.results`: writes the tables and pictures of the pages here anew from reference_logs."""

from __future__ import annotations

from pathlib import Path

from sdcaffe import proto
from sdcaffe.paper.results import PAGES, pictures, written


def main() -> None:
    if not all(Path(page).is_file() for page in PAGES):
        raise SystemExit(f"run this in a clone of sdcaffe: it writes {', '.join(PAGES)} anew from reference_logs")
    texts = {page: written(Path(page).read_text(encoding="utf-8"), page) for page in PAGES}
    for name, text in (texts | pictures()).items():
        path = Path(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            with proto.atomic_write(path) as file:
                file.write(text.encode())
            print(name)


if __name__ == "__main__":
    main()
