"""SSD300's heads and data against the same work by others: DetectionOutput, MultiBoxLoss, AnnotatedData.

    python tests/benchmarks/ssd.py [--rounds 9] [--batch 8] [--processor-time]

DetectionOutput of 8,732 boxes and 21 classes against torchvision's decoding and batched_nms; a step of MultiBoxLoss
against SSD's loss in plain PyTorch; AnnotatedData against ImageData with the same JPEGs, resized to 300 by 300.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_iou

sys.path.insert(0, str(Path(__file__).parent))
from side_by_side import take_turns

import sdcaffe
from sdcaffe import proto
from sdcaffe.data import feed
from sdcaffe.forks.ssd import picture_feed
from sdcaffe.layers.base import class_of

Works = Callable[[int], tuple[Callable[[], object], Callable[[], object]]]

BOXES, CLASSES = 8732, 21
VARIANCE = (0.1, 0.1, 0.2, 0.2)


def layer(text: str, shapes: list[tuple[int, ...]], phase: int) -> sdcaffe.Layer:
    param = proto.NetParameter()
    proto.text.parse(text, param, "benchmark")
    made = class_of(param.layer[0])(param.layer[0], phase)
    made.setup(shapes)
    return made


def priors(random: np.random.RandomState) -> Tensor:
    """Boxes of all sizes all over the image, as PriorBox gives them."""
    centre, size = random.rand(BOXES, 2), random.uniform(0.05, 0.6, (BOXES, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return torch.tensor(np.stack([boxes.ravel(), np.tile(VARIANCE, BOXES)])[None], dtype=torch.float32)


def decoded(offsets: Tensor, boxes: Tensor) -> Tensor:
    variance = torch.tensor(VARIANCE)
    size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    centre = offsets[..., :2] * variance[:2] * size + middle
    half = (offsets[..., 2:] * variance[2:]).exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def detections(batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """SSD's DetectionOutput, and the same detections by torchvision."""
    random = np.random.RandomState(0)
    prior, location = priors(random), torch.tensor(random.randn(batch, BOXES * 4), dtype=torch.float32) * 0.5
    logits = torch.tensor(random.randn(batch, BOXES, CLASSES), dtype=torch.float32) * 1.5
    logits[..., 0] += 6  # most boxes are background
    confidence = logits.softmax(2).reshape(batch, -1)
    text = (
        'layer { name: "d" type: "DetectionOutput" bottom: "a" bottom: "b" bottom: "c" top: "d" detection_output_param '
        f"{{ num_classes: {CLASSES} code_type: CENTER_SIZE nms_param {{ nms_threshold: 0.45 top_k: 400 }} "
        "keep_top_k: 200 confidence_threshold: 0.01 } }"
    )
    ours = layer(text, [tuple(t.shape) for t in (location, confidence, prior)], sdcaffe.TEST)

    @torch.no_grad()
    def rival() -> object:
        boxes = decoded(location.reshape(batch, BOXES, 4), prior[0, 0].reshape(-1, 4))
        found = []
        for image, scores in zip(boxes, confidence.reshape(batch, BOXES, CLASSES), strict=True):
            parts = []
            for label in range(1, CLASSES):
                kept = (scores[:, label] > 0.01).nonzero()[:, 0]
                best = scores[kept, label].topk(min(400, len(kept)))
                parts.append((image[kept[best.indices]], best.values, torch.full((len(best.values),), label)))
            rows = [torch.cat(part) for part in zip(*parts, strict=True)]
            found.append(batched_nms(*rows, 0.45)[:200])
        return found

    return lambda: ours(location, confidence, prior), rival


def losses(batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A step, forward and backward, of MultiBoxLoss, and of SSD's loss in plain PyTorch."""
    random = np.random.RandomState(0)
    prior = priors(random)
    rows = []
    for item in range(batch):
        for _ in range(3):
            left, top = random.uniform(0, 0.5, 2)
            rows.append([item, random.randint(1, CLASSES), 0, left, top, *(np.array([left, top]) + 0.4), 0])
    label = torch.tensor(rows, dtype=torch.float32)[None, None]
    location = torch.randn(batch, BOXES * 4).requires_grad_()
    confidence = torch.randn(batch, BOXES * CLASSES).requires_grad_()
    text = (
        'layer { name: "l" type: "MultiBoxLoss" bottom: "a" bottom: "b" bottom: "c" bottom: "d" top: "l" '
        f"multibox_loss_param {{ num_classes: {CLASSES} code_type: CENTER_SIZE }} }}"
    )
    ours = layer(text, [tuple(t.shape) for t in (location, confidence, prior, label)], sdcaffe.TRAIN)

    def plain() -> Tensor:
        boxes = prior[0, 0].reshape(-1, 4)
        size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        target, labels = torch.zeros(batch, BOXES, 4), torch.zeros(batch, BOXES, dtype=torch.long)
        for item in range(batch):
            own = label[0, 0][label[0, 0, :, 0] == item]
            overlap = box_iou(own[:, 3:7], boxes)
            best, which = overlap.max(0)
            first = overlap.argmax(1)
            best[first], which[first] = 2, torch.arange(len(own))
            truth = own[which, 3:7]
            moved = ((truth[:, 2:] + truth[:, :2]) / 2 - middle) / size / 0.1
            target[item] = torch.cat([moved, ((truth[:, 2:] - truth[:, :2]) / size).log() / 0.2], 1)
            labels[item] = torch.where(best >= 0.5, own[which, 1].long(), 0)
        positive = labels > 0
        loss = F.smooth_l1_loss(location.reshape(batch, BOXES, 4)[positive], target[positive], reduction="sum")
        costs = F.cross_entropy(confidence.reshape(-1, CLASSES), labels.flatten(), reduction="none")
        negative = costs.detach().reshape(batch, BOXES).masked_fill(positive, 0)
        rank = negative.argsort(1, descending=True).argsort(1)
        chosen = positive | (rank < 3 * positive.sum(1, keepdim=True))
        return (loss + costs.reshape(batch, BOXES)[chosen].sum()) / positive.sum()

    return lambda: ours(location, confidence, prior, label).backward(), lambda: plain().backward()


def pictures(
    folder: Path, count: int, batch: int, *, in_memory: bool
) -> tuple[Callable[[], object], Callable[[], object]]:
    """An epoch of AnnotatedData, and of ImageData, of the same JPEGs: from disk each time, or what is in memory."""
    folder.mkdir()
    random = np.random.RandomState(0)
    with lmdb.open(str(folder / "db"), map_size=1 << 28) as env, env.begin(write=True) as transaction:
        for i in range(count):
            small = random.randint(0, 256, (24, 32, 3)).astype(np.uint8)
            Image.fromarray(small).resize((500, 375)).save(folder / f"{i}.jpg", quality=90)
            record = proto.AnnotatedDatum(type=0, datum={"data": (folder / f"{i}.jpg").read_bytes(), "encoded": True})
            record.datum.height, record.datum.width, record.datum.channels = 375, 500, 3
            box = record.annotation_group.add(group_label=1).annotation.add().bbox
            box.xmin, box.ymin, box.xmax, box.ymax = 0.2, 0.2, 0.7, 0.8
            transaction.put(b"%08d" % i, record.SerializeToString())
    (folder / "list").write_text("".join(f"{i}.jpg 1\n" for i in range(count)))
    mean = "mean_value: 104 mean_value: 117 mean_value: 123"
    tops = 'top: "x" top: "y"'
    annotated = (
        f'layer {{ name: "a" type: "AnnotatedData" {tops} transform_param {{ {mean} resize_param {{ height: 300 '
        f'width: 300 }} }} data_param {{ source: "{folder}/db" batch_size: {batch} backend: LMDB }} }}'
    )
    listed = (
        f'layer {{ name: "b" type: "ImageData" {tops} transform_param {{ {mean} }} image_data_param {{ '
        f'source: "{folder}/list" root_folder: "{folder}/" batch_size: {batch} new_height: 300 new_width: 300 }} }}'
    )
    picture_feed.KEPT_BYTES, feed.RESIDENT_ENCODED_BYTES = (1 << 28, 1 << 28) if in_memory else (0, 0)
    device = torch.device("cpu")

    def epoch(made: sdcaffe.Layer) -> None:
        for _ in range(count // batch):
            made.next_batch(device)

    made = [layer(text, [], sdcaffe.TEST) for text in (annotated, listed)]
    return partial(epoch, made[0]), partial(epoch, made[1])


def _call(work: Callable[[], object]) -> None:
    work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--processor-time", action="store_true", help="of all threads: for a busy machine")
    args = parser.parse_args()
    clock = time.process_time if args.processor_time else time.perf_counter
    sdcaffe.discover()
    with tempfile.TemporaryDirectory() as folder:
        works: dict[str, Works] = {
            "DetectionOutput / batched_nms": detections,
            "MultiBoxLoss / plain PyTorch": losses,
            "AnnotatedData / ImageData, from disk": partial(pictures, Path(folder) / "a", 200, in_memory=False),
            "AnnotatedData / ImageData, in memory": partial(pictures, Path(folder) / "b", 200, in_memory=True),
        }
        for name, work in works.items():
            ours, rival = work(args.batch)
            times = take_turns({"ours": partial(_call, ours), "rival": partial(_call, rival)}, args.rounds, clock=clock)
            median, least, most = times.ratio("ours", "rival")
            print(f"{name}: {median:.2f} ({least:.2f} to {most:.2f}) of its time, {times.median('ours') * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
