"""DetectNet's training data, of NVIDIA Caffe: pictures that are varied, and boxes laid over a grid.

From NVIDIA/caffe@4b8d54d (branch caffe-0.15; 0.17 computes the same), as its code for the CPU computes it.
"""
