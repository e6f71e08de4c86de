"""What corruptions cost: `python tests/speed/corruptions.py [runs] [threads]`.

On the CPU beside imgaug.augmenters.imgcorruptlike, on the same frames of one natural clip and with as many threads, by wall time
and by CPU time; what imgaug has not (codecs, time, camera) is listed with its own time. On a GPU where there is one: batches.
"""

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.params import REQUIRED
from robustvideo.benchmark.core.registry import entries
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.storage import to_frames
from torch import Tensor

FRAMES, SIDE, SEVERITY, BATCH = 16, 224, 3, 8
SEVERITIES = range(1, 6)


def clip() -> Tensor:
    """One clip (1, 3, 16, 224, 224) that moves over a natural picture."""
    from skimage.data import astronaut

    picture = torch.from_numpy(astronaut()).permute(2, 0, 1)
    frames = [picture[:, 60 + 4 * turn : 60 + 4 * turn + SIDE, 120 : 120 + SIDE] for turn in range(FRAMES)]
    return torch.stack(frames, dim=1)[None].contiguous()


def streams(count: int, device: str = "cpu") -> ClipRandom:
    """Fresh randomness for clips."""
    return ClipRandom.for_clips([str(number) for number in range(count)], 0, "speed", device)


def ours() -> dict[str, Any]:
    """Every corruption that needs no parameter, by name."""
    found = {}
    for name, entry in entries("corruption").items():
        if all(field.default is not REQUIRED for field in entry.fields):
            found[name] = entry.create({field.name: field.default for field in entry.fields})
    return found


def peer(name: str, severity: int) -> Any | None:
    """The augmenter of imgcorruptlike that has our name, or None."""
    from imgaug.augmenters import imgcorruptlike

    kind = getattr(imgcorruptlike, "".join(part.capitalize() for part in name.split("_")), None)
    return kind(severity=severity, seed=0) if kind else None


def use(threads: int) -> None:
    """Threads of torch and OpenCV."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def measured(job: Callable[[], object], runs: int, threads: int) -> tuple[float, float]:
    """Median wall seconds with so many threads, and median CPU seconds with one: threads that wait for others burn CPU time."""
    medians = []
    for count, clock in ((threads, time.perf_counter), (1, time.process_time)):
        use(count)
        job()
        spent = []
        for _ in range(runs):
            start = clock()
            job()
            spent.append(clock() - start)
        medians.append(statistics.median(spent))
    return medians[0], medians[1]


def beside_imgaug(corruptions: dict[str, Any], clips: Tensor, runs: int, threads: int) -> None:
    """One line per corruption that imgaug has, and what they come to."""
    frames = list(to_frames(clips[0]))
    print(f"{'':<20} {'clips/s':>9} {'imgaug':>9} {'ratio':>7}   {'CPU ms':>8} {'imgaug':>8} {'ratio':>7}")
    walls, cpus = {}, {}
    for name, corruption in corruptions.items():
        theirs = peer(name, SEVERITY)
        if theirs is None:
            continue
        wall, cpu = measured(lambda corruption=corruption: corruption.apply(clips, SEVERITY, streams(1)), runs, threads)
        peer_wall, peer_cpu = measured(lambda theirs=theirs: theirs.augment_images(frames), runs, threads)
        walls[name], cpus[name] = peer_wall / wall, peer_cpu / cpu
        print(
            f"{name:<20} {1 / wall:9.1f} {1 / peer_wall:9.1f} {walls[name]:6.2f}x"
            f"   {1000 * cpu:8.1f} {1000 * peer_cpu:8.1f} {cpus[name]:6.2f}x"
        )
    for title, ratios in (("wall", walls), ("CPU", cpus)):
        least = min(ratios, key=ratios.__getitem__)
        mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
        print(
            f"{title}: geometric mean of {len(ratios)} {mean:.2f}x (should be >= 3), least {ratios[least]:.2f}x: {least} (>= 0.9)"
        )
    names = list(walls)
    _, spent = measured(lambda: sweep(corruptions, names, clips), max(1, runs // 2), 1)
    print(f"all {len(names)} at five severities: {spent:.2f} CPU s a clip (should be <= 2.5)")


def sweep(corruptions: dict[str, Any], names: list[str], clips: Tensor) -> None:
    """Every corruption at every severity."""
    for name in names:
        for severity in SEVERITIES:
            corruptions[name].apply(clips, severity, streams(len(clips)))


def others(corruptions: dict[str, Any], clips: Tensor, runs: int, threads: int) -> None:
    """What imgaug has not."""
    print(f"\n{'without a peer':<20} {'family':<10} {'clips/s':>9} {'CPU ms':>9}")
    for name, entry in entries("corruption").items():
        if name not in corruptions or peer(name, SEVERITY) is not None:
            continue
        try:
            wall, cpu = measured(lambda name=name: corruptions[name].apply(clips, SEVERITY, streams(1)), runs, threads)
        except InputError as error:
            print(f"{name:<20} {error}")
            continue
        print(f"{name:<20} {entry.family:<10} {1 / wall:9.1f} {1000 * cpu:9.1f}")


def on_gpu(corruptions: dict[str, Any], clips: Tensor, runs: int, threads: int) -> None:
    """Batches on a GPU, what the CPU does included."""
    print(f"\n{f'{BATCH} clips on cuda':<20} {'clips/s':>9} {'GPU MiB':>9}")
    batch = clips.repeat(BATCH, 1, 1, 1, 1).cuda()
    for name, corruption in corruptions.items():

        def job(corruption: Any = corruption) -> None:
            corruption.apply(batch, SEVERITY, streams(BATCH, "cuda"))
            torch.cuda.synchronize()

        torch.cuda.reset_peak_memory_stats()
        try:
            wall, _ = measured(job, runs, threads)
        except InputError as error:
            print(f"{name:<20} {error}")
            continue
        print(f"{name:<20} {BATCH / wall:9.1f} {torch.cuda.max_memory_allocated() / 2**20:9.0f}")


def main() -> None:
    """Prints the three tables."""
    runs, threads = (int(word) for word in (*sys.argv[1:], *("3", "2")[len(sys.argv) - 1 :]))
    warnings.simplefilter("ignore")
    clips, corruptions = clip(), ours()
    print(f"one clip of {FRAMES}x{SIDE}x{SIDE}, severity {SEVERITY}; medians of {runs}")
    print(f"clips/s: {threads} threads; CPU ms: one thread")
    beside_imgaug(corruptions, clips, runs, threads)
    others(corruptions, clips, runs, threads)
    if torch.cuda.is_available():
        on_gpu(corruptions, clips, runs, threads)


if __name__ == "__main__":
    main()
