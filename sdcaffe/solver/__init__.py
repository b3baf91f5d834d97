"""Training: learning-rate policies, update rules, the loop, snapshots."""

from sdcaffe.solver.solver import Solver

__all__ = ["Solver"]
