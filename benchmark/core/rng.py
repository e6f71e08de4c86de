"""Randomness that belongs to a clip, so that results depend on neither the batch size nor the order of clips."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class ClipRandom:
    """One random stream per clip of a batch, seeded by (seed, purpose, clip id).

    Draws happen on the CPU and are moved to the clips' device, so that a GPU sees the same numbers.

    Attributes:
        positions: Where each clip stands in the batch that the harness counts, shape (N,).
    """

    def __init__(self, streams: Sequence[torch.Generator], positions: Tensor, device: torch.device | str = "cpu") -> None:
        self._streams = list(streams)
        self.positions = positions
        self.device = torch.device(device)

    @classmethod
    def for_clips(cls, ids: Sequence[str], seed: int, purpose: str, device: torch.device | str = "cpu") -> "ClipRandom":
        """Fresh streams; `purpose` names the component and the pass, so that no two uses share numbers."""
        streams = []
        for clip in ids:
            digest = hashlib.sha256(f"{seed}\n{purpose}\n{clip}".encode()).digest()
            streams.append(torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))
        return cls(streams, torch.arange(len(streams)), device)

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, index: Tensor) -> "ClipRandom":
        """The streams of some clips, by positions or by mask; they go on where they are."""
        index = index.to("cpu")
        rows = index.nonzero().flatten() if index.dtype == torch.bool else index
        return ClipRandom([self._streams[row] for row in rows.tolist()], self.positions[rows], self.device)

    def spawn(self, count: int) -> "ClipRandom":
        """`count` new streams per clip, clip after clip: those of the first clip, then of the second.

        What they give does not depend on how many of them are used in one pass.
        """
        streams = []
        for stream in self._streams:
            seeds = torch.randint(0, 2**62, (count,), generator=stream).tolist()
            streams += [torch.Generator().manual_seed(seed) for seed in seeds]
        return ClipRandom(streams, self.positions.repeat_interleave(count), self.device)

    def state(self) -> list[Tensor]:
        """Where the streams are, for `restore`."""
        return [stream.get_state() for stream in self._streams]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Takes the streams back to where they were."""
        for stream, saved in zip(self._streams, state, strict=True):
            stream.set_state(saved)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 draws in [low, high), shape (N, *shape)."""
        return self._stack([torch.rand(tuple(shape), generator=stream) for stream in self._streams]) * (high - low) + low

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 draws, shape (N, *shape)."""
        return self._stack([torch.randn(tuple(shape), generator=stream) for stream in self._streams])

    def integers(self, low: int, high: int) -> Tensor:
        """One whole number of [low, high) per clip, shape (N,)."""
        draws = [torch.randint(low, high, (), generator=stream) for stream in self._streams]
        return self._stack(draws)

    def _stack(self, draws: list[Tensor]) -> Tensor:
        return torch.stack(draws).to(self.device)
