"""A network of several in one net: with layer names of its own, frozen, or sharing another's parameters."""

from __future__ import annotations

from collections.abc import Sequence

from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import Message

# The parameter blobs of each layer type, in Caffe's order.
_BLOBS = {
    "Convolution": ("weight", "bias"),
    "InnerProduct": ("weight", "bias"),
    "Scale": ("weight", "bias"),
    "BatchNorm": ("mean", "variance", "count"),
}


class Tower(NetText):
    """Writes a network's layers onto `net`, changed as asked; give it to `Network.build` in the net's place.

    - `title` stands in the comments over its layers, `prefix` before their names and those of their blobs
    - `phase` is where it exists, None: everywhere
    - `frozen`: nothing learns, and BatchNorms use what they have stored
    - `shared`: every parameter is named after the layer without prefix, so that towers share them all, the
      stored statistics of BatchNorms included. In training each tower still normalises by its own batch.

    Its parameters count for itself, not for `net`.
    """

    def __init__(
        self,
        net: NetText,
        title: str,
        *,
        prefix: str = "",
        phase: str | None = None,
        frozen: bool = False,
        shared: bool = False,
    ) -> None:
        super().__init__(net.name)
        self._net, self._title, self._prefix, self._phase = net, title, prefix, phase
        self._frozen, self._shared = frozen, shared
        self._made: set[str] = set()

    def section(self, title: str) -> None:
        self._net.section(f"{self._title}, {title}")

    def layer(
        self,
        name: str,
        type_name: str,
        bottoms: Sequence[str],
        tops: Sequence[str],
        message: Message | None = None,
        *,
        phase: str | None = None,
    ) -> None:
        inside = [self._name(bottom) if bottom in self._made else bottom for bottom in bottoms]
        self._made.update(tops)
        changed = self._with_params(name, type_name, message or {})
        outside = [self._name(top) for top in tops]
        self._net.layer(self._name(name), type_name, inside, outside, changed, phase=phase or self._phase)

    def outside(self, heads: Heads) -> Heads:
        """The heads that `build` returned, by the names they have in the net."""
        return Heads(*(Blob(self._name(blob.name), blob.channels) for blob in heads))

    def _name(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _with_params(self, name: str, type_name: str, message: Message) -> Message:
        if type_name not in _BLOBS or not (self._frozen or self._shared):
            return message
        blobs = _BLOBS[type_name]
        convolution = message.get("convolution_param")
        if isinstance(convolution, dict) and convolution.get("bias_term") is False:
            blobs = blobs[:1]
        if self._frozen and type_name == "BatchNorm":
            return {**message, "batch_norm_param": {"use_global_stats": True}}
        params: list[dict[str, object]] = []
        for blob in blobs:
            param: dict[str, object] = {"name": f"{name}_{blob}"} if self._shared else {}
            if self._frozen or type_name == "BatchNorm":
                param["lr_mult"] = 0
            params.append(param)
        return {"param": params, **message}
