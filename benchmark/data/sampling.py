"""Which frames of a video make a clip. Deterministic: a test-time clip is the same in every run."""

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


def dense(total: int, frames: int, interval: int) -> list[int]:
    """`frames` frames, `interval` apart, in a window in the middle of the video: the one-clip Kinetics protocol.

    The window spans (T-1)*interval + 1 frames and starts at (N - window) // 2, at 0 where the video is shorter. A video that is
    too short starts again from its first frame ("loop"), as in mmaction2; the other custom, to hold the last frame, would show a
    stopped world to models that look for motion.

    Args:
        total: Frames N of the video, 1 or more.
        frames: Frames T of the clip, 1 or more.
        interval: Distance of neighbouring frames, in frames, 1 or more.

    Returns:
        T indices in [0, N).

    Raises:
        InputError: An argument is below 1.
    """
    _check(total, frames, interval)
    start = max(0, (total - (frames - 1) * interval - 1) // 2)
    return [(start + index * interval) % total for index in range(frames)]


def indices(total: int, spec: InputSpec) -> list[int]:
    """The frames that a model's input asks of a video of `total` frames.

    Raises:
        InputError: The sampler is unknown, or a number is below 1.
    """
    if spec.sampler == "uniform":
        return uniform(total, spec.frames)
    if spec.sampler == "dense":
        return dense(total, spec.frames, spec.interval)
    raise InputError("input: sampler", f"{spec.sampler!r} is unknown", "choose from uniform, dense")


def _check(total: int, frames: int, interval: int) -> None:
    for name, value in (("total", total), ("frames", frames), ("interval", interval)):
        if value < 1:
            raise InputError(f"sampling: {name}", f"{value} is below 1", "it must be a whole number, 1 or more")
