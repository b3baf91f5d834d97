"""The self-distilled form in which each branch goes through layers of its own, which share all parameters by name.

So each is normalised by its own batch. Branch b's images are a second distortion, or branch a's after an attack.
"""

from __future__ import annotations

from collections.abc import Iterator

from sdcaffe import proto
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.rewrite import Writer
from sdcaffe.paper.towers import as_sharing, copied

PREFIX = "b_"


class SeparateWriter(Writer):
    """Branch a keeps the baseline's layers and names; those of branch b begin with "b_" and exist in training only.

    Stored batch statistics hold both branches, each step counting as two.
    """

    def branches(self, distort: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        distort.top.append(self.blob(f"{self.found.images}_b"))
        yield distort

    def instead_of(self, index: int, layer: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        if index in self.found.shared:
            yield as_sharing(layer)
        else:
            yield from super().instead_of(index, layer)

    def halve(self, blob: str) -> Iterator[proto.LayerParameter]:
        if not self.halves:
            yield from self.second_tower()
        self.halves[blob] = blob, f"{PREFIX}{blob}"

    def second_tower(self) -> Iterator[proto.LayerParameter]:
        """Branch b's layers."""
        images = self.found.images
        layers = [as_sharing(self.net.layer[i]) for i in self.found.shared]
        for index, layer in zip(self.found.shared, copied(layers, PREFIX), strict=True):
            layer.bottom[:] = [f"{name}_b" if name == images else name for name in layer.bottom]
            self.beside[layer.name] = index
            yield layer


def attacked(images: ImageSet, epsilon: float) -> type[Writer]:
    """The writer for which branch b's images are branch a's, moved by `epsilon` pixel values each.

    They move in the direction that raises branch a's loss.
    """

    class AttackWriter(SeparateWriter):
        def branches(self, distort: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
            self.blob(f"{self.found.images}_b")
            yield distort

        def halve(self, blob: str) -> Iterator[proto.LayerParameter]:
            self.halves[blob] = blob, f"{PREFIX}{blob}"
            yield from ()

        def behind_first_loss(self, loss: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
            name = self.found.images
            attack = self.added("attack", "Adversarial", [name, loss.top[0]], [f"{name}_b"])
            attack.adversarial_param.epsilon = epsilon
            attack.adversarial_param.std_value.extend(images.std)
            yield attack
            yield from self.second_tower()

    return AttackWriter
