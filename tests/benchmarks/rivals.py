"""Four of the paper's networks and their training step, written by hand in PyTorch: what sdcaffe is timed against.

Channels-last memory, torch's batch norm, torch.optim.SGD with foreach, autocast for bf16. Knows nothing of sdcaffe.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (129.3, 124.1, 112.4), (68.2, 65.4, 70.4)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Activated(nn.Module):
    """Batch norm, ReLU, convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = conv(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.bn(x), inplace=True))


class Block(nn.Module):
    """He et al.'s basic block with the shortcut that has no parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.conv1, self.bn1 = conv(inputs, outputs, 3, self.stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.stride == 2:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y, inplace=True)


class PreactBlock(nn.Module):
    """Two activated convolutions; where the size changes, a 1x1 convolution of the activated input beside them."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.bn = nn.BatchNorm2d(inputs)
        self.conv1, self.conv2 = conv(inputs, outputs, 3, stride), Activated(outputs, outputs)
        changes = stride > 1 or inputs != outputs
        self.shortcut = conv(inputs, outputs, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn(x), inplace=True)
        y = self.conv2(self.conv1(active))
        if self.shortcut is not None:
            return y + self.shortcut(active)
        return y + (active if self.first else x)


class ResNet32(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [16] * 6 + [32] * 5 + [64] * 4  # of each block's bottom
        self.stem = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(widths, [*widths[1:], 64], strict=True)))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.blocks(self.stem(x)).mean((2, 3))
        return feature, self.fc(feature)


class PreactResNet(nn.Module):
    """Stages of pre-activation blocks: (channels, blocks, stride) each."""

    def __init__(self, stem: int, stages: list[tuple[int, int, int]], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, stem)]
        width = stem
        for channels, count, stride in stages:
            for i in range(count):
                layers.append(PreactBlock(width, channels, stride if i == 0 else 1, len(layers) == 1))
                width = channels
        self.blocks, self.bn, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = F.relu(self.bn(self.blocks(x)), inplace=True).mean((2, 3))
        return feature, self.fc(feature)


class Dense(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layer = Activated(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], 1)


class DenseNet(nn.Module):
    def __init__(self, depth: int, classes: int, growth: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 16)]
        width = 16
        for block in range(3):
            for _ in range((depth - 4) // 3):
                layers.append(Dense(width, growth))
                width += growth
            if block < 2:
                layers += [Activated(width, width, 1), nn.AvgPool2d(2)]
        self.blocks, self.bn, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = F.relu(self.bn(self.blocks(x)), inplace=True).mean((2, 3))
        return feature, self.fc(feature)


def _preact18(classes: int) -> nn.Module:
    return PreactResNet(64, [(64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)], classes)


def _wrn16_8(classes: int) -> nn.Module:
    return PreactResNet(16, [(128, 2, 1), (256, 2, 2), (512, 2, 2)], classes)


NETS: dict[str, Callable[[int], nn.Module]] = {
    "resnet32": ResNet32,
    "preact_resnet18": _preact18,
    "wrn16_8": _wrn16_8,
    "densenet40": lambda classes: DenseNet(40, classes),
    "densenet100": lambda classes: DenseNet(100, classes),
}


def distorted(x: Tensor) -> Tensor:
    """Zero-pad 4, crop back, mirror, for each image of (n, c, 32, 32) on its own."""
    n, device = len(x), x.device
    padded = F.pad(x, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, n, 1), device=device)
    pixels = torch.arange(32, device=device)
    rows, columns = top + pixels, left + pixels
    columns = torch.where(torch.rand(n, 1, device=device) < 0.5, columns.flip(1), columns)
    image = torch.arange(n, device=device).reshape(n, 1, 1)
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


class Rival:
    """A network and its Nesterov recipe; calling it makes one step on the next `batch` images.

    `two_branches`: two distortions of each image, cross entropy on both, KL and MMD; else one, with cross entropy.
    `images` (N, 3, 32, 32) bytes and `labels` (N,) are on the device to train on.
    """

    def __init__(
        self, name: str, images: Tensor, labels: Tensor, batch: int, two_branches: bool, precision: str = "fp32"
    ) -> None:
        self.device = images.device
        self.net = NETS[name](100).to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True, foreach=True
        )
        self.images, self.labels, self.batch = images, labels, batch
        self.two_branches, self.precision = two_branches, precision
        self.mean, self.std = (torch.tensor(v, device=self.device).reshape(3, 1, 1) for v in (MEAN, STD))
        self.order = torch.randperm(len(images), device=self.device)
        self.cursor = 0

    def load(self) -> tuple[Tensor, Tensor]:
        pick = self.order[torch.arange(self.cursor, self.cursor + self.batch, device=self.device) % len(self.order)]
        self.cursor += self.batch
        return self.images[pick], self.labels[pick]

    def train(self, images: Tensor, labels: Tensor) -> Tensor:
        """Forward, backward and update; the loss."""
        x = (images.float() - self.mean) / self.std
        x = torch.cat([distorted(x), distorted(x)]) if self.two_branches else distorted(x)
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            feature, logits = self.net(x.contiguous(memory_format=torch.channels_last))
        feature, logits = feature.float(), logits.float()
        loss = self._two_branch_loss(feature, logits, labels) if self.two_branches else F.cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss

    def _two_branch_loss(self, feature: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        (ha, hb), (za, zb) = feature.chunk(2), logits.chunk(2)
        la, lb = (F.log_softmax(z / 3, 1) for z in (za, zb))
        kl = F.kl_div(la, lb.detach(), reduction="batchmean", log_target=True)
        kl = kl + F.kl_div(lb, la.detach(), reduction="batchmean", log_target=True)
        mmd = (ha.mean(0) - hb.mean(0)).square().sum()
        return F.cross_entropy(za, labels) + F.cross_entropy(zb, labels) + kl + 0.0005 * mmd

    def __call__(self) -> None:
        loss = self.train(*self.load())
        if self.device.type == "cpu" and not torch.isfinite(loss):
            raise RuntimeError("the rival diverged")
