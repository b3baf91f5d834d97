"""C3D 1.1's VideoData: that of 1.0 under a video_data_param, with several labels and drawn sampling rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.forks.c3d.clips import Cut, Named, Reading
from sdcaffe.forks.c3d.video_data import ClipLayer
from sdcaffe.layers.base import Shape, register
from sdcaffe.proto import past

past.tell("VideoDataParameter", ["show_data"], "it opens windows with the frames, and changes no number")
past.tell("VideoDataParameter", ["is_color"], "C3D never reads it")


def is_later(layer_param: proto.LayerParameter) -> bool:
    """Whether a VideoData is C3D 1.1's: SSD's has no source."""
    return bool(layer_param.HasField("video_data_param") and layer_param.video_data_param.HasField("source"))


@register("VideoData", field="video_data_param", when=is_later)
class LaterClipData(ClipLayer):
    """Batch k is clips k * batch_size .. of the list: (n, 3, new_length, h, w) and labels (n,).

    As in C3D 1.1 (facebook/C3D@71336a2): as 1.0's, but paths stand behind `root_folder`; crops are drawn at the last
    places too, and mirror, in tests as well, needs no crop; mean_value is transform_param's, one or one a channel. With
    use_sampling_rate_jitter the rate of each clip is drawn of 1 to max_sampling_rate. With use_multiple_label a clip
    has labels with commas between, and its item is num_of_labels zeros with a one at each. Clips that cannot be read
    are errors; in training C3D leaves them out.
    """

    param: proto.VideoDataParameter
    tops = 2
    transforms = ("scale", "mean_file", "mean_value", "crop_size", "mirror")

    def _how(self) -> Reading:
        param = self.param
        rates = param.max_sampling_rate if param.use_sampling_rate_jitter else 0
        return super()._how()._replace(root=param.root_folder, rates=rates, several=param.use_multiple_label)

    def _check_own(self) -> None:
        param, transform = self.param, self.layer_param.transform_param
        for field in ("max_sampling_rate", "num_of_labels"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} is {getattr(param, field)}; it must be 1 or more", field)
        if param.use_multiple_label and not param.HasField("num_of_labels"):
            raise self.error("use_multiple_label needs num_of_labels", "use_multiple_label")
        if transform.HasField("mean_file") and len(transform.mean_value):
            raise self.error("has both mean_file and mean_value; give one", "mean_value")
        if len(transform.mean_value) not in (0, 1, 3):
            raise self.error(f"{len(transform.mean_value)} mean_value for 3 channels; give 1 or 3", "mean_value")

    def _mean_values(self) -> list[float]:
        return list(self.layer_param.transform_param.mean_value) or [0.0]

    def _cut(self) -> Cut:
        return super()._cut()._replace(last=True)

    def _labels(self, clip: Named) -> NDArray[np.float32]:
        if not self.param.use_multiple_label:
            return super()._labels(clip)
        found = np.zeros(self.param.num_of_labels, np.float32)
        for label in clip.labels:
            if not 0 <= label < len(found):
                raise DataError(f"has the label {label}; num_of_labels is {len(found)}", clip.path)
            found[label] = 1
        return found

    def _label_shape(self, n: int) -> Shape:
        return (n, self.param.num_of_labels) if self.param.use_multiple_label else (n,)
