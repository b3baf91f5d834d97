"""Backward of each utility layer against numeric differences, over shapes and options that hypothesis picks."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_building import apart, few, gradients_agree, make, normal, whole

size = st.integers(1, 3)
shapes = st.lists(size, min_size=1, max_size=4).map(tuple)
seed = st.integers(0, 99)
data = st.data()


def axis_of(shape):
    """Any axis of `shape`, counted from either end."""
    return st.integers(-len(shape), len(shape) - 1)


@few
@given(shape=shapes, data=data, seed=seed)
def test_softmax(shape, data, seed):
    layer = make("Softmax", f"softmax_param {{ axis: {data.draw(axis_of(shape))} }}", shape)
    assert gradients_agree(layer, normal(*shape, seed=seed))


@few
@given(
    shape=shapes,
    count=st.integers(2, 4),
    body=st.sampled_from(
        ["operation: SUM", "operation: SUM coeff", "operation: PROD", "operation: PROD stable_prod_grad: false"]
    ),
    seed=seed,
)
def test_eltwise(shape, count, body, seed):
    if body.endswith("coeff"):
        body = "operation: SUM " + " ".join(f"coeff: {1.5 - i}" for i in range(count))
    layer = make("Eltwise", f"eltwise_param {{ {body} }}", *[shape] * count)
    assert gradients_agree(layer, *[normal(*shape, seed=seed + i) for i in range(count)])


@few
@given(shape=shapes, count=st.integers(2, 4), seed=seed)
def test_eltwise_max(shape, count, seed):
    bottoms = [bottom.clone().detach().requires_grad_() for bottom in apart(count, *shape, seed=seed)]
    assert gradients_agree(make("Eltwise", "eltwise_param { operation: MAX }", *[shape] * count), *bottoms)


@few
@given(shape=shapes, sizes=st.lists(size, min_size=1, max_size=3), data=data)
def test_concat_and_slice(shape, sizes, data):
    axis = data.draw(axis_of(shape))
    parts = [tuple(n if i == axis % len(shape) else m for i, m in enumerate(shape)) for n in sizes]
    bottoms = [normal(*part, seed=i) for i, part in enumerate(parts)]
    concat = make("Concat", f"concat_param {{ axis: {axis} }}", *parts)
    assert gradients_agree(concat, *bottoms)
    points = " ".join(f"slice_point: {sum(sizes[:i])}" for i in range(1, len(sizes)))
    joined = concat(*bottoms).detach().requires_grad_()
    layer = make("Slice", f"slice_param {{ axis: {axis} {points} }}", joined.shape, tops=len(sizes))
    assert layer.top_shapes == parts
    assert gradients_agree(layer, joined)


@few
@given(shape=shapes, tops=st.integers(1, 3))
def test_split(shape, tops):
    layer = make("Split", "", shape, tops=tops)
    # A view for each top: gradcheck takes no output that is its own input.
    layer.register_forward_hook(lambda *call: tuple(top.view_as(top) for top in call[2]))
    assert gradients_agree(layer, normal(*shape))


@few
@given(shape=shapes, data=data)
def test_flatten_and_reshape(shape, data):
    first, last = sorted(data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=2, max_size=2)))
    bottom = normal(*shape)
    assert gradients_agree(make("Flatten", f"flatten_param {{ axis: {first} end_axis: {last} }}", shape), bottom)
    body = f"axis: {first} num_axes: {last - first + 1} shape {{ dim: 1 dim: -1 dim: 1 }}"
    assert gradients_agree(make("Reshape", f"reshape_param {{ {body} }}", shape), bottom)


@few
@given(shape=shapes, tiles=size, data=data)
def test_tile(shape, tiles, data):
    layer = make("Tile", f"tile_param {{ axis: {data.draw(axis_of(shape))} tiles: {tiles} }}", shape)
    assert gradients_agree(layer, normal(*shape))


@few
@given(
    shape=shapes,
    operation=st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]),
    coefficient=st.sampled_from([1.0, -0.5, 3.0]),
    data=data,
)
def test_reduction(shape, operation, coefficient, data):
    body = f"operation: {operation} axis: {data.draw(axis_of(shape))} coeff: {coefficient}"
    assert gradients_agree(make("Reduction", f"reduction_param {{ {body} }}", shape), apart(*shape))


@few
@given(shape=st.tuples(size, size, st.integers(2, 3), size), across=st.booleans(), variance=st.booleans(), seed=seed)
def test_mvn(shape, across, variance, seed):
    """With the eps of 1e-9 that is the default; a larger one is Caffe's own: test_mvn.py."""
    body = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()}"
    assert gradients_agree(make("MVN", f"mvn_param {{ {body} }}", shape), apart(*shape, seed=seed))


@few
@given(shape=shapes, count=st.integers(1, 5), seed=seed)
def test_batch_reindex(shape, count, seed):
    layer = make("BatchReindex", "", shape, (count,))
    assert gradients_agree(layer, normal(*shape), whole(0, shape[0], count, seed=seed))


@few
@given(n=st.integers(1, 5), rest=st.lists(size, max_size=2), seed=seed)
def test_filter(n, rest, seed):
    shape = (n, *rest)
    selector = whole(0, 2, n, seed=seed)
    selector[-1] = 1  # gradcheck wants an output
    layer = make("Filter", "", shape, (n, 2), (n,), tops=2)
    assert gradients_agree(layer, normal(*shape), normal(n, 2), selector)


def test_parameter():
    layer = make("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }")
    layer.register_forward_hook(lambda *call: call[2] * 1)  # gradcheck takes no output that is its own input
    assert gradients_agree(layer)
    assert torch.equal(layer(), layer.blobs[0])
