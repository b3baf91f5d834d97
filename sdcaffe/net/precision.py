"""What numbers convolutions and matrix products compute in. Parameters, losses and updates are float32 always."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

FP32, TF32, BF16 = "fp32", "tf32", "bf16"
PRECISIONS = (FP32, TF32, BF16)


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a net's layers run: autocast for bf16."""
    return torch.autocast(device.type, torch.bfloat16) if precision == BF16 else nullcontext()


def exactly(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside `computing`, the context of what stays float32."""
    return torch.autocast(device.type, enabled=False) if precision == BF16 else nullcontext()


def allow_tf32(precision: str) -> None:
    """Let CUDA round the factors of float32 products to TF32, or keep it from doing so, in this process."""
    allowed = precision == TF32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


Rounding = tuple[str, bool]


def rounding() -> Rounding:
    """How float32 products are rounded now: what `allow_tf32` changes."""
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def round_as(chosen: Rounding) -> None:
    """Round products as `chosen` from now on."""
    torch.set_float32_matmul_precision(chosen[0])
    torch.backends.cudnn.allow_tf32 = chosen[1]
