"""Which frames of a video make a clip. Deterministic: a test-time clip is the same in every run."""

from itertools import pairwise

from ..core.errors import InputError
from ..core.interfaces import InputSpec


def uniform(total: int, frames: int) -> list[int]:
    """The centre frame of each of `frames` equal segments: idx_i = int(N/T/2 + i*N/T), as TSN, TSM and GST test.

    A video with fewer than `frames` frames repeats frames by the same formula: N=2, T=4 gives 0, 0, 1, 1.

    Args:
        total: Frames N of the video, 1 or more.
        frames: Frames T of the clip, 1 or more.

    Returns:
        T indices in [0, N), never falling.

    Raises:
        InputError: `total` or `frames` is below 1.
    """
    _check(total, frames, 1)
    # Whole numbers: int(N/T/2 + i*N/T) = (2i + 1)N // 2T, without the rounding of floats.
    return [(2 * index + 1) * total // (2 * frames) for index in range(frames)]


def midpoints(total: int, frames: int) -> list[int]:
    """The middles of `frames` intervals whose ends are rounded: how PySlowFast, TimeSformer and MViT test on SSv2.

    With s = (N-1)/T, interval i runs from round(i*s) to round((i+1)*s), halves to the even number, and its middle is rounded
    down. For N of 8 to 300 and T = 8 a third of the indices differ from `uniform`, by one.

    Args:
        total: Frames N of the video, 1 or more.
        frames: Frames T of the clip, 1 or more.

    Returns:
        T indices in [0, N), never falling.

    Raises:
        InputError: `total` or `frames` is below 1.
    """
    _check(total, frames, 1)
    ends = [round((total - 1) / frames * index) for index in range(frames + 1)]
    return [(first + last) // 2 for first, last in pairwise(ends)]


def linspace(total: int, frames: int) -> list[int]:
    """`frames` frames from the first of the video to its last, evenly spread and rounded down: idx_i = int(i*(N-1)/(T-1)).

    So sample PyTorchVideo's UniformTemporalSubsample and the examples of Hugging Face; T = 1 gives the first frame.

    Args:
        total: Frames N of the video, 1 or more.
        frames: Frames T of the clip, 1 or more.

    Returns:
        T indices in [0, N), never falling.

    Raises:
        InputError: `total` or `frames` is below 1.
    """
    _check(total, frames, 1)
    return [index * (total - 1) // max(1, frames - 1) for index in range(frames)]


def dense(total: int, frames: int, interval: int, speed: float = 1.0) -> list[int]:
    """`frames` frames, `interval` apart, in a window in the middle of the video: the one-clip Kinetics protocol.

    The window spans (T-1)*interval + 1 frames and starts at (N - window) // 2, at 0 where the video is shorter. A video that is
    too short starts again from its first frame ("loop"), as in mmaction2; the other custom, to hold the last frame, would show a
    stopped world to models that look for motion.

    Where the interval counts at another frame rate than the video's, frame i lies floor(i*interval*speed) after the first.

    Args:
        total: Frames N of the video, 1 or more.
        frames: Frames T of the clip, 1 or more.
        interval: Distance of neighbouring frames, in frames, 1 or more.
        speed: Frames of the video per frame that the interval counts, above 0.

    Returns:
        T indices in [0, N).

    Raises:
        InputError: An argument is below 1, or the speed not above 0.
    """
    _check(total, frames, interval)
    if not 0 < speed < float("inf"):
        raise InputError("sampling: speed", f"{speed} is not above 0", "it is the video's frame rate over the interval's")
    # A hair is added because 3 * 8 * (25 / 30) = 20 comes out as 19.999...
    offsets = [int(index * interval * speed + 1e-9) for index in range(frames)]
    start = max(0, (total - offsets[-1] - 1) // 2)
    return [(start + offset) % total for offset in offsets]


def indices(total: int, spec: InputSpec, rate: float = 0.0) -> list[int]:
    """The frames that a model's input asks of a video.

    Args:
        total: Frames of the video, 1 or more.
        spec: The model's input.
        rate: Frames per second of the video; 0 where unknown, and then `interval` counts the video's own frames.

    Raises:
        InputError: The sampler is unknown, or a number is below 1.
    """
    if spec.sampler == "dense":
        return dense(total, spec.frames, spec.interval, rate / spec.rate if rate > 0 and spec.rate > 0 else 1.0)
    if spec.sampler not in _SPREAD:
        raise InputError("input: sampler", f"{spec.sampler!r} is unknown", f"choose from {', '.join(_SPREAD)}, dense")
    return _SPREAD[spec.sampler](total, spec.frames)


def _check(total: int, frames: int, interval: int) -> None:
    for name, value in (("total", total), ("frames", frames), ("interval", interval)):
        if value < 1:
            raise InputError(f"sampling: {name}", f"{value} is below 1", "it must be a whole number, 1 or more")


_SPREAD = {"uniform": uniform, "midpoints": midpoints, "linspace": linspace}
