"""Boxes that overlap better ones, dropped: the loop of every detector, for PyTorch source and for layers of forks.

It is written once for torch as it runs, for torch.jit.script and for torch.export, which takes no loop of Python whose
end depends on numbers: there it is the operator while_loop.
"""

from __future__ import annotations

import torch
from torch import Tensor


def not_overlapping(
    boxes: Tensor,
    areas: Tensor,
    sets: Tensor,
    count: int,
    overlap: float,
    last: int = 0,
    gap: int = 0,
    closed: bool = False,
    eta: float = 1.0,
    most: int = -1,
) -> Tensor:
    """Which of the boxes (m, 4), best first, overlap no kept one of their set by more than `overlap`: (m).

    `sets` (m) has the number of each box's set, below `count`. A box is xmin, ymin, xmax, ymax and has an area (m); its
    sides are `last` longer than their difference. With `last` boxes meet that are no more than `gap` apart, otherwise
    those that share an area. `closed`: an overlap of `overlap` is too much. Above 0.5 `overlap` is multiplied by `eta`
    with each box of a set that is kept; `most` are kept of all, or with -1 any number.
    """
    alive = torch.ones_like(sets, dtype=torch.bool)
    kept = torch.zeros_like(alive)
    worst = torch.zeros_like(areas)
    limit = torch.full([count], overlap, dtype=boxes.dtype, device=boxes.device)
    if not torch.jit.is_scripting():
        state = (alive, kept, worst, limit)
        if torch.compiler.is_exporting():
            return exported_suppression(state, boxes, areas, sets, last, gap, closed, eta, most)
    found, place = torch.zeros_like(alive), torch.arange(alive.shape[0], device=boxes.device)
    while bool(alive.any()):
        alive, kept, worst, limit = next_kept(
            alive, kept, worst, limit, boxes, areas, sets, last, gap, closed, eta, most
        )
        left = alive.nonzero().squeeze(1)
        if 2 * left.shape[0] < alive.shape[0]:  # on without those that are decided
            found[place[kept]] = True
            if most > -1:
                most -= int(kept.sum())
            place, boxes, areas, sets = place[left], boxes[left], areas[left], sets[left]
            alive, kept, worst = alive[left], kept[left], worst[left]
    found[place[kept]] = True
    return found


def next_kept(
    alive: Tensor,
    kept: Tensor,
    worst: Tensor,
    limit: Tensor,
    boxes: Tensor,
    areas: Tensor,
    sets: Tensor,
    last: int,
    gap: int,
    closed: bool,
    eta: float,
    most: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The state of `not_overlapping` once the best box of each set that is still alive is kept.

    `worst` (m) is the largest overlap of a box with a kept one, `limit` (count) what each set allows.
    """
    m = alive.shape[0]
    place = torch.arange(m, device=boxes.device)
    first = torch.full_like(limit, m, dtype=torch.int64)
    first = first.scatter_reduce(0, sets, torch.where(alive, place, torch.full_like(place, m)), "amin")
    limit = torch.where((first < m) & (limit > 0.5), limit * eta, limit)
    best = first[sets]
    kept = kept | (best == place)
    best = best.clamp(max=m - 1)
    one = boxes[best]
    sides = torch.minimum(one[:, 2:], boxes[:, 2:]) - torch.maximum(one[:, :2], boxes[:, :2])
    meet = sides >= -gap if last > 0 else sides > 0
    common = (sides + last).clamp(min=0).prod(1)
    met = common / (areas[best] + areas - common)
    worst = torch.maximum(worst, torch.where(meet.all(1), met, torch.zeros_like(met)))
    allowed = limit[sets]
    apart = ~(worst >= allowed) if closed else worst <= allowed
    if most > -1:
        apart = apart & (kept.sum() < most)
    return alive & apart & ~kept, kept, worst, limit


def exported_suppression(
    state: tuple[Tensor, Tensor, Tensor, Tensor],
    boxes: Tensor,
    areas: Tensor,
    sets: Tensor,
    last: int,
    gap: int,
    closed: bool,
    eta: float,
    most: int,
) -> Tensor:
    """The loop of `not_overlapping` as torch.export takes it."""

    def more(*given: Tensor) -> Tensor:
        return given[0].any()

    def step(
        alive: Tensor, kept: Tensor, worst: Tensor, limit: Tensor, boxes: Tensor, areas: Tensor, sets: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return next_kept(alive, kept, worst, limit, boxes, areas, sets, last, gap, closed, eta, most)

    kept: Tensor = torch.ops.higher_order.while_loop(more, step, state, (boxes, areas, sets))[1]
    return kept


ALL = (next_kept, exported_suppression, not_overlapping)  # what `not_overlapping` is in a file of its own
