"""DetectionOutput and DetectionEvaluate with drawn combinations of their options, against the fork's definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detection_reference import DetectionEvaluate, detection_output
from fork_layers import make

FIRST = float(np.finfo(np.float32).min)


def text(o):
    return " ".join(f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in o.items())


def rounded(o):
    """The options as float32 has them."""
    return {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in o.items()}


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_detections_of_any_options_are_the_forks(code):
    random = np.random.RandomState(5)
    for _ in range(40):
        n, boxes, classes = random.randint(1, 4), random.randint(1, 25), random.randint(1, 5)
        o = {
            "share_location": bool(random.rand() < 0.5),
            "background_label_id": int(random.choice([-1, 0, 1, 7])),
            "code_type": code,
            "variance_encoded_in_target": bool(random.rand() < 0.4),
            "keep_top_k": int(random.choice([-1, 0, 3, 10])),
            "confidence_threshold": float(random.choice([FIRST, 0, 0.3, 0.9])),
        }
        o["background_label_id"] += o["share_location"] and o["background_label_id"] == -1
        nms = {
            "nms_threshold": float(random.choice([0, 0.2, 0.5, 0.6, 0.8, 1])),
            "top_k": int(random.choice([-1, 0, 1, 6, 50])),
            "eta": float(random.choice([1, 0.9, 0.5])),
        }
        body = f"detection_output_param {{ num_classes: {classes} {text(o)} nms_param {{ {text(nms)} }} }}"
        middle, side = random.uniform(0, 1, (boxes, 2)), random.uniform(0.1, 0.5, (boxes, 2))
        priors = np.concatenate([middle - side / 2, middle + side / 2], 1).ravel()
        scale, variance = (0.2, 0.7) if o["variance_encoded_in_target"] else (2, 0.1)
        arrays = (
            scale * random.randn(n, boxes, 1 if o["share_location"] else classes, 4),
            random.permutation(n * boxes * classes).reshape(n, boxes, classes) / (n * boxes * classes),
            np.stack([priors, np.full(len(priors), variance)])[None],
        )
        arrays = tuple(a.astype(np.float32) for a in arrays)
        given = [torch.from_numpy(a.reshape(n, -1)) for a in arrays[:2]] + [torch.from_numpy(arrays[2])]
        layer = make("DetectionOutput", body, [g.shape for g in given], double=False)
        found = layer(*given).numpy()[0, 0]
        expected = detection_output(*(a.astype(float) for a in arrays), rounded(o | nms))
        assert found.shape == expected.shape, body
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-5), body


RESIZES = [
    {"resize_mode": "WARP", "height": 20, "width": 60},
    {"resize_mode": "FIT_LARGE_SIZE_AND_PAD", "height": 50, "width": 20},
    {"resize_mode": "FIT_SMALL_SIZE", "height": 20, "width": 20},
    {"resize_mode": "FIT_SMALL_SIZE", "height": 20, "width": 60, "height_scale": 30, "width_scale": 90},
]


@pytest.mark.parametrize("resize", [None, *RESIZES], ids=lambda r: r and f"{r['resize_mode']}{len(r)}")
@pytest.mark.parametrize("sized", [False, True], ids=["fractions", "pixels"])
def test_what_is_right_is_the_forks_definition(sized, resize, tmp_path):
    """With sizes of one pixel among them, and boxes that end before they begin."""
    random = np.random.RandomState(3)
    for _ in range(12):
        o = {
            "num_classes": int(random.randint(1, 5)),
            "background_label_id": int(random.choice([0, 1, 9])),
            "overlap_threshold": float(random.choice([0.05, 0.3, 0.5, 0.8])),
            "evaluate_difficult_gt": bool(random.rand() < 0.5),
        }
        body, sizes = text(o), []
        if sized:
            sizes = [(int(random.choice([1, 7, 100])), int(random.choice([1, 9, 40]))) for _ in range(4)] + [(1, 1)]
            lines = [f"image{i} {height} {width}\n" for i, (height, width) in enumerate(sizes)]
            (tmp_path / "sizes").write_text("".join(lines))
            body += f' name_size_file: "{tmp_path}/sizes"'
        if resize:
            body += f" resize_param {{ {text(resize)} }}"
        layer = make("DetectionEvaluate", f"detection_evaluate_param {{ {body} }}", [(1, 1, 1, 7), (1, 1, 1, 8)])
        layer.float()
        reference = DetectionEvaluate(rounded(o), sizes, resize)
        for _ in range(4):
            detections, truth = batch(random, o)
            found = layer(torch.from_numpy(detections)[None, None], torch.from_numpy(truth)[None, None])
            expected = reference(detections.astype(float), truth.astype(float))
            assert found.shape[2:] == expected.shape
            assert np.allclose(found.numpy()[0, 0], expected, atol=1e-6), body


def batch(random, o):
    """Labelled boxes of some items, and detections near them and elsewhere."""
    labels = [label for label in range(o["num_classes"] + 1) if label != o["background_label_id"]]
    truth, found = [[-1.0] * 8], [[0, -1, -1, -1, -1, -1, -1]]
    for item in range(random.randint(1, 5)):
        for _ in range(random.randint(0, 4)):
            first = random.uniform(-0.2, 0.8, 2)
            last = first + random.uniform(-0.05 if random.rand() < 0.2 else 0.1, 0.5, 2)
            truth.insert(0, [item, random.choice(labels), 0, *first, *last, random.rand() < 0.3])
            if random.rand() < 0.8:
                near = np.array([*first, *last]) + random.randn(2, 4) * 0.06
                found += [[item, truth[0][1], 0, *box] for box in near]
        first = random.uniform(-0.2, 0.8, 2)
        found.append([item, random.choice(labels), 0, *first, *first + random.uniform(0.05, 0.5, 2)])
    table = np.array(found, np.float32)
    table[1:, 2] = random.permutation(len(found) - 1) / len(found)
    return table, np.array(truth, np.float32)
