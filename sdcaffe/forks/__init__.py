"""Layers of Caffe's forks that deployed models need, each a plugin under the fork's own type, field and numbers.

Every type here `yields`: another fork gives some of these names to other layers, and a plugin of one's own
that registers one takes its place. Importing this package registers them.
"""

from __future__ import annotations

from sdcaffe.layers import import_all

ORIGIN = "a fork of Caffe"  # unless a layer says which

import_all(__name__)
