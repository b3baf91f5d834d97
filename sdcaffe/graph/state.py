"""Which layers a net state (phase, level, stages) keeps: Caffe's include and exclude rules."""

from __future__ import annotations

from collections.abc import Iterable

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.log import glog


def net_state(phase: int, level: int = 0, stages: Iterable[str] = ()) -> proto.NetState:
    """A NetState message. Raises GraphError for a phase, a level or a stage that it cannot hold."""
    try:
        state = proto.NetState(phase=phase, level=level)
        state.stage.extend(stages)
    except (ValueError, TypeError):  # no whole number, beyond 32 bits, no text in UTF-8
        raise GraphError(
            f"a net's state has a phase, a level of 32 bits and stages in UTF-8, not phase {phase!r}, level {level!r}, "
            f"stages {stages!r}"
        ) from None
    return state


def keep_layers(net: proto.NetParameter) -> proto.NetParameter:
    """A copy of the NetParameter `net` that holds only the layers its `state` keeps. Raises as `kept_places`."""
    return with_layers(net, kept_places(net))


def with_layers(net: proto.NetParameter, places: Iterable[int]) -> proto.NetParameter:
    """A copy of the NetParameter `net` that holds only the layers at these places."""
    kept = proto.NetParameter()
    kept.CopyFrom(net)
    del kept.layer[:]
    for place in places:
        kept.layer.add().CopyFrom(net.layer[place])
    return kept


def kept_places(net: proto.NetParameter) -> list[int]:
    """The places of the layers that the `state` of the NetParameter `net` keeps.

    A layer stays when it has include rules and meets one, or exclude rules and meets none, or neither.
    Raises GraphError where a layer has both.
    """
    kept = []
    for place, layer in enumerate(net.layer):
        if layer.include and layer.exclude:
            raise GraphError(
                f'layer "{layer.name}" has include rules and exclude rules; use one kind',
                layer=layer.name,
                field="exclude",
            )
        if layer.include:
            keep = any(_meets(net.state, rule, layer.name) for rule in layer.include)
        else:
            keep = not any(_meets(net.state, rule, layer.name) for rule in layer.exclude)
        if keep:
            kept.append(place)
    return kept


def _meets(state: proto.NetState, rule: proto.NetStateRule, layer_name: str) -> bool:
    if rule.HasField("phase") and rule.phase != state.phase:
        differs = f"phase ({state.phase}) differed from the phase ({rule.phase})"
        glog("net.cpp:296", f"The NetState {differs} specified by a rule in layer {layer_name}")
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    stages = set(state.stage)
    return stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage)
