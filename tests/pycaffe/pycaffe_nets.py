"""Small nets and helpers for tests of the face that scripts see."""

from __future__ import annotations

import numpy as np

from sdcaffe import pycaffe as caffe


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def net_of(folder, text, phase=caffe.TRAIN, **options):
    """The net of a prototxt, written to a file as a script has it."""
    path = folder / "net.prototxt"
    path.write_text(text)
    return caffe.Net(str(path), phase, **options)


def input_layer(name, *shape):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def layer(name, type_name, bottoms="", tops="", body=""):
    blobs = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layer {{ name: "{name}" type: "{type_name}" {" ".join(blobs)} {body} }}\n'


def product(name, bottom, outputs, body=""):
    param = f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    return layer(name, "InnerProduct", bottom, name, f"{param} {body}")


PLAIN = input_layer("data", 2, 3) + product("ip", "data", 4) + layer("relu", "ReLU", "ip", "ip")
