"""The layers of data-distortion guided self-distillation, on the interface any plugin uses.

Importing this package registers them.
"""

from __future__ import annotations

from sdcaffe.layers import import_all

import_all(__name__)
