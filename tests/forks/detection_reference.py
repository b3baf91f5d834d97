"""DetectionOutput and DetectionEvaluate in float64 numpy: loops over the definition of weiliu89/caffe@4817bf8."""

from __future__ import annotations

import numpy as np
from multibox_reference import decode, overlap


def detection_output(location, confidence, prior, o):
    """The rows of offsets (n, boxes, 1 or classes, 4) and scores (n, boxes, classes); `o` has every option."""
    priors, variances = prior[0].reshape(2, -1, 4)
    rows = []
    for i, scores in enumerate(confidence):
        kept = []
        for label in range(scores.shape[1]):
            if label == o["background_label_id"]:
                continue
            own = location[i, :, label % location.shape[2]]
            coded = o["code_type"], o["variance_encoded_in_target"]
            boxes = [decode(p, v, f, *coded) for p, v, f in zip(priors, variances, own, strict=True)]
            order = [m for m in range(len(boxes)) if scores[m, label] > o["confidence_threshold"]]
            order.sort(key=lambda m, label=label: -scores[m, label])
            threshold, chosen = o["nms_threshold"], []
            for m in order[: o["top_k"]] if o["top_k"] > -1 else order:
                if all(overlap(boxes[m], boxes[k]) <= threshold for k in chosen):
                    chosen.append(m)
                    threshold *= o["eta"] if threshold > 0.5 else 1
            kept += [[i, label, scores[m, label], *boxes[m]] for m in chosen]
        if -1 < o["keep_top_k"] < len(kept):
            kept = sorted(sorted(kept, key=lambda row: -row[2])[: o["keep_top_k"]], key=lambda row: row[1])
        rows += kept
    return np.array(rows or [[i, *[-1] * 6] for i in range(len(confidence))])


class DetectionEvaluate:
    """Judges batches of detections (m, 7) beside labelled boxes (k, 8); `sizes` are the (height, width) of images.

    `resize` is None or what resize_param says, as a dict.
    """

    def __init__(self, o, sizes, resize):
        self.o, self.sizes, self.resize, self.seen = o, sizes, resize, 0

    def __call__(self, detections, labels):
        o, rows = self.o, []
        end = np.flatnonzero(labels[:, 0] == -1)
        truth = labels[: end[0]] if len(end) else labels
        for c in range(o["num_classes"]):
            if c != o["background_label_id"]:
                counted = [t for t in truth if t[1] == c and (o["evaluate_difficult_gt"] or not t[7])]
                rows.append([-1, c, len(counted), -1, -1])
        for item in np.unique(detections[:, 0]):
            for c in np.unique(detections[detections[:, 0] == item, 1]):
                if c != -1:
                    own = [d for d in detections if d[0] == item and d[1] == c]
                    rows += self.judged(own, [t for t in truth if t[0] == item and t[1] == c])
            if self.sizes:
                self.seen = (self.seen + 1) % len(self.sizes)
        return np.array(rows, float).reshape(-1, 5)

    def judged(self, detections, truth):
        if not truth:
            return [[*d[:3], 0, 1] for d in detections]
        boxes, visited, rows = [self.placed(t[3:7]) for t in truth], set(), []
        for d in sorted(detections, key=lambda d: -d[2]):
            values = [self.overlap(self.placed(d[3:7]), box) for box in boxes]
            best = int(np.argmax(values))
            right = values[best] >= self.o["overlap_threshold"]
            if right and truth[best][7] and not self.o["evaluate_difficult_gt"]:
                rows.append([*d[:3], 0, 0])
            else:
                rows.append([*d[:3], float(right and best not in visited), float(not right or best in visited)])
                visited |= {best} if right else set()
        return rows

    def placed(self, box):
        """A box as it is compared, and its area."""
        if not self.sizes:
            return box, area(box, 0)
        (height, width), resize = self.sizes[self.seen], self.resize or {"resize_mode": "WARP"}
        image = np.array([width, height, width, height])
        if resize["resize_mode"] == "FIT_SMALL_SIZE" and resize.get("height_scale"):
            fixed = np.array([resize["width_scale"], resize["height_scale"]] * 2)
            placed = np.clip(box * fixed, 0, image)
            return placed, area(placed, 0)
        if resize["resize_mode"] == "FIT_LARGE_SIZE_AND_PAD":
            box = unpadded(box, width / height, resize["width"], resize["height"])
        placed = np.clip(box, 0, 1) * image
        return placed, area(placed, 1 if max(height, width) > 1 else 0)

    def overlap(self, one, other):
        (a, a_area), (b, b_area) = one, other
        more = 1 if self.sizes else 0
        sides = np.array([more, more], float)
        if not ((b[:2] > a[2:]) | (b[2:] < a[:2])).any():
            sides += np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        common = sides[0] * sides[1]
        return common / (a_area + b_area - common) if (sides > 0).all() else 0


def area(box, more):
    width, height = box[2] - box[0], box[3] - box[1]
    return 0 if min(width, height) < 0 else (width + more) * (height + more)


def unpadded(box, aspect, width, height):
    """A box of a padded input as fractions of the picture inside; one beside the picture as it is."""
    beside = np.array([0, (height - width / aspect) / 2 / height])
    if aspect <= width / height:
        beside = np.array([(width - height * aspect) / 2 / width, 0])
    first, last = beside, 1 - beside
    if (box[:2] >= last).any() or (box[2:] <= first).any():
        return box
    return np.clip((box - np.tile(first, 2)) / np.tile(last - first, 2), 0, 1)
