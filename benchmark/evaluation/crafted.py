"""Adversarial clips, with what they cost and what they reveal."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Crafted:
    """Adversarial clips of a batch, inside the budget.

    Attributes:
        clips: (N, C, T, H, W), on the device.
        linf: Largest change per clip, (N,).
        l2: L2 norm of the change over the whole clip, (N,).
        frames: Changed frames, (N,).
        area: Share of changed pixel positions, in the frame where it is largest, (N,).
        thickness: Mean absolute change, (N,).
        roughness: Mean absolute difference of the change between neighbouring frames, cyclic, (N,).
        gradients: Forward-backward passes per clip, (N,).
        queries: Answers of the deployed pipeline per clip, (N,).
        solved: Gradients and queries until a clip was first misclassified, -1: never, (N,).
        zero: Gradients that were zero everywhere, per clip, (N,).
        nonfinite: Gradients with a NaN or an infinity, per clip, (N,).
        outside: Whether the attack itself had left the budget, so that the harness had to step in, (N,).
        unrounded: Whether a clip of 8 bits would not have fooled where this one does, so that it has float32 values, (N,).
        notes: What the attack found out, by name, (N, ...); NaN where it found nothing.
        margins: Of the true class at every gradient in turn, per clip; empty where nobody watched.
    """

    clips: Tensor
    linf: Tensor
    l2: Tensor
    frames: Tensor
    area: Tensor
    thickness: Tensor
    roughness: Tensor
    gradients: Tensor
    queries: Tensor
    solved: Tensor
    zero: Tensor
    nonfinite: Tensor
    outside: Tensor
    unrounded: Tensor
    notes: dict[str, Tensor] = field(default_factory=dict)
    margins: list[list[float]] = field(default_factory=list)
