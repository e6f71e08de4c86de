"""Batch norms with several branches: one network whose norms are of one kind of clip, of another, or of a mixture."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Branches(nn.Module):
    """Further branches of all batch norms of a network; each has weights and statistics of its own.

    Branch 0 are the network's own norms. They stand in their places unless another branch is asked for, so its state has the keys
    of the plain network, and without this object it is the plain network again. The module itself holds the further branches,
    which start as copies of the network's.

    Args:
        net: The network.
        count: Branches, the network's own among them.
    """

    def __init__(self, net: nn.Module, count: int) -> None:
        super().__init__()
        # In plain lists: the norms' state is the network's.
        self._places = [
            (parent, name)
            for parent in net.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm) and child.track_running_stats
        ]
        self._own = [cast(_BatchNorm, getattr(parent, name)) for parent, name in self._places]
        self.further = nn.ModuleList(nn.ModuleList(copy.deepcopy(self._own)) for _ in range(count - 1))
        self._mixed = [_Mixed(norms) for norms in zip(*(self.norms(branch) for branch in range(count)), strict=True)]

    def __len__(self) -> int:
        """How many norms the network has."""
        return len(self._places)

    def norms(self, branch: int) -> list[_BatchNorm]:
        """The norms of a branch, in the network's order."""
        return self._own if branch == 0 else list(cast(Sequence[_BatchNorm], self.further[branch - 1]))

    @contextmanager
    def use(self, branch: int) -> Iterator[None]:
        """The network has the norms of one branch inside the block; in training mode theirs are the statistics that move."""
        with self._instead(self.norms(branch)):
            yield

    @contextmanager
    def mix(self, weights: Tensor) -> Iterator[None]:
        """Every norm gives the weighted mean of what the branches' norms give, inside the block, with running statistics.

        Args:
            weights: One per clip and branch, (N, B); the gradient passes them. Rows of a norm's input that are a clip's follow
                each other: (N, ...) or (N * T, ...).
        """
        for norm in self._mixed:
            norm.weights = weights
        try:
            with self._instead(self._mixed):
                yield
        finally:
            for norm in self._mixed:
                norm.weights = None

    @contextmanager
    def _instead(self, norms: Sequence[nn.Module]) -> Iterator[None]:
        before = [getattr(parent, name) for parent, name in self._places]
        self._place(norms)
        try:
            yield
        finally:
            self._place(before)

    def _place(self, norms: Sequence[nn.Module]) -> None:
        for (parent, name), norm in zip(self._places, norms, strict=True):
            setattr(parent, name, norm)


class _Mixed(nn.Module):
    """A weighted mean of batch norms, clip by clip: one scale and one shift per clip and channel."""

    weights: Tensor | None

    def __init__(self, norms: Sequence[_BatchNorm]) -> None:
        super().__init__()
        self._norms, self.weights = tuple(norms), None  # a tuple: the norms belong to the branches

    def forward(self, x: Tensor) -> Tensor:
        assert self.weights is not None
        scales, shifts = (torch.stack(parts) for parts in zip(*(_affine(norm) for norm in self._norms), strict=True))
        # A 2-D network has the frames of a clip in a row.
        rows = self.weights.to(scales.dtype).repeat_interleave(len(x) // len(self.weights), dim=0)
        scale, shift = ((rows @ part).to(x.dtype).view(len(x), -1, *[1] * (x.dim() - 2)) for part in (scales, shifts))
        return torch.addcmul(shift, x, scale)


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel, (C,), of a norm with running statistics."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias
