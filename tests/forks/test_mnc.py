"""MNC's MaskPooling, MaskResize and ROIWarping against numpy that goes through pixels as the fork's kernels do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fork_layers import gradients_agree, make, run, values
from fork_written import agree_everywhere

from sdcaffe.errors import LayerError


def test_mask_pooling(tmp_path, monkeypatch):
    x, mask = values(3, 2, 4, 5), values(3, 1, 4, 5, seed=1)
    layer = make("MaskPooling", "", [x.shape, mask.shape])
    want = np.stack([[channel * own[0] for channel in item] for item, own in zip(x, mask, strict=True)])
    assert np.allclose(run(layer, x, mask), want)
    assert gradients_agree(layer, x, mask)
    agree_everywhere(tmp_path, monkeypatch, 'type: "MaskPooling"', [x, mask], want)


def between(y, x, height, width):
    """The four pixels around a point, as (row, column, share); none more than half a pixel off the image."""
    if not (-0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5):
        return []
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    return [
        (top, left, (1 - v) * (1 - u)),
        (top, right, (1 - v) * u),
        (below, left, v * (1 - u)),
        (below, right, v * u),
    ]


@pytest.mark.parametrize("size", [(4, 3), (6, 7), (11, 20)])
def test_mask_resize(size, tmp_path, monkeypatch):
    x = values(2, 1, 6, 7)
    grad = values(2, 1, *size, seed=1)
    ratios = 6 / size[0], 7 / size[1]
    want, slope = np.zeros((2, 1, *size)), np.zeros_like(x)
    for row, column in np.ndindex(*size):
        for i, j, share in between(row * ratios[0], column * ratios[1], 6, 7):
            want[:, :, row, column] += share * x[:, :, i, j]
            if row - int(i / ratios[0]) in (0, 1) and column - int(j / ratios[1]) in (0, 1):
                slope[:, :, i, j] += share * grad[:, :, row, column]
    body = f"mask_resize_param {{ output_height: {size[0]} output_width: {size[1]} }}"
    layer = make("MaskResize", body, [x.shape])
    bottom = torch.tensor(x, requires_grad=True)
    top = layer(bottom)
    (top * torch.tensor(grad)).sum().backward()
    assert np.allclose(top.detach().numpy(), want)
    assert np.allclose(bottom.grad.numpy(), slope)
    if size[0] <= 6 and size[1] <= 7:  # of no mask that is made larger
        assert gradients_agree(layer, x)
    agree_everywhere(tmp_path, monkeypatch, f'type: "MaskResize" {body}', [x], want)


REGIONS = np.array([[0, 2, 3, 15, 12.7], [1, -9, -5, 9, 30], [1, 6, 6, 6, 6], [0, 16, 1, 23, 4.4], [1, 9, 9, 4, 20]])


def rounded(value):
    return math.copysign(math.floor(abs(value) + 0.5), value)


def warped(x, regions, size, scale, grad):
    """Top, gradient to x and to the regions, one number of the top at a time."""
    height, width = x.shape[2:]
    top = np.zeros((len(regions), x.shape[1], *size))
    to_x, to_regions = np.zeros_like(x), np.zeros_like(regions)
    for r, (item, *edges) in enumerate(regions):
        left, first, right, last = (rounded(edge * scale) for edge in edges)
        cells = [max(last - first + 1, 1) / size[0], max(right - left + 1, 1) / size[1]]
        for c, row, column in np.ndindex(x.shape[1], *size):
            y = first + row * max(last - first, 0) / size[0]
            u = left + column * max(right - left, 0) / size[1]
            around = between(y, u, height, width)
            image, weight = x[int(item), c], grad[r, c, row, column]
            for i, j, share in around:
                top[r, c, row, column] += share * image[i, j]
                rows = range(math.floor((i - first - 1) / cells[0] - 1), math.ceil((i - first + 1) / cells[0]))
                columns = range(math.floor((j - left - 1) / cells[1] - 1), math.ceil((j - left + 1) / cells[1]))
                if first <= i <= last and left <= j <= right and row in rows and column in columns:
                    to_x[int(item), c, i, j] += share * weight
            if not around:
                continue
            y, u = min(max(y, 0), height - 1), min(max(u, 0), width - 1)
            if int(y) + 1 > height - 1 or int(u) + 1 > width - 1:
                continue
            v, h = y - int(y), u - int(u)
            (a, b), (d, e) = image[int(y) : int(y) + 2, int(u) : int(u) + 2]
            sideways, down = (1 - v) * (b - a) + v * (e - d), (1 - h) * (d - a) + h * (e - b)
            x_share, y_share = (u - left) / cells[1] / size[1], (y - first) / cells[0] / size[0]
            shares = (sideways * (1 - x_share), down * (1 - y_share), sideways * x_share, down * y_share)
            to_regions[r, 1:] += scale * weight * np.array(shares)
    return top, to_x, to_regions


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((3, 4), 0.5),
        pytest.param((14, 12), 0.5, marks=pytest.mark.slow),
        pytest.param((2, 2), 1, marks=pytest.mark.slow),
    ],
)
def test_roi_warping(size, scale, tmp_path, monkeypatch):
    x, grad = values(2, 2, 9, 12), values(len(REGIONS), 2, *size, seed=1)
    body = f"roi_warping_param {{ pooled_h: {size[0]} pooled_w: {size[1]} spatial_scale: {scale} }}"
    want = warped(x, REGIONS, size, scale, grad)
    layer = make("ROIWarping", body, [x.shape, REGIONS.shape])
    bottoms = [torch.tensor(x, requires_grad=True), torch.tensor(REGIONS, requires_grad=True)]
    top = layer(*bottoms)
    (top * torch.tensor(grad)).sum().backward()
    for found, expected in zip((top.detach(), bottoms[0].grad, bottoms[1].grad), want, strict=True):
        assert np.allclose(found.numpy(), expected)
    assert np.allclose(run(layer, x, REGIONS), want[0])
    agree_everywhere(tmp_path, monkeypatch, f'type: "ROIWarping" {body}', [x, REGIONS], want[0])


@pytest.mark.parametrize(
    ("kind", "body", "shapes", "word"),
    [
        ("MaskPooling", "", [(2, 3, 4, 4), (2, 3, 4, 4)], r"masks \(n, 1, h, w\)"),
        ("MaskResize", "", [(2, 3, 4, 4)], "output_height"),
        ("ROIWarping", "", [(2, 3, 4, 4), (2, 5)], "pooled_h"),
        ("ROIWarping", "roi_warping_param { pooled_h: 1 pooled_w: 1 }", [(2, 3, 4, 4), (2, 4)], "5 numbers"),
    ],
)
def test_what_is_wrong_is_named(kind, body, shapes, word):
    with pytest.raises(LayerError, match=word):
        make(kind, body, shapes)


def test_an_item_there_is_not():
    layer = make("ROIWarping", "roi_warping_param { pooled_h: 1 pooled_w: 1 }", [(2, 3, 4, 4), (1, 5)])
    with pytest.raises(LayerError, match="item 2, but the batch has 0 to 1"):
        layer(torch.zeros(2, 3, 4, 4), torch.tensor([[2.0, 0, 0, 1, 1]]))
