"""Caffe's messages and their files: `proto.NetParameter()`, `proto.read_net(path)`.

- Every message of caffe.proto and of the plugins loaded so far by its name, as `caffe` has them; `copied` brings a
  message along that was made before a plugin was loaded, and `extension` reads what a plugin of one's own declares.
- `read_net`, `read_solver`, `read_text`, `read_binary` and what writes them; `parse` and `format` for text at hand.
- `read_weights`, `read_state` and the like, of which numpy arrays come: that is loaded when one is first used.

Nothing here knows what a layer computes, and nothing imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from sdcaffe.proto import caffe as caffe
from sdcaffe.proto import elsewhere as elsewhere
from sdcaffe.proto import schema as schema
from sdcaffe.proto import text as text
from sdcaffe.proto import upgrade as upgrade
from sdcaffe.proto.files import atomic_write as atomic_write
from sdcaffe.proto.files import read_binary as read_binary
from sdcaffe.proto.files import read_net as read_net
from sdcaffe.proto.files import read_net_located as read_net_located
from sdcaffe.proto.files import read_solver as read_solver
from sdcaffe.proto.files import read_solver_located as read_solver_located
from sdcaffe.proto.files import read_text as read_text
from sdcaffe.proto.files import write_binary as write_binary
from sdcaffe.proto.files import write_text as write_text
from sdcaffe.proto.schema import copied as copied
from sdcaffe.proto.schema import extension as extension
from sdcaffe.proto.text import Positions as Positions
from sdcaffe.proto.text import format as format
from sdcaffe.proto.text import parse as parse
from sdcaffe.proto.upgrade import net_needs_upgrade as net_needs_upgrade
from sdcaffe.proto.upgrade import solver_needs_upgrade as solver_needs_upgrade
from sdcaffe.proto.upgrade import upgrade_net as upgrade_net
from sdcaffe.proto.upgrade import upgrade_solver as upgrade_solver

TRAIN = 0
TEST = 1

if TYPE_CHECKING:
    from sdcaffe.proto import weights as weights
    from sdcaffe.proto.caffe import *
    from sdcaffe.proto.weights import LayerBlobs as LayerBlobs
    from sdcaffe.proto.weights import State as State
    from sdcaffe.proto.weights import array_to_blob as array_to_blob
    from sdcaffe.proto.weights import blob_to_array as blob_to_array
    from sdcaffe.proto.weights import read_blob as read_blob
    from sdcaffe.proto.weights import read_net_name as read_net_name
    from sdcaffe.proto.weights import read_state as read_state
    from sdcaffe.proto.weights import read_weights as read_weights
    from sdcaffe.proto.weights import write_blob as write_blob
    from sdcaffe.proto.weights import write_state as write_state
    from sdcaffe.proto.weights import write_weights as write_weights
else:
    _OF_WEIGHTS = {
        "LayerBlobs", "State", "array_to_blob", "blob_to_array", "read_blob", "read_net_name", "read_state",
        "read_weights", "write_blob", "write_state", "write_weights",
    }  # fmt: skip

    def __getattr__(name: str) -> object:
        if name == "weights" or name in _OF_WEIGHTS:
            weights = importlib.import_module("sdcaffe.proto.weights")
            return weights if name == "weights" else getattr(weights, name)
        return getattr(caffe, name)
