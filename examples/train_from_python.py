"""Trains the quickstart from Python, changes a loss weight on the way, and tests.

Run it in a clone, or where `sdcaffe zoo quickstart .` was run, with the number of iterations:

    python examples/train_from_python.py 400
"""

import sys

import sdcaffe

iterations = int(sys.argv[1])

settings = sdcaffe.read_solver("prototxt/quickstart/solver_self_distilled.prototxt")
settings.max_iter = iterations
settings.snapshot_prefix = "python_run"
solver = sdcaffe.Solver(settings)

solver.step(iterations // 2)
solver.net.set_loss_weight("kl", 0.5)  # from the next step on
solver.step(iterations - iterations // 2)

print("smoothed training loss:", round(solver.loss, 3))
solver.test_all()  # logs each output of the test net
print("error of one test batch:", 1 - float(solver.test_nets[0].forward()["accuracy"]))
solver.net.save("python_run.caffemodel")
