"""Python layers as py-faster-rcnn writes them: settings by the phase's name, `param_str_`, tops that change shape."""

import json

import caffe
import numpy as np

CFG = {"TRAIN": {"most": 3}, "TEST": {"most": 1}}


class Regions(caffe.Layer):
    """As many regions as the phase's settings say, once it is known how many the image has; an index for each."""

    def setup(self, bottom, top):
        self._stride = json.loads(self.param_str_)["feat_stride"]
        top[0].reshape(1, 5)

    def reshape(self, bottom, top):
        """The shape is known in forward alone."""

    def forward(self, bottom, top):
        most = CFG[str(self.phase)]["most"]
        found = np.flatnonzero(bottom[0].data[0] > 0)[:most]
        regions = np.zeros((len(found), 5), np.float32)
        regions[:, 1] = found * self._stride
        top[0].reshape(*regions.shape)
        top[0].data[...] = regions

    def backward(self, top, propagate_down, bottom):
        """No gradient."""
