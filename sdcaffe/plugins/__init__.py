"""The layers of data-distortion guided self-distillation, on the interface any plugin uses.

Importing this package registers them. It reaches into nothing but `Layer` and `register`.
"""

from __future__ import annotations

from sdcaffe.plugins import distort, kl_loss, mmd_loss

__all__ = ["distort", "kl_loss", "mmd_loss"]
