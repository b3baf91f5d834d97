"""Python layers as their owners wrote them for Caffe, for tests. Nothing here knows of sdcaffe."""

import json

import caffe
import numpy as np


class Scaling(caffe.Layer):
    """Multiplies by a learned number a channel; param_str has where it starts."""

    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise Exception("one bottom")
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = json.loads(self.param_str)["start"]
        self.reshapes = 0

    def reshape(self, bottom, top):
        self.reshapes += 1
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.scale(bottom)

    def backward(self, top, propagate_down, bottom):
        axes = (0, *range(2, len(bottom[0].shape)))
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(axes)
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.scale(bottom)

    def scale(self, bottom):
        return self.blobs[0].data.reshape((1, -1) + (1,) * (len(bottom[0].shape) - 2))


class Square(caffe.Layer):
    """Squares; also in place."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.x = bottom[0].data.copy()
        top[0].data[...] = self.x**2

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 2 * self.x * top[0].diff


class Growing(caffe.Layer):
    """A data layer whose image grows by two rows and columns with each batch, told in reshape."""

    def setup(self, bottom, top):
        self.size = 2

    def reshape(self, bottom, top):
        top[0].reshape(1, 1, self.size, self.size)
        top[1].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = np.arange(self.size**2).reshape(1, 1, self.size, self.size)
        top[1].data[...] = 1
        self.size += 2

    def backward(self, top, propagate_down, bottom):
        pass


class Counting(caffe.Layer):
    """Counts its passes in a blob, and puts out count and phase."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)

    def reshape(self, bottom, top):
        top[0].reshape(2)

    def forward(self, bottom, top):
        self.blobs[0].data[0] += 1
        top[0].data[...] = [self.blobs[0].data[0], self.phase]


class Failing(caffe.Layer):
    """Raises in the method that param_str names."""

    def setup(self, bottom, top):
        self.check("setup")

    def reshape(self, bottom, top):
        self.check("reshape")
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.check("forward")

    def backward(self, top, propagate_down, bottom):
        self.check("backward")

    def check(self, method):
        if self.param_str == method:
            raise KeyError("no such image")


class NoLayer:
    pass
