"""Opens models in ONNX Runtime, on the processor. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdcaffe import reading
from sdcaffe.converters.onnx_metadata import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(model: str | bytes, where: str) -> InferenceSession:
    """An InferenceSession of a file or of a model's bytes. Raises ModelError where ONNX Runtime refuses it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is told once, as the error
    if isinstance(model, str) and not model.isprintable():  # ONNX Runtime takes names in UTF-8 only
        model = reading.read(model, ModelError)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen kinds
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"ONNX Runtime cannot run this model: {reason}", where) from None
