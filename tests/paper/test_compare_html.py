from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from compare_logs import BASELINE, DISTILLED, SMALL

from sdcaffe.cli import main
from sdcaffe.paper.compare import svg

VOID = {"meta"}


class Page(HTMLParser):
    """Notes what a page refers to and its text, and that every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def page(tmp_path: Path) -> Page:
    other = replace(BASELINE, network=SMALL, net="ResNet-14 CIFAR-100 <script>alert(1)</script> & more")
    logs = (
        BASELINE,
        BASELINE.with_seed(2, 0.7, 0.68),
        DISTILLED,
        replace(DISTILLED.with_seed(2, 0.3, 0.4), until=90_000),
        other,
    )
    for i, log in enumerate(logs):
        (tmp_path / f"{i}.log").write_text(log.text())
    assert main(["compare", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert not re.search(r"@import|url\((?!#)|https?://", text)
    return Page(text)


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert page.open == []
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)


def test_the_page_shows_tables_curves_and_parameters(page: Page) -> None:
    for text in ("Table 1", "Table 6", "31.50 ± 0.71", "28.00", "cut short at 90,000 of 156,250 (58%)", "2.79"):
        assert text in page.words
    assert "KL gradient" in page.words
    assert "ResNet-14 CIFAR-100 <script>alert(1)</script> & more" in page.words
    # In two panels the mean of two seeds with its band, a seed, a run that was cut short; the other net has no picture.
    assert (page.tags.count("polyline"), page.tags.count("polygon")) == (6, 2)
    assert "baseline: 31.50 ± 0.71 %, 2 seeds" in page.words
    assert page.tags.count("details") == 5  # the run of a network that the paper has not, too


def test_a_run_cut_short_has_its_curve_and_the_paper_s_value_as_a_line(tmp_path: Path) -> None:
    cut = replace(BASELINE, until=110_000, solver={"precision": '"bf16"'})
    for name, log in (("cut", cut), ("short", replace(DISTILLED, max_iter=900))):
        (tmp_path / f"{name}.log").write_text(log.text())
    assert main(["compare", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert "0finished runs of the paper's settings1runs of other settings1runs cut short" in page.words
    assert "ResNet-32, CIFAR-100, bf16" in page.words
    assert [page.words.count(f"paper {error}") for error in ("31.01", "28.22")] == [1, 1]  # in pictures of their own
    assert "cut short at 110,000 of 156,250 (70%); bf16, tests too" in page.words


def test_a_page_without_logs_has_the_published_values(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert main(["compare", str(tmp_path / "none"), "--html", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text())
    assert "28.22" in page.words
    assert "polyline" not in page.tags


def test_an_error_far_from_the_papers_is_an_arrow_and_a_near_one_a_dot() -> None:
    assert "<circle" in svg.offset(31.01, [31.5], None, result=True)
    for error, tip in ((89.8, "M146"), (3.0, "M4,")):
        far = svg.offset(31.01, [error], None, result=False)
        assert "<circle" not in far
        assert tip in far
