"""The tables and pictures of a confusion: counts by hand, names as data has them."""

from __future__ import annotations

import re

import pytest
import torch

from sdcaffe.tools.confusion import class_errors, confusion

COUNTS = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
NAMES = ("cat", "a, b", "$x_1$")


def test_classes_have_their_names() -> None:
    assert (
        class_errors(COUNTS, NAMES)
        == 'class,name,images,errors,error\n0,cat,4,1,0.25\n1,"a, b",0,0,\n2,$x_1$,4,2,0.5\n'
    )
    assert confusion(COUNTS, "csv", NAMES).decode() == 'class,cat,"a, b",$x_1$\ncat,3,1,0\n"a, b",0,0,0\n$x_1$,2,0,2\n'


@pytest.mark.parametrize("names", [(), ("one", "two")])
def test_without_one_for_each_they_are_called_by_number(names: tuple[str, ...]) -> None:
    assert class_errors(COUNTS, names).startswith("class,images,errors,error\n0,4,1,0.25\n")
    assert confusion(COUNTS, "csv", names) == b"class,0,1,2\n0,3,1,0\n1,0,0,0\n2,2,0,2\n"


@pytest.mark.parametrize(("classes", "shown"), [(3, True), (100, True), (121, False)])
def test_a_picture_has_every_name_on_both_sides_where_there_is_room(classes: int, shown: bool) -> None:
    picture = confusion(torch.eye(classes), "svg", [f"$kind_{i}" for i in range(classes)]).decode()
    assert len(re.findall(r"<!-- \$kind_\d+ -->", picture)) == (2 * classes if shown else 0)
