"""Adversarial clips that are handed on have 8 bits, as every video has: what is stored is then what was measured."""

import math

import torch
from torch import Tensor

from ..core.attack import Attack
from ..core.budget import norm_of, per_clip
from ..core.interfaces import InputSpec

KEPT = 0.9
"""Share of an L-inf budget that must be whole grey levels: the rest is lost to rounding."""

SLACK = 1e-4
"""Grey levels by which a float32 change may miss a whole one."""

HALVINGS = 8
"""Of the interval in which the threshold of rounding up is sought."""


def survives(attack: Attack, input: InputSpec) -> bool:
    """Whether an attack's budget is worth as much in whole grey levels.

    An L-inf budget may lose a tenth of itself; one of another norm must allow a change of one level at every place that the
    attack may touch, for otherwise most of a change that is spread out would be rounded away.
    """
    if attack.norm == "append":
        return True
    if attack.norm == "linf":
        return levels_of(attack.eps) >= max(1.0, KEPT * 255 * attack.eps)
    frames = attack.limits.frames or input.frames
    places = 3 * input.size**2 * attack.limits.area
    everywhere = {"l2": math.sqrt(frames * places), "l1": frames * places, "l21": frames * math.sqrt(places)}
    return 255 * attack.eps >= everywhere.get(attack.norm, math.inf)


def levels_of(eps: float) -> int:
    """Whole grey levels in a fraction of the pixel range."""
    return math.floor(255 * eps + SLACK)


def floats(levels: Tensor) -> Tensor:
    """uint8 clips as floats in [0, 1], as all clips are made: the same level is the same float everywhere."""
    return levels.float().div_(255)


def rounded(attack: Attack, clean: Tensor, made: Tensor) -> Tensor:
    """Adversarial clips on the grid of grey levels, inside the budget.

    Every change goes to the nearest level. Where that leaves the L-inf ball it goes one level back towards the clean clip; in
    another ball the changes of a clip are rounded up from a higher threshold than one half, the lowest that keeps the budget.
    A pixel that was not changed stays as it is.

    Args:
        attack: Gives norm and budget.
        clean: Clips (N, C, T, H, W) on the grid.
        made: The adversarial ones, inside the budget.
    """
    change = (made - clean) * 255
    way, size = change.sign(), change.abs_()
    whole = (size + SLACK).floor_()
    rest = size.sub_(whole)
    if attack.norm == "linf":
        steps = (whole + (rest > 0.5)).clamp_(max=levels_of(attack.eps))
    else:
        steps = _within(attack, way, whole, rest)
    return floats((clean * 255).round_().add_(way.mul_(steps)).clamp_(0, 255).to(torch.uint8))


def _within(attack: Attack, way: Tensor, whole: Tensor, rest: Tensor) -> Tensor:
    """Steps of whole levels per pixel, with the lowest threshold of rounding up, per clip, that keeps the budget."""

    def at(threshold: Tensor) -> Tensor:
        return whole + (rest > per_clip(threshold))

    def fits(threshold: Tensor) -> Tensor:
        return norm_of(attack.norm, way * at(threshold) / 255) <= attack.eps

    low = torch.full((len(whole),), 0.5, device=whole.device)
    high = torch.where(fits(low), low, torch.ones_like(low))
    for _ in range(HALVINGS if bool((high > low).any()) else 0):
        middle = (low + high) / 2
        inside = fits(middle)
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return at(high)
