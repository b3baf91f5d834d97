"""Runs a function in several processes that train together, forked from one that has imported what they need."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import traceback

import torch

from sdcaffe.run import launch, processes

PATIENCE = 120  # seconds

_context = multiprocessing.get_context("forkserver")
# torch imports the last two when a function of one's own, or DistributedDataParallel, is first used
_context.set_forkserver_preload(
    [
        "sdcaffe.run.launch",
        "sdcaffe.solver",
        "sdcaffe.paper.layers",
        "torch.fx.experimental.symbolic_shapes",
        "torch._dynamo",
    ]
)


def together(world, function, *args):
    """`function(*args)` of each of `world` processes, in the order of their ranks."""
    store = launch.new_store()
    pipes, children = [], []
    for rank in range(world):
        here, there = _context.Pipe(duplex=False)
        child = _context.Process(target=_child, args=(launch.environment(rank, world, store), there, function, args))
        child.start()
        there.close()
        pipes.append(here)
        children.append(child)
    try:
        answers = [_answer(pipe) for pipe in pipes]
    finally:
        for child in children:
            child.join(20)
            child.kill()
    for _, trace in answers:
        assert trace is None, trace
    return [value for value, _ in answers]


def _answer(pipe):
    if not pipe.poll(PATIENCE):
        return None, f"no answer within {PATIENCE} s"
    try:
        return pipe.recv()
    except EOFError:
        return None, "the process ended without an answer"


def _child(environment, pipe, function, args):
    os.environ.update(environment)
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(PATIENCE - 10)  # where it hangs, if it does
    try:
        with processes.launched("cpu"):
            value = function(*args)
        pipe.send((value, None))
    except BaseException:
        pipe.send((None, traceback.format_exc()))
