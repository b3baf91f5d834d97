"""Nets that several processes train as one would: no draws but the order of images and the weights at the start."""

from __future__ import annotations

DATA = """
name: "shared"
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TRAIN }
  data_param { source: "synthetic:train" batch_size: BATCH shuffle: true seed: 3 } }
layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
  data_param { source: "synthetic:test" batch_size: 20 } }
layer { name: "normal" type: "Distort" bottom: "x" top: "data" distort_param { mean_value: 128 std_value: 64 } }
"""

# One layer is frozen, one has its parameters from another, one leads nowhere, and one to an output without a loss.
PLAIN = (
    DATA
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 weight_filler { type: "msra" } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "frozen" type: "Convolution" bottom: "conv" top: "frozen" param { lr_mult: 0 } param { lr_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "one" type: "Convolution" bottom: "frozen" top: "one" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "tanh1" type: "TanH" bottom: "one" top: "one" }
layer { name: "two" type: "Convolution" bottom: "one" top: "two" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "two" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "aside" type: "InnerProduct" bottom: "two" top: "aside" inner_product_param { num_output: 2 } }
layer { name: "quiet" type: "Silence" bottom: "aside" }
layer { name: "shown" type: "InnerProduct" bottom: "two" top: "shown" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
)

# No ReLU: an activation within a rounding error of its corner has two gradients, and 50 iterations make much of that.
NORMALISED = (
    DATA
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "conv2" type: "Convolution" bottom: "conv" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "tanh2" type: "TanH" bottom: "bn2" top: "bn2" }
layer { name: "fc" type: "InnerProduct" bottom: "bn2" top: "fc"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
)

# Two branches with the same parameters. The second sees blurred images, for there to be a difference without draws.
BRANCH = """
layer { name: "conv_BRANCH" type: "Convolution" bottom: "data_BRANCH" top: "conv_BRANCH"
  param { name: "conv.w" } param { name: "conv.b" }
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 weight_filler { type: "msra" } } }
layer { name: "tanh_BRANCH" type: "TanH" bottom: "conv_BRANCH" top: "conv_BRANCH" }
layer { name: "feature_BRANCH" type: "Pooling" bottom: "conv_BRANCH" top: "feature_BRANCH"
  pooling_param { pool: AVE kernel_size: 5 stride: 5 } }
layer { name: "fc_BRANCH" type: "InnerProduct" bottom: "feature_BRANCH" top: "fc_BRANCH"
  param { name: "fc.w" } param { name: "fc.b" }
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss_BRANCH" type: "SoftmaxWithLoss" bottom: "fc_BRANCH" bottom: "label" top: "loss_BRANCH" }
"""
SELF_DISTILLED = (
    DATA
    + 'layer { name: "data_a" type: "Split" bottom: "data" top: "data_a" top: "sharp" }\n'
    + """layer { name: "data_b" type: "Pooling" bottom: "sharp" top: "data_b"
  pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 } }
"""
    + BRANCH.replace("BRANCH", "a")
    + BRANCH.replace("BRANCH", "b")
    + """
layer { name: "mmd" type: "MMDLoss" bottom: "feature_a" bottom: "feature_b" top: "mmd" loss_weight: 0.5 }
layer { name: "kl" type: "KLLoss" bottom: "fc_a" bottom: "fc_b" top: "kl" loss_weight: 0.5 }
"""
)

SOLVER = """
net: "net_WORLD.prototxt" type: "Nesterov" base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.001
max_iter: 50 display: 10 test_iter: 5 test_interval: 1000 snapshot_prefix: "run_WORLD" solver_mode: CPU random_seed: 4
"""


def write(folder, world, net, more="", batch=24):
    """The net with its share of a global batch, and a solver of it; the solver's path."""
    (folder / f"net_{world}.prototxt").write_text(net.replace("BATCH", str(batch // world)))
    path = folder / f"solver_{world}.prototxt"
    path.write_text(SOLVER.replace("WORLD", str(world)) + more)
    return path
