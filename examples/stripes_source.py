r"""A source of data of one's own: stripes, upright or level, drawn when they are read.

    sed 's/synthetic:train/stripes:500/; s/synthetic:test/stripes:100/' \
        prototxt/quickstart/train_val_baseline.prototxt > stripes.prototxt
    sed 's/^net:.*/net: "stripes.prototxt"/' prototxt/quickstart/solver_baseline.prototxt > stripes_solver.prototxt
    sdcaffe train stripes_solver.prototxt --plugin examples/stripes_source.py
"""

import numpy as np

from sdcaffe import Source, register_source


@register_source("stripes")  # data_param { source: "stripes:500" } opens it with "500"
class Stripes(Source):
    def __init__(self, where, param, color):
        super().__init__(where, param, color)
        self.count = int(where)

    def __len__(self):
        return self.count

    def read(self, index):
        label = index % 2
        wave = 127.5 + 127.5 * np.sin(np.arange(32) * (0.3 + index / 500))
        image = np.broadcast_to(wave if label else wave[:, None], (3, 32, 32))
        return image.astype(np.uint8), label
