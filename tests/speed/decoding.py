"""What reading a clip costs beside a bare PyAV loop that does the same job, and what it costs for several models at once.

`python tests/speed/decoding.py`. The job: eight uniform frames, in RGB, of a 300-frame 320x240 H.264 file with B-frames. The bare
loop decodes all frames in order (their number must be counted: headers lie), keeps them and converts eight. The ratio of medians
should be 1.0 to 1.1. The same video as four full-size models see it should take at most 0.6 of four readings.
"""

import tempfile
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec
from robustvideo.benchmark.data.loader import load, read_clip, read_views
from robustvideo.benchmark.data.sampling import uniform
from robustvideo.benchmark.data.video import read_frames
from robustvideo.benchmark.evaluation.shelf import Shelf, stamp
from timing import medians, table

RUNS, COUNT = 31, 300

VIEWS = [InputSpec(8, 224, 256), InputSpec(16, 224, 256, "dense", 5), InputSpec(32, 224, 256, "dense", 2)]
VIEWS += [InputSpec(8, 224, 224, "dense", 32)]
"""TSM, X3D, SlowFast and TimeSformer."""


def write(path: Path) -> None:
    """A moving texture with a little noise, at x264's defaults."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 256, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(COUNT):
            frame = np.roll(coarse, 2 * number, axis=1) + rng.integers(-6, 7, coarse.shape, dtype=np.int16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.clip(0, 255).astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def bare(path: Path) -> np.ndarray:
    """The least that PyAV can do the job with."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = list(container.decode(video=0))
    reformatter = VideoReformatter()
    return np.stack([reformatter.reformat(frames[i], format="rgb24").to_ndarray() for i in uniform(len(frames), 8)])


def main() -> None:
    """Writes the file, checks that both give the same pixels, prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write(path)
        record, spec = ClipRecord("clip", path, 0, "clip"), InputSpec(8, 224, 256)
        assert (bare(path) == read_frames(path, lambda total, rate: uniform(total, 8))).all()
        jobs = {
            "bare PyAV loop": lambda: bare(path),
            "read_frames": lambda: read_frames(path, lambda total, rate: uniform(total, 8)),
            "read_clip (with resize and crop)": lambda: read_clip(record, spec),
            "load, per clip of 8, 2 workers": lambda: list(load([record] * 8, spec, 4, workers=2)),
        }
        found = medians(jobs, RUNS)
        shelf = Shelf(Path(folder) / "clips")
        keys = [(str(number), stamp(record)) for number in range(len(VIEWS))]
        together = medians(
            {
                "each by itself": lambda: [read_clip(record, view) for view in VIEWS],
                "from one decoding": lambda: list(read_views(record, [(view, 0) for view in VIEWS])),
                "each put on the shelf": lambda: [shelf.put(*keys[k], read_clip(record, view)) for k, view in enumerate(VIEWS)],
                "from the shelf": lambda: [shelf.get(*keys[k], view) for k, view in enumerate(VIEWS)],
            },
            RUNS,
        )
    found["load, per clip of 8, 2 workers"] /= 8
    table("Eight uniform frames of 300", found, "bare PyAV loop", {"read_frames": "should be <= 1.10"})
    table("Four models' clips of them", together, "each by itself", {"from one decoding": "should be <= 0.60"})


if __name__ == "__main__":
    main()
