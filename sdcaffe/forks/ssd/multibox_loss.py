"""MultiBoxLoss: what a detector's boxes and confidences cost, beside the boxes of the labels."""

from __future__ import annotations

import enum
import math
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional

from sdcaffe import proto
from sdcaffe.forks.ssd import matching, mining
from sdcaffe.forks.ssd.boxes import CodeType, decode, encode
from sdcaffe.forks.ssd.matching import Matches, Truth
from sdcaffe.forks.ssd.messages import NonMaximumSuppressionParameter
from sdcaffe.forks.ssd.mining import MiningType
from sdcaffe.layers.base import Layer, Shape, register, show_shape
from sdcaffe.layers.loss import normalization, normalizers

_MOST = 87.3365478515625  # minus the logarithm of the least float32: what one confidence costs at most


class LocLossType(enum.IntEnum):
    L2 = 0
    SMOOTH_L1 = 1


class ConfLossType(enum.IntEnum):
    SOFTMAX = 0
    LOGISTIC = 1


class MatchType(enum.IntEnum):
    BIPARTITE = 0
    PER_PREDICTION = 1


class MultiBoxLossParameter:
    loc_loss_type: LocLossType = LocLossType.SMOOTH_L1
    conf_loss_type: ConfLossType = ConfLossType.SOFTMAX
    loc_weight: float = 1.0
    num_classes: int
    share_location: bool = True
    match_type: MatchType = MatchType.PER_PREDICTION
    overlap_threshold: float = 0.5
    use_prior_for_matching: bool = True
    background_label_id: int = 0
    use_difficult_gt: bool = True
    do_neg_mining: bool
    neg_pos_ratio: float = 3.0
    neg_overlap: float = 0.5
    code_type: CodeType = CodeType.CORNER
    encode_variance_in_target: Annotated[bool, 16] = False
    map_object_to_agnostic: bool = False
    ignore_cross_boundary_bbox: bool = False
    bp_inside: bool = False
    mining_type: MiningType = MiningType.MAX_NEGATIVE
    nms_param: NonMaximumSuppressionParameter
    sample_size: int = 64
    use_prior_for_nms: bool = False


@register("MultiBoxLoss", field="multibox_loss_param", number=201)
class MultiBoxLoss(Layer):
    """SSD's loss of offsets and confidences for labelled boxes (weiliu89/caffe@4817bf8).

    Bottoms: offsets (n, boxes * 4), of each class apart where share_location is false; confidences
    (n, boxes * num_classes), before softmax or sigmoid; PriorBox's (1, 2, boxes * 4); the label, rows of 8:
    item, label, instance, xmin, ymin, xmax, ymax, difficult (an item of -1 is no box). The top is
    loc_weight * the cost of the matched boxes' offsets + the cost of the mined confidences, both divided by
    what loss_param.normalization says: VALID, its default, is the number of matches. Gradients go to the
    first two bottoms, and are the fork's: with encode_variance_in_target the division by the variances is
    left out of it. Raises LayerError for a box of the background's label or of one that is not below num_classes.
    """

    param: proto.MultiBoxLossParameter
    Param = MultiBoxLossParameter
    bottoms = 4
    loss = True
    index_bottoms = (2, 3)
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        location, confidence, prior, label = bottom_shapes
        param = self.param
        if param.num_classes < 1:
            raise self.error(f"num_classes must be at least 1, not {param.num_classes}", "num_classes")
        mined = param.mining_type != MiningType.NONE
        if param.HasField("do_neg_mining") and param.do_neg_mining != mined:
            raise self.error("do_neg_mining and mining_type contradict each other; leave out the former", "mining_type")
        if mined and not param.share_location:
            raise self.error("mining needs share_location: true; write mining_type: NONE", "mining_type")
        background = param.background_label_id
        if param.conf_loss_type == ConfLossType.SOFTMAX and not 0 <= background < param.num_classes:
            raise self.error(
                f"background_label_id is {background}; a softmax needs one from 0 to num_classes - 1",
                "background_label_id",
            )
        if mined and background >= param.num_classes:
            raise self.error(
                f"background_label_id is {background}; mining needs one below num_classes", "background_label_id"
            )
        if not math.isfinite(param.neg_pos_ratio):
            raise self.error(f"neg_pos_ratio must be a number, not {param.neg_pos_ratio:g}", "neg_pos_ratio")
        agnostic = 2 if background >= 0 else 1
        if param.map_object_to_agnostic and param.num_classes != agnostic:
            raise self.error(f"map_object_to_agnostic needs num_classes: {agnostic}", "map_object_to_agnostic")
        if param.mining_type == MiningType.HARD_EXAMPLE and param.sample_size < 1:
            raise self.error(f"sample_size must be at least 1, not {param.sample_size}", "sample_size")
        if len(prior) != 3 or prior[1] != 2 or prior[2] % 4:
            raise self.error(f"the third bottom must be PriorBox's (1, 2, boxes * 4), not {show_shape(prior)}")
        if not label or label[-1] != 8:
            raise self.error(f"the fourth bottom must have rows of 8 numbers, not {show_shape(label)}")
        self.priors = prior[2] // 4
        self.location_classes = 1 if param.share_location else param.num_classes
        for what, shape, each in (
            ("offsets", location, 4 * self.location_classes),
            ("confidences", confidence, param.num_classes),
        ):
            if shape != (location[0], self.priors * each) and shape[2:] != (1, 1):
                raise self.error(
                    f"{self.priors} prior boxes and a batch of {location[0]} need {what} of shape "
                    f"{show_shape((location[0], self.priors * each))}, not {show_shape(shape)}"
                )
        self.mode = normalization(self.layer_param.loss_param, self.layer_param.loss_param.VALID)
        return [()]

    def forward(self, location: Tensor, confidence: Tensor, prior: Tensor, label: Tensor) -> Tensor:
        n, param = location.shape[0], self.param
        offsets = location.float().reshape(n, self.priors, self.location_classes, 4)
        scores = confidence.float().reshape(n, self.priors, param.num_classes)
        priors, variances = prior.detach().float().reshape(2, self.priors, 4)
        with torch.no_grad():
            truth = self._truth(label, n)
            matches, negative = self._chosen(offsets.detach(), scores.detach(), priors, variances, truth)
        box = matches.box.reshape(n, self.location_classes, self.priors)
        item, cls, place = (box >= 0).nonzero(as_tuple=True)
        matched = box[item, cls, place]
        total = location.new_zeros((), dtype=torch.float32)
        wanted = list(self.layer_param.propagate_down) or [True, True]
        if wanted[0]:
            costs = self._offset_costs(offsets[item, place, cls], priors[place], variances[place], truth.boxes[matched])
            total = total + param.loc_weight * costs.sum()
        if wanted[1]:
            labels = truth.labels[matched]
            if param.map_object_to_agnostic:
                labels = torch.full_like(labels, param.background_label_id + 1)
            total = total + self._confidence_loss(scores, (item, place), labels, negative)
        return total / self._normalizer(n, len(matched))

    def _truth(self, label: Tensor, n: int) -> Truth:
        param = self.param
        free = param.map_object_to_agnostic and param.mining_type == MiningType.NONE
        try:
            truth = matching.read_truth(
                label,
                n,
                background=param.background_label_id,
                classes=torch.inf if free else param.num_classes,
                difficult=param.use_difficult_gt,
            )
        except ValueError as error:
            raise self.error(str(error)) from None
        return truth.by_label(self.location_classes) if self._matches_classes_apart else truth

    def _normalizer(self, n: int, matches: int) -> float:
        loss_param = self.layer_param.loss_param
        if self.mode in normalizers:
            return max(1, normalizers[self.mode](loss_param))
        places = {loss_param.VALID: matches, loss_param.BATCH_SIZE: n, loss_param.NONE: 1}
        return max(1, places.get(self.mode, n * self.priors))

    # ---------------------------------------------------------------- which predictions count

    def _chosen(
        self, offsets: Tensor, scores: Tensor, priors: Tensor, variances: Tensor, truth: Truth
    ) -> tuple[Matches, Tensor | None]:
        """The matches that count, and a mark (n, boxes) for the unmatched that do; None: all of them."""
        param = self.param
        decoded = None
        if not param.use_prior_for_matching or (self._suppresses and not param.use_prior_for_nms):
            encoded = param.encode_variance_in_target
            boxes = decode(offsets, priors[:, None], None if encoded else variances[:, None], param.code_type)
            decoded = boxes.transpose(1, 2).flatten(0, 1)
        matches = self._matches(truth, priors if param.use_prior_for_matching else decoded)
        if param.mining_type == MiningType.NONE:
            return matches, None
        labels = torch.full_like(matches.box, param.background_label_id)
        if param.mining_type == MiningType.HARD_EXAMPLE and len(truth.labels):
            labels = torch.where(matches.box >= 0, truth.labels[matches.box.clamp(min=0)], labels)
        costs = self._costs(scores.flatten(0, 1), labels.flatten()).reshape(labels.shape)
        suppression = None
        if self._suppresses:
            boxes = priors if decoded is None or param.use_prior_for_nms else decoded
            suppression = mining.Suppression(boxes, param.nms_param.nms_threshold, param.nms_param.top_k)
        if param.mining_type == MiningType.MAX_NEGATIVE:
            found = mining.negatives(
                matches, costs, ratio=param.neg_pos_ratio, below=param.neg_overlap, suppression=suppression
            )
            return matches, found
        item, place = (matches.box >= 0).nonzero(as_tuple=True)
        boxes = truth.boxes[matches.box[item, place]]
        costs[item, place] += self._offset_costs(offsets[item, place, 0], priors[place], variances[place], boxes)
        return mining.hard_examples(matches, costs, truth.has_any, size=param.sample_size, suppression=suppression)

    @property
    def _suppresses(self) -> bool:
        param = self.param
        return bool(
            param.mining_type != MiningType.NONE and param.HasField("nms_param") and param.nms_param.nms_threshold > 0
        )

    @property
    def _matches_classes_apart(self) -> bool:
        """Whether each class has boxes of its own, which are matched with the labelled boxes of that class."""
        return not (self.param.share_location or self.param.use_prior_for_matching)

    def _matches(self, truth: Truth, candidates: Any) -> Matches:
        """For each item, or item and class, in that order: (n * location classes, boxes)."""
        param = self.param
        own = truth.by_class(self.location_classes) if self._matches_classes_apart else truth
        found = matching.match(
            own.boxes,
            own.counts,
            candidates,
            threshold=param.overlap_threshold if param.match_type == MatchType.PER_PREDICTION else None,
            inside_only=param.ignore_cross_boundary_bbox,
        )
        if param.use_prior_for_matching and not param.share_location:
            return matching.of_classes(found, truth.labels, self.location_classes)
        return found

    # ---------------------------------------------------------------- what they cost

    def _offset_costs(self, offsets: Tensor, priors: Tensor, variances: Tensor, boxes: Tensor) -> Tensor:
        """What the offsets (m, 4) of matched predictions cost: (m,)."""
        param = self.param
        target = encode(boxes, priors, variances, param.code_type)
        inside = self._inside(offsets.detach(), priors, variances) if param.bp_inside else None
        if param.encode_variance_in_target:
            offsets = offsets + (offsets / variances - offsets).detach()
        if param.loc_loss_type == LocLossType.L2:
            costs = (offsets - target).square() / 2
        else:
            costs = functional.smooth_l1_loss(offsets, target, reduction="none")
        return (costs if inside is None else costs.masked_fill(~inside, 0)).sum(1)

    def _inside(self, offsets: Tensor, priors: Tensor, variances: Tensor) -> Tensor:
        """Which sides of the boxes that were matched lie in the image, (m, 4)."""
        param = self.param
        if not param.use_prior_for_matching:
            priors = decode(offsets, priors, None if param.encode_variance_in_target else variances, param.code_type)
        return (priors >= 0) & (priors <= 1)

    def _costs(self, scores: Tensor, labels: Tensor) -> Tensor:
        """What the scores (m, classes) cost as predictions of labels (m,): (m,)."""
        if self.param.conf_loss_type == ConfLossType.LOGISTIC:
            target = labels[:, None] == torch.arange(scores.shape[1], device=scores.device)
            return _logistic(scores, target.float()).sum(1)
        costs = functional.cross_entropy(scores, labels, reduction="none")
        return costs - (costs - costs.clamp(max=_MOST)).detach()

    def _confidence_loss(
        self, scores: Tensor, positive: tuple[Tensor, Tensor], labels: Tensor, negative: Tensor | None
    ) -> Tensor:
        """The cost of the confidences of the matched predictions, by item and place, and of the negatives."""
        background = self.param.background_label_id
        if negative is None:
            return self._loss_of_all(scores, positive, labels)
        item, place = negative.nonzero(as_tuple=True)
        item, place = torch.cat([positive[0], item]), torch.cat([positive[1], place])
        labels = torch.cat([labels, labels.new_full((len(item) - len(labels),), background)])
        chosen = scores.flatten(0, 1).index_select(0, item * self.priors + place)
        if self.param.conf_loss_type == ConfLossType.LOGISTIC:
            target = torch.full_like(chosen, background)  # what the fork's targets are beside the ones
            known = (labels >= 0).nonzero()[:, 0]
            target[known, labels[known]] = 1
            return _logistic(chosen, target).sum()
        return self._costs(chosen, labels).sum()

    def _loss_of_all(self, scores: Tensor, positive: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Without mining: the cost of all confidences, those without a match being background.

        With LOGISTIC the fork puts the ones of item i by (i * boxes + place * classes + label), which is right for
        the first item alone; so does this.
        """
        background, (item, place) = self.param.background_label_id, positive
        if self.param.conf_loss_type == ConfLossType.LOGISTIC:
            target = torch.full_like(scores, background)
            target.view(-1)[item * self.priors + place * self.param.num_classes + labels] = 1
            return _logistic(scores, target).sum()
        found = torch.full((scores.shape[0] * self.priors,), -1, device=scores.device)
        found.scatter_reduce_(0, item * self.priors + place, labels, "amax")  # of several classes the last counts
        return self._costs(scores.flatten(0, 1), torch.where(found >= 0, found, background)).sum()


def _logistic(scores: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
