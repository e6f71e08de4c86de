"""How much of what models recognise lies in the order of frames (Hwang et al. 2024, section 3)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.interfaces import ClipRecord, InputSpec, Model
from ...core.losses import margin
from ...core.registry import resolve
from ...core.rng import ClipRandom
from ...data.loader import load
from ...models import zoo
from ...models.build import build_model
from ..api import choose_device
from ..stats import interval
from .catalogue import COLUMNS, Tick

DATASETS = ("shapes", "shapes-object", "shapes-motion")
"""The paper's data sets 1, 2 and 3: class cues in background, object and motion; in object and motion; in motion alone."""

SPLIT, BATCH = "test-large", 32

CHUNKS, DRAWS = (1, 2, 4, 8), 10

FIGURE5 = {("shapes-motion", 8): 0.287}
"""The one value of figure 5 that the paper's text states (section 3.3)."""

TABLE1 = {"I3D": 0.691, "SlowFast": 0.694, "ir-CSN": 0.623, "X3D": 0.674}
TABLE1_CLIPS = 1900


class Clips(NamedTuple):
    """A split as a model takes it: the records, uint8 clips (M, 3, T, H, W) and labels (M,)."""

    records: list[ClipRecord]
    pixels: Tensor
    labels: Tensor


def chunk_order(frames: int, chunk: int, rng: ClipRandom) -> Tensor:
    """One frame order per clip, int64 (N, T): a uniformly random one inside each chunk of `chunk` frames, independently.

    The last chunk is shorter where `chunk` does not divide T (the paper's section 3.1 does not meet that case).
    """
    number = torch.arange(frames, device=rng.device) // chunk
    # Sorting numbers that are drawn from [i, i + 1) in chunk i; double, in which none of them is rounded up to i + 1.
    return (number + rng.uniform((frames,)).double()).argsort(dim=1)


def chunks(tick: Tick) -> pd.DataFrame:
    """Figure 5: accuracy under random orders inside chunks of 1 (the clip as it is), 2, 4 and 8 frames, on the model's input.

    The accuracy of a clip is its share of right answers over the draws, which are seeded by the clip.
    """
    rows: list[dict[str, Any]] = []
    names = shipped_for_all()
    for dataset, models, clips in _worlds(names):
        orders = {chunk: _chunk_orders(clips, chunk) for chunk in CHUNKS}
        for name, model in models.items():
            for chunk in CHUNKS:
                right = share_right(model, clips, orders[chunk])
                row = _row(dataset, name, f"N={chunk}", len(orders[chunk]), right, clips.records)
                rows.append(row | {"published": FIGURE5.get((dataset, chunk))})
                tick(len(rows), len(DATASETS) * len(names) * len(CHUNKS))
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def uniformized(tick: Tick) -> pd.DataFrame:
    """Table 1: accuracy on clips of which every frame is frame i, over all i, among the clips that every model gets right."""
    rows: list[dict[str, Any]] = []
    names = shipped_for_all()
    for dataset, models, clips in _worlds(names):
        count, frames = len(clips.labels), clips.pixels.shape[2]
        whole = [torch.arange(frames).expand(count, -1)]
        still = [torch.full((count, frames), frame) for frame in range(frames)]
        original = {name: share_right(model, clips, whole) for name, model in models.items()}
        kept = torch.stack(list(original.values())).amin(dim=0) == 1
        records = [record for record, keep in zip(clips.records, kept.tolist(), strict=True) if keep]
        for name, model in models.items():
            rows.append(_row(dataset, name, "original, all clips", 1, original[name], clips.records))
            rows.append(_row(dataset, name, "one frame", frames, share_right(model, clips, still)[kept], records))
            tick(len(rows), len(DATASETS) * len(names) * 2)
    published: dict[str, Any] = {"dataset": "Kinetics-400", "condition": "one frame", "clips": TABLE1_CLIPS}
    rows += [published | {"model": model, "published": value} for model, value in TABLE1.items()]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def share_right(model: Model, clips: Clips, orders: Sequence[Tensor]) -> Tensor:
    """Share of right answers of each clip (M,) over frame orders, each (M, T)."""
    device = next(model.parameters()).device
    right = torch.zeros(len(clips.labels))
    with torch.inference_mode():
        for rows in torch.arange(len(right)).split(BATCH):
            labels = clips.labels[rows].to(device)
            for order in orders:
                mixed = reorder(clips.pixels[rows], order[rows]).to(device).float().div_(255)
                right[rows] += (margin(model(mixed), labels) > 0).cpu()
    return right / len(orders)


def reorder(clips: Tensor, order: Tensor) -> Tensor:
    """Frames of each clip (N, C, T, H, W) in its own order (N, T)."""
    return clips.transpose(1, 2)[torch.arange(len(clips))[:, None], order].transpose(1, 2)


def shipped_for_all() -> list[str]:
    """Names of the models whose tiny preset is shipped for all three data sets.

    Raises:
        InputError: There is none.
    """
    shipped = set(zoo.shipped())
    models = sorted({model for model, preset, _ in shipped if preset == "tiny"})
    found = [model for model in models if all((model, "tiny", dataset) in shipped for dataset in DATASETS)]
    if not found:
        raise InputError("paper", f"no model is shipped for {', '.join(DATASETS)}", "install the package afresh")
    return found


def _worlds(names: Sequence[str]) -> Iterator[tuple[str, dict[str, Model], Clips]]:
    """Data set by data set: its name, the models that were trained on it, its test clips."""
    device = choose_device("auto")
    for dataset in DATASETS:
        data = resolve("dataset", dataset).create()
        models = {name: build_model(resolve("model", name), dataset, data.classes).to(device) for name in names}
        inputs = {model.input for model in models.values()}
        assert len(inputs) == 1, "tiny presets take the same clips"
        yield dataset, models, _read(data.records(SPLIT), inputs.pop())


def _read(records: Sequence[ClipRecord], spec: InputSpec) -> Clips:
    (loaded,) = load(records, spec, batch_size=len(records))
    batch, failures = loaded
    if batch is None or failures:
        raise InputError("dataset", f"{len(failures)} videos cannot be read, the first: {failures[0].reason}")
    return Clips(batch.records, batch.clips, batch.labels)


def _chunk_orders(clips: Clips, chunk: int) -> list[Tensor]:
    rng = ClipRandom.for_clips([record.id for record in clips.records], 0, f"frame order in chunks of {chunk}")
    # A chunk of one frame has one order.
    return [chunk_order(clips.pixels.shape[2], chunk, rng) for _ in range(DRAWS if chunk > 1 else 1)]


def _row(dataset: str, model: str, condition: str, draws: int, right: Tensor, records: Sequence[ClipRecord]) -> dict[str, Any]:
    low, high = interval(right.tolist(), [record.group for record in records])
    top1 = float(right.double().mean())
    measured = {"clips": len(right), "draws": draws, "top1": top1, "top1_low": low, "top1_high": high}
    return {"dataset": dataset, "model": model, "condition": condition, **measured}
