"""The folders that stand beside `sdcaffe` in the clone and inside it in a wheel. All else is in pyproject.toml."""

from setuptools import find_namespace_packages, find_packages, setup

INSIDE = {
    "sdcaffe.converters": "converters",
    "sdcaffe.prototxt": "prototxt",
    "sdcaffe.reference_logs.paper": "reference_logs/paper",
}
NETWORKS = [f"sdcaffe.prototxt.{name}" for name in find_namespace_packages("prototxt")]

setup(packages=[*find_packages(include=["sdcaffe", "sdcaffe.*"]), *INSIDE, *NETWORKS], package_dir=INSIDE)
