"""What a machine has and lacks for a run: looked at one by one, never guessed."""

import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..core.files import cache_root

State = Literal["ok", "warn", "fail"]

FREE = 1 << 30
"""Bytes that a folder should have left: a large grid's cells and a few checkpoints."""

DRIVER = Path("/proc/driver/nvidia/version")
"""Where the NVIDIA driver tells its version."""

CODECS: dict[str, tuple[str, str, State]] = {
    "H.264": ("mp4", "libx264", "fail"),
    "MPEG-4": ("avi", "mpeg4", "warn"),
    "VP9": ("webm", "libvpx-vp9", "warn"),
}
"""Kinds of video: a container, an encoder, and the state where it does not work. The embedded videos are H.264, those of UCF101
and HMDB51 MPEG-4, those of Something-Something V2 VP9."""

EXTRAS = {
    "ray": ("ray", "runs on several hosts with --executor ray"),
    "peers": ("foolbox", "the tests that compare ours with other people's attacks"),
}
"""Optional parts: a module of each, and what it is for."""


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: Its name.
        state: `fail`: no run works; `warn`: something does not.
        said: What was found, and what to do about it.
    """

    what: str
    state: State
    said: str


def examine(store: Path) -> list[Finding]:
    """All findings; the mock run comes last, and only where torch and the codecs work.

    Args:
        store: Folder where results would go.
    """
    found = [python(), *_guarded("torch", devices)]
    for name, (container, encoder, needed) in CODECS.items():
        found += _guarded(name, partial(codec, name, container, encoder, needed), needed)
    found += [name_clash(), folder("store", store), folder("cache", cache_root()), *extras()]
    if all(one.state != "fail" for one in found):
        found += _guarded("mock run", mock_run)
    return found


def python() -> Finding:
    """The interpreter and this package."""
    try:
        ours = version("robustvideo")
    except PackageNotFoundError:
        ours = "from a checkout that is not installed"
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {_cores()} cores; robustvideo {ours}"
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "fail", said)


def devices() -> list[Finding]:
    """torch, and every GPU with its memory."""
    import torch

    found = [Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    if not torch.cuda.is_available():
        if driver():  # there is a GPU, and torch does not get at it
            why = "is built without CUDA" if torch.version.cuda is None else f"is built for CUDA {torch.version.cuda}"
            said = f"cpu only: the NVIDIA driver {driver()} is here, and torch {why}: install the torch of this driver"
            return [*found, Finding("device", "warn", said)]
        return [*found, Finding("device", "ok", "cpu only: there is no NVIDIA driver")]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        torch.ones(8, device=f"cuda:{number}").sum().item()
        memory = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        said = f"{torch.cuda.get_device_name(number)}, {memory}, CUDA {torch.version.cuda}, driver {driver() or 'unknown'}"
        found.append(Finding(f"cuda:{number}", "ok", said))
    return found


def driver() -> str:
    """Version of the NVIDIA driver; empty where there is none, or where it does not say."""
    try:
        text = DRIVER.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def codec(name: str, container: str, encoder: str, needed: State) -> list[Finding]:
    """Whether PyAV writes and reads a kind of video, by doing it; `needed` is the state where it does not."""
    import av
    import numpy as np

    file, picture = BytesIO(), np.full((32, 32, 3), 128, np.uint8)
    with av.open(file, "w", format=container) as made:
        stream: Any = made.add_stream(encoder, rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as read:
        frames = [frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]
    if len(frames) != 3 or abs(frames[0].astype(int) - 128).max() > 8:
        return [Finding(name, needed, f"PyAV {av.__version__} gives other frames than it was given: reinstall av")]
    return [Finding(name, "ok", f"PyAV {av.__version__} encodes and decodes it")]


def name_clash() -> Finding:
    """The distribution `vbench` of PyPI is another project, and installs a script of the same name."""
    try:
        other = distribution("vbench")
    except PackageNotFoundError:
        return Finding("name", "ok", "no other project named vbench is installed here")
    said = f"another project's vbench {other.version} is installed here, and its script may hide ours"
    return Finding("name", "warn", f"{said}: call ours robustvideo, or use an environment of its own")


def folder(what: str, path: Path) -> Finding:
    """Whether a folder, or where it would be made, can be written, and how much is free there."""
    place = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        return Finding(what, "fail", f"{path}: {place} cannot be written: {error.strerror or error}")
    free = shutil.disk_usage(place).free
    state: State = "ok" if free >= FREE else "warn"
    return Finding(what, state, f"{path}, {free / 1e9:.1f} GB free" + ("" if state == "ok" else ": make room"))


def extras() -> list[Finding]:
    """Optional parts; none of them is needed."""
    found = []
    for name, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        said = "installed" if there else f"not installed: pip install 'robustvideo[{name}]' for {purpose}"
        found.append(Finding(name, "ok", said))
    return found


def mock_run() -> list[Finding]:
    """The tiny TSM on two clips, clean and under one step of PGD, into a store that is gone afterwards."""
    from .api import evaluate

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        rows = evaluate("tsm", attacks="pgd:steps=1", limit=2, store=scratch)
    seconds = time.perf_counter() - start
    failed = rows[rows["status"] != "ok"]
    if len(failed) or len(rows) != 2:
        return [Finding("mock run", "fail", f"{len(failed)} of {len(rows)} cells failed: {' '.join(failed['error'])}")]
    return [Finding("mock run", "ok", f"tsm on 2 clips, clean and under a step of pgd: {seconds:.1f} s on {rows['device'][0]}")]


def _guarded(what: str, look: Callable[[], list[Finding]], state: State = "fail") -> list[Finding]:
    """Whatever goes wrong in somebody else's library is what was to be found out."""
    try:
        return look()
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        return [Finding(what, state, f"{type(error).__name__}: {line}")]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
