"""Norm balls around clips: check, project, measure. All per clip, over the whole clip (C, T, H, W)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InputError
from .rng import ClipRandom

NORMS = ("linf", "l2", "l1", "l21", "append")
"""`l21` is the sum over frames of their L2 norms; `append` bounds nothing but the pixel range, because the frames are others."""


@dataclass(frozen=True)
class Limits:
    """What a perturbation may touch.

    Attributes:
        frames: Frames that may differ; None: all.
        area: Share of a frame's pixel positions that may differ, in [0, 1].
    """

    frames: int | None = None
    area: float = 1.0


def check_eps(owner: str, norm: str, eps: float, whole: bool = False) -> None:
    """Refuses budgets in grey levels and negative ones.

    Args:
        owner: The component, for the message.
        norm: `linf` (eps is a fraction of the pixel range) or another of NORMS (absolute, over the whole clip in [0, 1]).
        eps: The budget.
        whole: Whether eps = 1, any pixel value, makes sense: for attacks that are bounded by a region.

    Raises:
        InputError: The budget is negative, or an L-inf budget of more than the pixel range allows.
    """
    if eps < 0:
        raise InputError(f"{owner}: eps", f"{eps:g} is negative", "a budget is 0 or more, such as 8/255")
    if norm == "linf" and (eps > 1 or eps == 1 and not whole):
        raise InputError(f"{owner}: eps", f"{eps:g} is the whole pixel range or more", f"did you mean {eps:g}/255?")


def per_clip(values: Tensor) -> Tensor:
    """Reshapes a per-clip vector (N,) so that it broadcasts over (N, C, T, H, W)."""
    return values.view(-1, 1, 1, 1, 1)


def l2_norm(delta: Tensor) -> Tensor:
    """L2 norm per clip, shape (N,)."""
    # By frames: one float32 norm over the numbers of a clip is wrong in its sixth digit, over millions in its fourth.
    return frame_norms(delta).norm(dim=1)


def linf_norm(delta: Tensor) -> Tensor:
    """Largest absolute change per clip, shape (N,)."""
    return delta.flatten(1).abs().amax(dim=1)


def l1_norm(delta: Tensor) -> Tensor:
    """Sum of absolute changes per clip, shape (N,)."""
    return delta.flatten(1).abs().sum(dim=1)


def frame_norms(delta: Tensor) -> Tensor:
    """L2 norm of each frame, shape (N, T)."""
    return delta.flatten(3).norm(dim=-1).norm(dim=1)


def norm_of(norm: str, delta: Tensor) -> Tensor:
    """The size of changes (N, C, T, H, W) in the unit of a budget of this norm, shape (N,)."""
    if norm == "append":
        return torch.zeros(len(delta), device=delta.device)
    if norm == "l21":
        return frame_norms(delta).sum(dim=1)
    return {"linf": linf_norm, "l2": l2_norm, "l1": l1_norm}[norm](delta)


def changed_frames(delta: Tensor) -> Tensor:
    """How many frames of each clip differ at all, shape (N,)."""
    return (delta.abs().amax(dim=(1, 3, 4)) > 0).sum(dim=1)


def changed_area(delta: Tensor) -> Tensor:
    """Share of pixel positions that differ, in the frame where most do, shape (N,)."""
    return (delta.abs().amax(dim=1) > 0).float().mean(dim=(2, 3)).amax(dim=1)


def thickness(delta: Tensor) -> Tensor:
    """Mean absolute change, as a fraction of the pixel range, shape (N,) (Pony et al. 2021, section 3.4)."""
    return delta.flatten(1).abs().mean(dim=1)


def roughness(delta: Tensor) -> Tensor:
    """Mean absolute difference of the change between neighbouring frames, cyclic in time, shape (N,) (Pony et al. 2021, 3.4)."""
    return (delta - delta.roll(1, dims=2)).flatten(1).abs().mean(dim=1)


def onto_simplex(sizes: Tensor, radius: float) -> Tensor:
    """Non-negative vectors (N, D) moved to the nearest ones whose sum is at most `radius`.

    All entries of a vector go down by one shift, and those below it to 0 (Duchi et al. 2008, Theorem 1). The shift is found by
    Newton's method from below: a handful of passes, where sorting the numbers of a clip takes longer than a gradient.
    """
    shift = (sizes.amax(dim=1, keepdim=True) - radius).clamp_min(0)
    over, positive = torch.empty_like(sizes), torch.empty_like(sizes)
    while True:
        torch.sub(sizes, shift, out=over).clamp_min_(0)
        excess = over.sum(dim=1, keepdim=True) - radius
        if not bool((excess > 0).any()):
            return over
        raised = shift + excess / torch.sign(over, out=positive).sum(dim=1, keepdim=True)
        # At least to the next number, so that rounding neither ends the search early nor leaves a sum above the radius.
        raised = torch.maximum(raised, torch.nextafter(shift, torch.full_like(shift, torch.inf)))
        shift = torch.where(excess > 0, raised, shift)


class Ball:
    """The eps-balls around clean clips (N, C, T, H, W), cut to [0, 1].

    Args:
        clean: The clips.
        norm: One of NORMS.
        eps: Radius, in the norm's unit.
        mask: Where a pixel may change: broadcasts to the clips, 1 for yes, 0 for no; its first dimension is N. None: everywhere.

    Attributes:
        clean: The clips.
    """

    def __init__(self, clean: Tensor, norm: str, eps: float, mask: Tensor | None = None) -> None:
        self.clean, self._norm, self._eps, self._mask = clean, norm, eps, mask
        if norm == "linf":
            # Kept, because an attack projects after every step and an extra pass over a clip costs as much as a layer.
            reach = eps if mask is None else eps * mask
            self._low, self._high = (clean - reach).clamp_(min=0), (clean + reach).clamp_(max=1)

    def __getitem__(self, rows: Tensor) -> "Ball":
        """The balls of some clips."""
        return Ball(self.clean[rows], self._norm, self._eps, None if self._mask is None else self._mask[rows])

    def restrict(self, change: Tensor) -> Tensor:
        """A change or a gradient (N, C, T, H, W), zero where pixels may not change."""
        return change if self._mask is None else change * self._mask

    def project(self, clips: Tensor) -> Tensor:
        """The clips brought into their balls; `clips` may be overwritten.

        For other norms than L-inf the change is brought onto the ball first and the clip clamped to [0, 1] after: clamping moves
        a pixel towards the clean one, so the ball is kept.
        """
        if self._norm == "append":
            return clips.clamp_(0, 1)
        if self._norm == "linf":
            return torch.clamp(clips, self._low, self._high, out=clips)
        delta = self.restrict(clips - self.clean)
        if self._norm == "l1":
            sizes = onto_simplex(delta.flatten(1).abs(), self._eps).view(delta.shape)
            made = delta.sign_().mul_(sizes).add_(self.clean).clamp_(0, 1)
            # Many changes are equal and all round the same way, which adds up: those that grew go back by one number.
            return torch.where((made - self.clean).abs_() > sizes, torch.nextafter(made, self.clean), made)
        if self._norm == "l21":
            sizes = frame_norms(delta)
            scale = onto_simplex(sizes, self._eps) / sizes.clamp_min(1e-12)
            delta = delta * scale[:, None, :, None, None]
        else:
            delta = delta.mul_(per_clip((self._eps / l2_norm(delta).clamp_min(1e-12)).clamp(max=1.0)))
        return delta.add_(self.clean).clamp_(0, 1)

    def random(self, rng: ClipRandom) -> Tensor:
        """A random point of each ball, cut to [0, 1]: uniform for L-inf and L2, else of uniform size in a random direction."""
        shape = self.clean.shape[1:]
        if self._norm == "linf":
            delta = rng.uniform(shape, -self._eps, self._eps)
        else:
            direction = self.restrict(rng.normal(shape))
            # The radius of a uniform point of a d-ball is eps * U^(1/d).
            power = 1.0 / shape.numel() if self._norm == "l2" else 1.0
            radius = self._eps * rng.uniform(()) ** power
            delta = direction * per_clip(radius / norm_of(self._norm, direction).clamp_min(1e-12))
        return (self.clean + self.restrict(delta)).clamp_(0, 1)
