"""A net's layers in ONNX Runtime: recorded, held against torch, run in its place. Nothing of it is imported unasked."""
