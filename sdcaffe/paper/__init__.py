"""All that exists because of the paper: its layers, networks, recipes, published numbers, and what compares with them.

The core imports nothing of this package: its layers are found through the entry-point group `sdcaffe.layers`.
"""

ORIGIN = "the paper"
