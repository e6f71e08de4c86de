"""From records to batches, decoding ahead on threads."""

import errno
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import NamedTuple

import torch
from av.error import FFmpegError
from torch import Tensor

from ..core.errors import InputError
from ..core.integrity import ClipError
from ..core.interfaces import Batch, ClipRecord, InputSpec
from . import sampling, transform, video
from .frame_folder import Picker

Reader = Callable[[ClipRecord, InputSpec], Tensor]
"""Makes a clip, uint8 (3, T, H, W), of a record."""


AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EMFILE, errno.ENFILE)
"""Errors that say something of the file system, or of the process, and nothing of the file."""


class Failure(NamedTuple):
    """A clip that could not be loaded, and why, in one line."""

    record: ClipRecord
    reason: str


def read_clip(record: ClipRecord, spec: InputSpec, moment: int = 0) -> Tensor:
    """One clip as a model takes it: decoded, sampled, resized, cropped.

    Args:
        record: Which.
        spec: The model's input.
        moment: Frames by which every sampled frame lies later; beyond the clip's end stands its last frame.

    Returns:
        uint8 (3, T, H, W), RGB.

    Raises:
        ClipError: The video is missing, damaged or empty, or ends before the record's first frame.
        InputError: The input spec is wrong.
    """
    (clip,) = read_views(record, [(spec, moment)])
    return clip


def read_views(record: ClipRecord, views: Sequence[tuple[InputSpec, int]]) -> Iterator[Tensor]:
    """As `read_clip`, for several inputs and moments in turn, from one decoding of the video."""
    picks = [picker(record, spec, moment) for spec, moment in views]
    frames = video.read_each(record.path, picks, record.template)
    yield from (transform.to_input(one, spec) for one, (spec, _) in zip(frames, views, strict=True))


def picker(record: ClipRecord, spec: InputSpec, moment: int = 0) -> Picker:
    """What chooses the record's frames of a video, for `video.read_frames`."""

    def pick(total: int, rate: float) -> list[int]:
        start, stop = span(record, total)
        return [start + index for index in later(sampling.indices(stop - start, spec, rate), moment, stop - start)]

    return pick


def later(indices: Sequence[int], moment: int, total: int) -> list[int]:
    """Frames `moment` later each, of a video of `total` frames that stands still after its end."""
    return [min(index + moment, total - 1) for index in indices]


def span(record: ClipRecord, total: int) -> tuple[int, int]:
    """First frame of a clip, and the frame after its last, in a video of `total` frames.

    Raises:
        ClipError: The video ends before the clip starts.
    """
    stop = total if record.stop is None else min(record.stop, total)
    if not 0 <= record.start < stop:
        raise ClipError(str(record.path), f"has {total} frames; the clip is to start at frame {record.start} and end at {stop}")
    return record.start, stop


def load(
    records: Sequence[ClipRecord],
    spec: InputSpec,
    batch_size: int,
    workers: int | None = None,
    read: Reader = read_clip,
) -> Iterator[tuple[Batch | None, list[Failure]]]:
    """All clips in the order of the records, `batch_size` records at a time.

    Decodes ahead on threads (PyAV releases the GIL), one batch and two clips per thread at most. Stops its threads when the
    consumer closes the generator or is interrupted.

    Args:
        records: What to load.
        spec: The model's input.
        batch_size: Records per item, 1 or more.
        workers: Threads; None stands for as many as PyTorch has, from 2 to 16.
        read: Makes a clip of a record.

    Yields:
        The clips that loaded, None where none did, and the failures: together they are every record of the item. A batch with
        failures is smaller; nothing moves up, so that batches do not depend on which files are broken.

    Raises:
        InputError: Batch size, workers or the input spec is wrong; at the call, not at the first item. Or the storage has failed.
    """
    threads = min(16, max(2, torch.get_num_threads())) if workers is None else workers
    for name, value in (("batch_size", batch_size), ("workers", threads)):
        if value < 1:
            raise InputError(name, f"{value} is below 1", "it must be a whole number, 1 or more")
    transform.check(spec)
    sampling.indices(1, spec)
    return _batches(records, spec, batch_size, threads, read)


def _batches(
    records: Sequence[ClipRecord], spec: InputSpec, batch_size: int, workers: int, read: Reader
) -> Iterator[tuple[Batch | None, list[Failure]]]:
    ahead: dict[int, Future[Tensor | Failure]] = {}
    starts = range(0, len(records), batch_size)
    # Mixed within a batch, which is handed out whole: processes that share what they decode then seldom decode the same clip.
    # By randomness of its own: what else draws from Python's must not depend on how often clips are read.
    mix = random.Random().sample
    mixed = (mix(part, len(part)) for part in (range(len(records))[start : start + batch_size] for start in starts))
    waiting = chain.from_iterable(mixed)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for start in starts:
            chunk = records[start : start + batch_size]
            results = []
            for number in range(start, start + len(chunk)):
                room = batch_size + 2 * workers - len(ahead)
                ahead |= {other: pool.submit(_attempt, records[other], spec, read) for other in islice(waiting, room)}
                results.append(ahead.pop(number).result())
            yield _collect(chunk, results)
    finally:
        # Waits for the clips that are being decoded, at most one per thread: no thread outlives the generator.
        pool.shutdown(wait=True, cancel_futures=True)


def _attempt(record: ClipRecord, spec: InputSpec, read: Reader) -> Tensor | Failure:
    """One bad file must not end a night's run, whatever a decoder throws."""
    try:
        return read(record, spec)
    except Exception as error:
        lost = _lost(error) or _unreadable(record)
        if lost:  # nothing is known of the clip: it is not one that cannot be decoded
            problem = f"{record.path} cannot be reached: {lost}"
            raise InputError("dataset", problem, "mend that, and run it again") from None
        known = isinstance(error, InputError)
        return Failure(record, str(error) if known else f"{record.path}: {type(error).__name__}: {error}")


def _lost(error: BaseException | None) -> str:
    """What has failed where the storage has, and not the clip; of a damaged file, too, FFmpeg says EIO."""
    while error is not None:
        if isinstance(error, (OSError, FFmpegError)) and error.errno in AWAY:
            return "" if isinstance(error, FFmpegError) and error.errno == errno.EIO else error.strerror or str(error)
        error = error.__cause__ or error.__context__
    return ""


def _unreadable(record: ClipRecord) -> str:
    """What Python says of a file that FFmpeg could not use, if its storage is at fault."""
    try:
        if record.path and record.path.is_file():
            with record.path.open("rb") as file:
                while file.read(1 << 20):
                    pass
    except OSError as error:
        return _lost(error)
    return ""


def _collect(chunk: Sequence[ClipRecord], results: Sequence[Tensor | Failure]) -> tuple[Batch | None, list[Failure]]:
    failures = [result for result in results if isinstance(result, Failure)]
    good = [(record, result) for record, result in zip(chunk, results, strict=True) if isinstance(result, Tensor)]
    if not good:
        return None, failures
    kept = [record for record, _ in good]
    return Batch(kept, torch.stack([clip for _, clip in good])), failures
