"""SSD's MultiBoxLoss in float64 numpy: loops over the definition of weiliu89/caffe@4817bf8, with nothing of ours."""

from __future__ import annotations

import numpy as np

FLOAT_MIN = float(np.finfo(np.float32).tiny)


def overlap(a, b):
    sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
    if min(sides) <= 0:
        return 0.0
    common = sides[0] * sides[1]
    whole = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b) if x[2] > x[0] and x[3] > x[1])
    return common / (whole - common)


def decode(prior, variance, offsets, code, encoded):
    v = np.ones(4) if encoded else variance
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    size = np.array([width, height, width, height])
    if code == "CORNER":
        return prior + v * offsets
    if code == "CORNER_SIZE":
        return prior + v * offsets * size
    middle = (prior[:2] + prior[2:]) / 2 + v[:2] * offsets[:2] * size[:2]
    half = np.exp(v[2:] * offsets[2:]) * size[:2] / 2
    return np.concatenate([middle - half, middle + half])


def encode(prior, variance, box, code):
    """As the loss compares it: divided by the variances, whichever way they are encoded."""
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    size = np.array([width, height, width, height])
    if code == "CENTER_SIZE":
        moved = ((box[:2] + box[2:]) - (prior[:2] + prior[2:])) / 2 / size[:2]
        return np.concatenate([moved, np.log((box[2:] - box[:2]) / size[:2])]) / variance
    return (box - prior) / (size if code == "CORNER_SIZE" else 1) / variance


def match(truth, candidates, o):
    found, best = [-1] * len(candidates), [0.0] * len(candidates)
    if not truth:
        return found, best
    table = {}
    for i, box in enumerate(candidates):
        if o["ignore_cross_boundary_bbox"] and (min(box) < 0 or max(box) > 1):
            found[i] = -2
            continue
        for j, own in truth:
            value = overlap(box, own)
            if value > 1e-6:
                table[i, j] = value
                best[i] = max(best[i], value)
    pool = [j for j, _ in truth]
    while True:
        free = [(value, -i, -j) for (i, j), value in table.items() if found[i] == -1 and j in pool]
        if not free:
            break
        value, i, j = max(free)
        found[-i], best[-i] = -j, value
        pool.remove(-j)
    if o["match_type"] == "PER_PREDICTION":
        for i in range(len(candidates)):
            own = [(v, -j) for (k, j), v in table.items() if k == i and v >= o["overlap_threshold"]]
            if found[i] == -1 and own:
                value, j = max(own)
                found[i], best[i] = -j, value
    return found, best


def offset_terms(prior, variance, offsets, box, o):
    """The differences (4,) that the offsets' loss is of."""
    code, encoded = o["code_type"], o["encode_variance_in_target"]
    difference = (offsets / variance if encoded else offsets) - encode(prior, variance, box, code)
    if o["bp_inside"]:
        seen = prior if o["use_prior_for_matching"] else decode(prior, variance, offsets, code, encoded)
        difference = np.where((seen < 0) | (seen > 1), 0, difference)
    return difference


def offset_cost(difference, o):
    if o["loc_loss_type"] == "L2":
        return float((difference**2).sum() / 2), difference
    near = np.abs(difference) < 1
    return float(np.where(near, difference**2 / 2, np.abs(difference) - 0.5).sum()), np.clip(difference, -1, 1)


def confidence_cost(scores, label, o):
    """The cost of one prediction's scores, and its gradient; a label of None is of no class."""
    hot = np.zeros(len(scores)) if label is None else np.eye(len(scores))[label]
    if o["conf_loss_type"] == "LOGISTIC":
        cost = float((np.maximum(scores, 0) - scores * hot + np.log1p(np.exp(-np.abs(scores)))).sum())
        return cost, 1 / (1 + np.exp(-scores)) - hot
    power = np.exp(scores - scores.max())
    p = power / power.sum()
    return float(-np.log(max(p[label], FLOAT_MIN))), p - hot


def suppressed(order, boxes, costs, o):
    kept = []
    tried = sorted(order, key=lambda m: -costs[m])
    if o["nms_top_k"] > -1:
        tried = tried[: o["nms_top_k"]]
    for m in tried:
        x = boxes[m]
        if x[2] <= x[0] or x[3] <= x[1] or (x[2] - x[0]) * (x[3] - x[1]) < 1e-5:
            continue
        if all(overlap(boxes[m], boxes[k]) <= o["nms_threshold"] for k in kept):
            kept.append(m)
    return kept


def mined(found, best, costs, boxes, o):
    """The matches that stay, and the negatives."""
    hard = o["mining_type"] == "HARD_EXAMPLE"
    order = [m for m in range(len(found)) if hard or (found[m] == -1 and best[m] < o["neg_overlap"])]
    positives = sum(f > -1 for f in found)
    wanted = min(o["sample_size"] if hard else int(positives * o["neg_pos_ratio"]), len(order))
    if o["nms_threshold"] > 0:
        chosen = set(suppressed(order, boxes, costs, o)[:wanted])
    else:
        chosen = set(sorted(order, key=lambda m: -costs[m])[:wanted])
    kept = [-1 if hard and f > -1 and m not in chosen else f for m, f in enumerate(found)]
    return kept, [m for m, f in enumerate(found) if f == -1 and m in chosen]


def multibox_loss(location, confidence, priors, variances, truth, o):
    """Loss, and the gradients of offsets (n, p, 4) and scores (n, p, classes); `truth` is (label, box) pairs an item.

    Where locations are shared; the loss is divided by the number of matches.
    """
    gradients = np.zeros_like(location), np.zeros_like(confidence)
    total, matches = 0.0, 0
    for i, own in enumerate(truth):
        code, encoded = o["code_type"], o["encode_variance_in_target"]
        decoded = [decode(p, v, f, code, encoded) for p, v, f in zip(priors, variances, location[i], strict=True)]
        candidates = priors if o["use_prior_for_matching"] else decoded
        found, best = match([(j, box) for j, (_, box) in enumerate(own)], candidates, o)
        negatives = [m for m, f in enumerate(found) if f < 0]
        if o["mining_type"] != "NONE":
            costs = []
            for m, f in enumerate(found):
                costs.append(confidence_cost(confidence[i, m], own[f][0] if f > -1 else 0, o)[0])
                if f > -1 and o["mining_type"] == "HARD_EXAMPLE":
                    costs[m] += offset_cost(offset_terms(priors[m], variances[m], location[i, m], own[f][1], o), o)[0]
            boxes = priors if o["use_prior_for_nms"] else decoded
            found, negatives = mined(found, best, costs, boxes, o) if own else (found, [])
        for m, f in enumerate(found):
            if f > -1:
                matches += 1
                cost, slope = offset_cost(offset_terms(priors[m], variances[m], location[i, m], own[f][1], o), o)
                total += cost
                gradients[0][i, m] = slope
        # Without mining the fork's sigmoid has a one for the matches' labels alone, none for the background.
        background = None if o["mining_type"] == "NONE" and o["conf_loss_type"] == "LOGISTIC" else 0
        for m in [m for m, f in enumerate(found) if f > -1] + negatives:
            cost, slope = confidence_cost(confidence[i, m], own[found[m]][0] if found[m] > -1 else background, o)
            total += cost
            gradients[1][i, m] = slope
    return total / max(1, matches), *(gradient / max(1, matches) for gradient in gradients)


def multibox_loss_of_classes(location, confidence, priors, variances, truth, o):
    """As `multibox_loss`, with offsets (n, p, classes, 4) of each class apart, without mining, with a softmax.

    A class's boxes answer for the labelled boxes of that class alone; class 0 is the background.
    """
    gradients = np.zeros_like(location), np.zeros_like(confidence)
    total, matches = 0.0, 0
    code, encoded = o["code_type"], o["encode_variance_in_target"]
    for i, own in enumerate(truth):
        targets = [0] * len(priors)
        by_priors, _ = match([(j, box) for j, (_, box) in enumerate(own)], priors, o)
        for c in range(1, confidence.shape[2]):
            if o["use_prior_for_matching"]:
                found = [f if f > -1 and own[f][0] == c else -1 for f in by_priors]
            else:
                offsets = location[i, :, c]
                boxes = [decode(p, v, f, code, encoded) for p, v, f in zip(priors, variances, offsets, strict=True)]
                found, _ = match([(j, box) for j, (label, box) in enumerate(own) if label == c], boxes, o)
            for m, f in enumerate(found):
                if f > -1:
                    matches, targets[m] = matches + 1, c  # of several classes the last
                    difference = offset_terms(priors[m], variances[m], location[i, m, c], own[f][1], o)
                    cost, gradients[0][i, m, c] = offset_cost(difference, o)
                    total += cost
        for m, label in enumerate(targets):
            cost, gradients[1][i, m] = confidence_cost(confidence[i, m], label, o)
            total += cost
    return total / max(1, matches), *(gradient / max(1, matches) for gradient in gradients)
