"""The fields of a HomoMeanLoss, numbered as CAFFE-DACH numbers them. Holds no layer type."""

from __future__ import annotations

import enum


class NormalizationMode(enum.IntEnum):
    NONE = 0
    BATCH_SIZE = 1
    FULL = 2


class HomoMeanLossParameter:
    predict_measure: str = "rawsubsqr-overall-average"
    cluster_measure: str = "rawsubsqr-overall-average"
    scatter_measure: str = "rawsubsqr-samples-average"
    clusupd_measure: str = "rawsubsqr-overall-average"
    scatupd_measure: str = "rawsubsqr-samples-average"
    odotter_measure: str = "rawsubsqr-overall-average"
    ovalize_measure: str = "rawsubsqr-sqroots-sqroots"
    cluster_regular: str = "rawsubsqr-overall-cluster"
    scatter_regular: str = "rawsubsqr-samples-cluster"
    odotter_regular: str = "rawsubsqr-overall-average"
    ovalize_regular: str = "rawsubsqr-sqroots-sqroots"
    cluster_clipmode: str = "unclipped"
    scatter_clipmode: str = "unclipped"
    topdiff_clipmode: str = "unclipped"
    ovalize_clipmode: str = "unclipped"
    cluster_clipactv: bool = False
    scatter_clipactv: bool = False
    topdiff_clipactv: bool = False
    ovalize_clipactv: bool = False
    cluster_clipnorm: float = 0.0
    scatter_clipnorm: float = 0.0
    topdiff_clipnorm: float = 0.0
    ovalize_clipnorm: float = 0.0
    cluster_clipprop: float = 0.0
    cluster_lowrprop: float = 0.0
    cluster_upprprop: float = 0.0
    cluster_feedrate: float = 0.0
    cluster_feedsize: float = 0.0
    cluster_tradeoff: float = 0.0
    scatter_clipprop: float = 0.0
    scatter_lowrprop: float = 0.0
    scatter_upprprop: float = 0.0
    scatter_feedrate: float = 0.0
    scatter_feedsize: float = 0.0
    scatter_tradeoff: float = 0.0
    topdiff_clipprop: float = 1.0
    topdiff_lowrprop: float = 0.0
    topdiff_upprprop: float = 0.0
    topdiff_feedrate: float = 0.0
    topdiff_feedsize: float = 0.0
    topdiff_tradeoff: float = 0.0
    ovalize_clipprop: float = 0.0
    ovalize_lowrprop: float = 0.0
    ovalize_upprprop: float = 0.0
    ovalize_feedrate: float = 0.0
    ovalize_feedsize: float = 0.0
    ovalize_tradeoff: float = 0.0
    ovals2s_01stprop: float = 1.0
    ovals2s_02ndprop: float = 1.0
    ovalt2t_01stprop: float = 1.0
    ovalt2t_02ndprop: float = 1.0
    ovals2t_01stprop: float = 1.0
    ovals2t_02ndprop: float = 1.0
    cluster_interval: int = 0
    scatter_interval: int = 0
    topdiff_interval: int = 1
    ovalize_interval: int = 0
    cluster_postpone: int = 0
    scatter_postpone: int = 0
    topdiff_postpone: int = 0
    ovalize_postpone: int = 0
    cluster_duration: int = 0
    scatter_duration: int = 0
    topdiff_duration: int = 1
    ovalize_duration: int = 0
    cluster_normalization: NormalizationMode = NormalizationMode.NONE
    scatter_normalization: NormalizationMode = NormalizationMode.NONE
    ovalize_normalization: NormalizationMode = NormalizationMode.NONE
    average_initmode: bool = True
    match_numb: int = 0
    label_nmax: int = 2
    label_axis: int = 1
    target_label: int = -1
    ignore_label: int = -1
    replica_activate: bool = True
    predict_activate: bool = False
    cluster_activate: bool = False
    scatter_activate: bool = False
    clusupd_activate: bool = False
    scatupd_activate: bool = False
    ovalize_activate: bool = False
