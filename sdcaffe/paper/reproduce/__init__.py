"""The runs of the published tables: which they are, what each costs, and their training."""

from __future__ import annotations

from sdcaffe.paper.reproduce.jobs import Job, jobs, mark_done
from sdcaffe.paper.reproduce.prices import prices
from sdcaffe.paper.reproduce.several import fitting, run_all
from sdcaffe.paper.reproduce.training import Limit, plan_lines

__all__ = ["Job", "Limit", "fitting", "jobs", "mark_done", "plan_lines", "prices", "run_all"]
