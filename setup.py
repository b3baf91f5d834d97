"""The folders that stand beside `sdcaffe` in the clone and inside it in a wheel. All else is in pyproject.toml."""

from setuptools import find_packages, setup

INSIDE = {"sdcaffe.converters": "converters"}

setup(packages=[*find_packages(include=["sdcaffe", "sdcaffe.*"]), *INSIDE], package_dir=INSIDE)
