"""Ways to put the frames of a video into another order, as positions in the old video."""

from collections.abc import Iterable, Sequence

from ..benchmark.core.rng import ClipRandom


def singles(positions: Iterable[int]) -> list[Sequence[int]]:
    """An order that shows one old frame at a time."""
    return [(position,) for position in positions]


def segments(total: int, count: int) -> list[range]:
    """Positions 0 to total - 1 in `count` neighbouring segments of equal length, give or take one frame.

    There are `total` segments of one frame where `count` is larger.
    """
    count = min(count, total)
    return [range(number * total // count, (number + 1) * total // count) for number in range(count)]


def windows(total: int, length: int) -> list[range]:
    """Positions 0 to total - 1 in neighbouring windows of `length` frames; the last may be shorter."""
    return [range(start, min(start + length, total)) for start in range(0, total, length)]


def shuffled(count: int, rng: ClipRandom) -> list[int]:
    """A uniform permutation of 0 to count - 1, drawn from one stream."""
    return rng.uniform((count,))[0].argsort(stable=True).tolist()


def ring(count: int, rng: ClipRandom) -> list[int]:
    """A permutation of 0 to count - 1 in one cycle, uniform among these: nothing stays where it is (Sattolo's algorithm).

    Each element goes to every other place equally often, so that it moves (count + 1) / 3 places on average.
    """
    places = list(range(count))
    for last, draw in zip(range(count - 1, 0, -1), rng.uniform((count,))[0].tolist(), strict=False):
        other = min(int(draw * last), last - 1)
        places[last], places[other] = places[other], places[last]
    return places


def joined(parts: Iterable[Iterable[int]]) -> list[Sequence[int]]:
    """The positions of parts, one after the other, as an order of single frames."""
    return singles(position for part in parts for position in part)
