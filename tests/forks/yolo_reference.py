"""YOLO's losses and scores in float64 numpy: loops over cells, boxes and labels; independent of the package."""

from __future__ import annotations

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def shared(a, b):
    """The area that two boxes (x, y, w, h) share."""
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    return 0.0 if min(sides) < 0 else sides[0] * sides[1]


def iou(a, b):
    return shared(a, b) / (a[2] * a[3] + b[2] * b[3] - shared(a, b))


def measure(a, b, kind):
    plain = iou(a, b)
    if kind in ("MSE", "IOU"):
        return plain
    w, h = (
        max(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - min(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    )
    if kind == "GIOU":
        return plain - (w * h - (a[2] * a[3] + b[2] * b[3] - shared(a, b))) / (w * h)
    away = ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (w * w + h * h)
    if kind == "DIOU":
        return plain - away**0.6
    turned = 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2
    return plain - (away + turned / (1 - plain + turned + 1e-6) * turned)


def slopes(p, t, kind):
    """darknet's derivatives of the measure: of the four sides first, then of x, y and (twice) w, h."""
    top, bottom, left, right = p[1] - p[3] / 2, p[1] + p[3] / 2, p[0] - p[2] / 2, p[0] + p[2] / 2
    top2, bottom2, left2, right2 = t[1] - t[3] / 2, t[1] + t[3] / 2, t[0] - t[2] / 2, t[0] + t[2] / 2
    high, wide = min(bottom, bottom2) - max(top, top2), min(right, right2) - max(left, left2)
    common = high * wide
    union = p[2] * p[3] + t[2] * t[3] - common
    hull_w, hull_h = max(right, right2) - min(left, left2), max(bottom, bottom2) - min(top, top2)
    of_area = {"t": -p[2], "b": p[2], "l": -p[3], "r": p[3]}
    of_common = {
        "t": -wide if top > top2 else 0,
        "b": wide if bottom < bottom2 else 0,
        "l": -high if left > left2 else 0,
        "r": high if right < right2 else 0,
    }
    of_union = {k: of_area[k] - of_common[k] for k in of_area}
    found = {k: (union * of_common[k] - common * of_union[k]) / union**2 for k in of_area}
    apart = wide <= 0 or high <= 0
    if kind == "GIOU":
        whole = hull_w * hull_h
        of_hull = {
            "t": -hull_w if top < top2 else 0,
            "b": hull_w if bottom > bottom2 else 0,
            "l": -hull_h if left < left2 else 0,
            "r": hull_h if right > right2 else 0,
        }
        added = {k: (whole * of_union[k] - union * of_hull[k]) / whole**2 for k in of_area}
        found = added if apart else {k: found[k] + added[k] for k in found}
    result = [found["l"] + found["r"], found["t"] + found["b"], found["r"] - found["l"], found["b"] - found["t"]]
    if kind not in ("DIOU", "CIOU"):
        return result
    away = (p[0] - t[0]) ** 2 + (p[1] - t[1]) ** 2
    diagonal = hull_w**2 + hull_h**2
    added = []
    for axis, hull, low, last in ((0, hull_w, left < left2, right > right2), (1, hull_h, top < top2, bottom > bottom2)):
        moved = int(last) - int(low)
        added.append((2 * (t[axis] - p[axis]) * diagonal - 2 * hull * moved * away) / diagonal**2)
    for hull, low, last in ((hull_w, left < left2, right > right2), (hull_h, top < top2, bottom > bottom2)):
        added.append(2 * hull * 0.5 * (int(low) + int(last)) * away / diagonal**2)
    if kind == "CIOU":
        turned = math.atan(t[2] / t[3]) - math.atan(p[2] / p[3])
        unlike = 4 / math.pi**2 * turned**2
        weight = unlike / (1 - common / union + unlike + 1e-6)
        added[2] += weight * 8 / math.pi**2 * turned * p[3]
        added[3] -= weight * 8 / math.pi**2 * turned * p[2]
    return added if apart else [a + b for a, b in zip(result, added, strict=True)]


class Yolov3:
    """The loss and the gradient of maps `x` (n, num * (5 + classes), h, w) for labels (n, 300, 5)."""

    def __init__(self, x, labels, param):
        self.n, _, self.h, self.w = x.shape
        self.p = param
        self.raw = x.reshape(self.n, param["num"], 5 + param["num_class"], self.h, self.w)
        self.value = sigmoid(self.raw)
        self.value[:, :, 2:4] = self.raw[:, :, 2:4]
        self.slope = np.zeros_like(self.raw)
        self.biases = np.reshape(param["biases"], (-1, 2))
        self.labels = labels
        self.measures = []

    def box(self, b, a, j, i):
        v, bias, unit = self.value[b, a, :, j, i], self.biases[self.p["mask"][a]], self.p["anchors_scale"]
        w, h = (math.exp(v[2 + k]) * bias[k] / (unit * size) for k, size in ((0, self.w), (1, self.h)))
        return [(i + v[0]) / self.w, (j + v[1]) / self.h, w, h]

    def train_box(self, b, a, j, i, truth):
        p, kind = self.p, self.p["iou_loss"]
        slope, v = self.slope[b, a, :, j, i], self.value[b, a, :, j, i]
        pred = self.box(b, a, j, i)
        if kind == "MSE":
            bias, unit = self.biases[p["mask"][a]], p["anchors_scale"]
            wanted = [truth[0] * self.w - i, truth[1] * self.h - j]
            wanted += [math.log(truth[2] * self.w * unit / bias[0]), math.log(truth[3] * self.h * unit / bias[1])]
            slope[:4] = p["coord_scale"] * (2 - truth[2] * truth[3]) * (v[:4] - wanted)
            return
        found = slopes(pred, truth, kind)
        found[2:] = [found[2] * math.exp(v[2]), found[3] * math.exp(v[3])]
        found = np.clip(np.array(found) * p["iou_normalizer"], -p["max_delta"], p["max_delta"])
        slope[:4] = (slope[:4] if p["accumulate"] else 0) - found
        self.measures.append(measure(pred, truth, kind if kind in ("GIOU", "CIOU") else "DIOU"))

    def train_classes(self, b, a, j, i, label):
        p = self.p
        slope, v, eps = self.slope[b, a, 5:, j, i], self.value[b, a, 5:, j, i], p["label_smooth_eps"]
        if slope[label]:
            slope[label] = -p["class_scale"] * ((1 - eps) + 0.5 * eps - v[label])
            return
        for k in range(p["num_class"]):
            if p["use_focal_loss"]:
                own = v[label] + 1e-15
                steep = -(1 - own) * (2 * own * math.log(own) + own - 1)
                slope[k] = -p["class_scale"] * ((k == label) - v[k]) * 0.5 * steep
            else:
                slope[k] = -p["class_scale"] * ((k == label) * (1 - eps) + 0.5 * eps - v[k])

    def train_on(self, b, label, truth):
        p = self.p
        i, j = int(truth[0] * self.w), int(truth[1] * self.h)
        sizes = [[0, 0, w / (self.w * p["anchors_scale"]), h / (self.h * p["anchors_scale"])] for w, h in self.biases]
        fit = [measure(size, [0, 0, *truth[2:]], p["iou_loss"]) for size in sizes]
        best, most = -1, 0
        for k, value in enumerate(fit):
            if value > most:
                best, most = k, value
        anchors = []
        if best in p["mask"]:
            best = p["mask"].index(best)
            anchors.append(best)
        for k, value in enumerate(fit):
            if k in p["mask"] and k != best and value > p["iou_thresh"] and p["iou_thresh"] < 1:
                anchors.append(p["mask"].index(k))
        for a in anchors:
            self.train_box(b, a, j, i, truth)
            self.slope[b, a, 4, j, i] = self.value[b, a, 4, j, i] - 1
            if p["use_logic_gradient"]:
                self.slope[b, a, 4, j, i] *= p["object_scale"]
            self.train_classes(b, a, j, i, label)

    def result(self):
        p = self.p
        for b in range(self.n):
            rows = [row for row in self.labels[b] if row[1]]
            for a, j, i in np.ndindex(p["num"], self.h, self.w):
                near = max([measure(self.box(b, a, j, i), row[1:], p["iou_loss"]) for row in rows], default=0)
                self.slope[b, a, 4, j, i] = 0 if near > p["thresh"] else self.value[b, a, 4, j, i]
            for row in rows:
                self.train_on(b, int(row[0]), row[1:])
        squares = self.slope**2
        bend = self.value * (1 - self.value)
        if p["iou_loss"] == "MSE":
            loss = squares.sum()
        else:
            loss = squares[:, :, 4:].sum()
            if self.measures:
                loss += p["iou_normalizer"] * np.mean([1 - m for m in self.measures])
            bend[:, :, :2] = self.raw[:, :, :2] * (1 - self.raw[:, :, :2])
        bend[:, :, 2:4] = 1
        slope = self.slope * bend if p["use_logic_gradient"] else self.slope
        return loss / self.n, slope.reshape(self.n, -1, self.h, self.w) / self.n


def region_loss(x, boxes, param, intel):
    """The loss and the gradient of `x` (n, num * (5 + classes), s, s) for lists of (class, x, y, w, h) an image."""
    n, _, side, _ = x.shape
    num, classes = param["num"], param["num_class"]
    value = x.reshape(n, num, 5 + classes, side, side).transpose(0, 1, 3, 4, 2).copy()
    slope = np.zeros_like(value)
    biases = np.reshape(param["biases"], (-1, 2))

    def box(v, a, j, i):
        w, h = (math.exp(v[2 + k]) * biases[a][k] / side for k in (0, 1))
        return [(i + sigmoid(v[0])) / side, (j + sigmoid(v[1])) / side, w, h]

    value[..., 4] = sigmoid(value[..., 4])
    value[..., 5:] = np.exp(value[..., 5:]) / np.exp(value[..., 5:]).sum(-1, keepdims=True)
    for b in range(n):
        for a, j, i in np.ndindex(num, side, side):
            v = value[b, a, j, i]
            near = max([iou(box(v, a, j, i), row[1:]) for row in boxes[b]], default=0)
            if near <= param["thresh"]:
                slope[b, a, j, i, 4] = param["noobject_scale"] * v[4] * v[4] * (1 - v[4])
        for label, *truth in boxes[b]:
            i, j = int(truth[0] * side), int(truth[1] * side)
            best, most, at = 0, 0, (0, 0, 0, 0)
            for a in range(num):
                w, h = biases[a] / side if param["bias_match"] else box(value[b, a, j, i], a, j, i)[2:]
                if iou([0, 0, w, h], [0, 0, *truth[2:]]) > most:
                    best, most, at = a, iou([0, 0, w, h], [0, 0, *truth[2:]]), (b, a, j, i)
            v, s = value[at], slope[at]
            middle = sigmoid(v[:2])
            wanted = [truth[0] * side - i, truth[1] * side - j]
            off = np.concatenate([wanted - middle, np.log(np.array(truth[2:]) * side / biases[best]) - v[2:4]])
            scale = param["coord_scale"]
            if intel:
                off = np.clip(off, -1, 1)
                rise = 2 * (1 - v[4]) ** 3
            else:
                scale *= 1 if param["rescore"] else 2 - truth[2] * truth[3]
                rise = (iou(box(v, best, j, i), truth) if param["rescore"] else 1) - v[4]
            s[:4] = -scale * off * np.concatenate([middle * (1 - middle), [1, 1]])
            s[4] = -param["object_scale"] * rise * v[4] * (1 - v[4])
            s[5:] = param["class_scale"] * (v[5:] - np.eye(classes)[int(label)])
    loss = (slope**2).sum() / (1 if intel else n)
    return loss, slope.transpose(0, 1, 4, 2, 3).reshape(x.shape) / n


def eval_detection(x, boxes, param):
    """Intel's scores of `x` (n, num * (5 + classes), s, s) against lists of (class, x, y, w, h) an image."""
    n, _, side, _ = x.shape
    num, classes = param["num_object"], param["num_class"]
    top = np.zeros((n, classes + side * side * num * 4))
    value = x.reshape(n, num, 5 + classes, side, side)
    for b in range(n):
        found = []
        for j, i, a in np.ndindex(side, side, 5):
            v = value[b, a, :, j, i]
            odds = np.exp(v[5:]) / np.exp(v[5:]).sum()
            score = {"OBJ": sigmoid(v[4]), "PROB": odds.max(), "MULTIPLY": sigmoid(v[4]) * odds.max()}[
                param["score_type"]
            ]
            w, h = (math.exp(v[2 + k]) * param["biases"][2 * a + k] / side for k in (0, 1))
            found.append((score, int(odds.argmax()), [(i + sigmoid(v[0])) / side, (j + sigmoid(v[1])) / side, w, h]))
        kept = []
        for one in sorted(found, key=lambda f: -f[0]):
            if all(iou(other[2], one[2]) < param["nms"] for other in kept):
                kept.append(one)
        for row in boxes[b]:
            top[b, int(row[0])] += 1
        kept = sorted([one for one in kept if one[0] >= 0.005], key=lambda f: f[1])
        used = set()
        for place, (score, label, box) in enumerate(kept):
            own = [k for k, row in enumerate(boxes[b]) if int(row[0]) == label]
            right = wrong = 0
            if own:
                best = max(own, key=lambda k: iou(box, boxes[b][k][1:]))
                if iou(box, boxes[b][best][1:]) >= param["threshold"]:
                    right, wrong = int(best not in used), int(best in used)
                    used.add(best)
            else:
                wrong = 1
            top[b, classes + 4 * place : classes + 4 * place + 4] = label, score, right, wrong
    return top
