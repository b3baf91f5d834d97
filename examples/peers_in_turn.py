"""Deep mutual learning in turn (Zhang et al., 2018): on each batch a network learns, then its peer learns from it.

Run it in a clone, or where `sdcaffe zoo quickstart_taught .` was run, with the number of iterations and the seed:

    python examples/peers_in_turn.py 400 1
"""

import sys
from pathlib import Path

import sdcaffe
from sdcaffe import log, proto

SOLVER = "prototxt/quickstart_taught/solver_peer_in_turn.prototxt"  # its net holds both, and the peer rests


def exchanged(net):
    """The net in which the peer learns, and the other network rests."""
    other = proto.copied(net)
    for layer in other.layer:
        if layer.type == "KLLoss":
            layer.bottom[:] = layer.bottom[::-1]
        if layer.name.startswith("peer_"):
            del layer.param[:]
        elif layer.type in ("Convolution", "InnerProduct", "Scale"):
            blobs = 1 if layer.type == "Convolution" else 2
            layer.param.extend(proto.ParamSpec(lr_mult=0) for _ in range(blobs))
    return other


def of_peer(solver):
    """A solver that trains the peer alone, on the same batches and the same weights."""
    settings = proto.copied(solver.param)
    settings.net_param.CopyFrom(exchanged(sdcaffe.read_net(settings.net)))
    settings.ClearField("net")
    settings.test_interval = settings.snapshot = settings.display = 0
    del settings.test_iter[:]
    with log.silent():
        other = sdcaffe.Solver(settings)
    for name, blobs in other.net.params.items():
        for blob, shared in zip(blobs, solver.net.params[name], strict=True):
            blob.data = shared.data
    return other


iterations, seed = int(sys.argv[1]), int(sys.argv[2])
settings = sdcaffe.read_solver(SOLVER)
settings.max_iter, settings.random_seed = iterations, seed
settings.snapshot_prefix += f"_seed{seed}"
Path(settings.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)
with log.setup(f"{settings.snapshot_prefix}.log"):
    first = sdcaffe.Solver(settings)
    second = of_peer(first)
    for _ in first.turns():  # by an iteration, or by a batch of a test
        with log.silent():
            second.step(first.iter - second.iter)
    with log.silent():
        first.snapshot()  # the last one once more: it was written before the peer's last step
