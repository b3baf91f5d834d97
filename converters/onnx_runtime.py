"""Opens models in ONNX Runtime, on the processor. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdcaffe import reading
from sdcaffe.converters.onnx_metadata import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto
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


def give(model: ModelProto, names: Iterable[str]) -> list[str]:
    """Make these values outputs too, in place; those that were none."""
    import onnx

    given = {value.name for value in model.graph.output}
    added = [name for name in dict.fromkeys(names) if name not in given]
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info if added else []
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred}
    for name in added:
        kind = kinds.get(name, onnx.TensorProto.FLOAT)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return added
