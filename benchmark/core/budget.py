"""Norm balls around clips: check, project, measure. All per clip, over the whole clip (C, T, H, W)."""

import torch
from torch import Tensor

from .errors import InputError
from .rng import ClipRandom

NORMS = ("linf", "l2")


def check_eps(owner: str, norm: str, eps: float) -> None:
    """Refuses budgets in grey levels and negative ones.

    Args:
        owner: The component, for the message.
        norm: `linf` (eps is a fraction of the pixel range) or `l2` (absolute, in [0, 1] pixel units over the whole clip).
        eps: The budget.

    Raises:
        InputError: The budget is negative, or an L-inf budget of 1 or more.
    """
    if eps < 0:
        raise InputError(f"{owner}: eps", f"{eps:g} is negative", "a budget is 0 or more, such as 8/255")
    if norm == "linf" and eps >= 1:
        raise InputError(f"{owner}: eps", f"{eps:g} is the whole pixel range or more", f"did you mean {eps:g}/255?")


def per_clip(values: Tensor) -> Tensor:
    """Reshapes a per-clip vector (N,) so that it broadcasts over (N, C, T, H, W)."""
    return values.view(-1, 1, 1, 1, 1)


def l2_norm(delta: Tensor) -> Tensor:
    """L2 norm per clip, shape (N,)."""
    return delta.flatten(1).norm(dim=1)


def linf_norm(delta: Tensor) -> Tensor:
    """Largest absolute change per clip, shape (N,)."""
    return delta.flatten(1).abs().amax(dim=1)


def changed_frames(delta: Tensor) -> Tensor:
    """How many frames of each clip differ at all, shape (N,)."""
    return (delta.abs().amax(dim=(1, 3, 4)) > 0).sum(dim=1)


class Ball:
    """The eps-balls around clean clips (N, C, T, H, W), cut to [0, 1].

    Args:
        clean: The clips.
        norm: `linf` or `l2`.
        eps: Radius, in the norm's unit.
    """

    def __init__(self, clean: Tensor, norm: str, eps: float) -> None:
        self._clean, self._norm, self._eps = clean, norm, eps
        if norm == "linf":
            # Kept, because an attack projects after every step and an extra pass over a clip costs as much as a layer.
            self._low, self._high = (clean - eps).clamp_(min=0), (clean + eps).clamp_(max=1)

    def __getitem__(self, rows: Tensor) -> "Ball":
        """The balls of some clips."""
        return Ball(self._clean[rows], self._norm, self._eps)

    def project(self, clips: Tensor) -> Tensor:
        """The clips brought into their balls; `clips` may be overwritten.

        For L2 the change is scaled onto the ball first and the clip clamped to [0, 1] after: clamping moves a pixel towards the
        clean one, so the ball is kept.
        """
        if self._norm == "linf":
            return torch.clamp(clips, self._low, self._high, out=clips)
        delta = clips - self._clean
        scale = (self._eps / l2_norm(delta).clamp_min(1e-12)).clamp(max=1.0)
        return delta.mul_(per_clip(scale)).add_(self._clean).clamp_(0, 1)

    def random(self, rng: ClipRandom) -> Tensor:
        """A uniform draw from each ball, clamped to [0, 1]."""
        shape = self._clean.shape[1:]
        if self._norm == "linf":
            delta = rng.uniform(shape, -self._eps, self._eps)
        else:
            direction = rng.normal(shape)
            # The radius of a uniform point of a d-ball is eps * U^(1/d).
            radius = self._eps * rng.uniform(()) ** (1.0 / shape.numel())
            delta = direction * per_clip(radius / l2_norm(direction).clamp_min(1e-12))
        return (self._clean + delta).clamp_(0, 1)
