from __future__ import annotations

import pytest

from sdcaffe import pycaffe


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    pycaffe.set_random_seed(1)
