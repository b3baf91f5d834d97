"""What a net computes, before any layer exists: which layers a state keeps, and who makes and reads each blob."""

from sdcaffe.graph.graph import ANONYMOUS, Graph, Step, build_graph
from sdcaffe.graph.splits import insert_splits, moved_weights
from sdcaffe.graph.state import keep_layers, kept_places, net_state, with_layers

__all__ = [
    "ANONYMOUS",
    "Graph",
    "Step",
    "build_graph",
    "insert_splits",
    "keep_layers",
    "kept_places",
    "moved_weights",
    "net_state",
    "with_layers",
]
