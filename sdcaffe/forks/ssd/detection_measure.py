"""eval_type "detection": a test's score is the mean average precision of DetectionEvaluate's rows."""

from __future__ import annotations

import logging
from typing import Annotated

from sdcaffe import proto
from sdcaffe.errors import SolverError, unknown
from sdcaffe.forks.ssd.average_precision import VERSIONS, Judged, mean
from sdcaffe.log import glog, number
from sdcaffe.net import Net
from sdcaffe.net.net import Pass
from sdcaffe.solver.lines import Scores
from sdcaffe.solver.measures import Measure, register_measure


@register_measure("detection")
class MeanAveragePrecision(Measure):
    """The mean over the classes of the average precision of all detections of a test, by `ap_version`.

    Every output of the test net must be a DetectionEvaluate's. As in weiliu89/caffe@4817bf8 a class that was
    never detected counts as 0 and is warned of, and an output without any detection has no score.
    """

    class Fields:
        ap_version: Annotated[str, 1042] = "Integral"  # SSD's number 42 is weights in BVLC's
        show_per_class_result: Annotated[bool, 44] = False

    def __init__(self, param: proto.SolverParameter, net: Net) -> None:
        super().__init__(param, net)
        self._judged: dict[str, Judged] = {}
        self._loss, self._batches = 0.0, 0

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        if param.ap_version not in VERSIONS:
            raise SolverError(unknown("ap_version", param.ap_version, VERSIONS), field="ap_version")

    def update(self, batch: Pass) -> None:
        if self.param.test_compute_loss:
            self._loss += float(batch.loss)
        self._batches += 1
        for name, blob in batch.blobs.items():
            if blob.dim() != 4 or blob.shape[3] != 5:
                raise SolverError(
                    f'eval_type "detection" needs outputs of DetectionEvaluate; "{name}" of net "{self.net.name}" is '
                    "another layer's: end that branch in a Silence layer, or keep it out of the test phase"
                )
            self._judged.setdefault(name, Judged()).add(blob.cpu().numpy())

    def scores(self) -> Scores:
        precisions = {name: judged.by_class(self.param.ap_version) for name, judged in self._judged.items()}
        self._precisions = {
            name: found for name, found in precisions.items() if any(value is not None for value in found.values())
        }
        return [(name, float(mean(found))) for name, found in self._precisions.items()]

    def log(self, scores: Scores) -> None:
        if self.param.test_compute_loss:
            glog("solver.cpp:499", f"Test loss: {number(self._loss / self._batches)}")
        for i, (name, value) in enumerate(scores):
            for label, precision in self._precisions[name].items():
                if precision is None:
                    glog("solver.cpp:524", f"Missing true_pos for label: {label}", logging.WARNING)
                elif self.param.show_per_class_result:
                    glog("solver.cpp:540", f"class{label}: {number(float(precision))}")
            glog("solver.cpp:546", f"    Test net output #{i}: {name} = {number(value)}")
