"""One clip under the five severities of a corruption, to look at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.interfaces import Batch, ClipRecord, InputSpec
from ..data.corrupted import Corrupted
from ..data.transform import resized
from .bench import Bench
from .cell import Cell
from .look import find_clip, one_batch
from .measure import judging
from .scene import Scene


@dataclass(frozen=True)
class Severities:
    """A clip, and what a corruption makes of it.

    Attributes:
        cell: The cell of severity 1; the others differ in that alone.
        record: The clip.
        classes: Class names in label order.
        clean: uint8 (3, T, S, S), S being the corruption's canonical size.
        corrupted: Severity to the same under the corruption, as far as it works.
        errors: Severity to the reason why it does not.
        scores: Severity, 0 for the clean clip, to class probabilities (K,).
    """

    cell: Cell
    record: ClipRecord
    classes: tuple[str, ...]
    clean: Tensor
    corrupted: dict[int, Tensor]
    errors: dict[int, str]
    scores: dict[int, Tensor]

    def psnr(self, severity: int) -> float:
        """Peak signal-to-noise ratio of the corrupted clip, dB."""
        error = (self.corrupted[severity].double() - self.clean.double()).square().mean()
        return float("inf") if error == 0 else float(10 * torch.log10(255**2 / error))

    def says(self, severity: int) -> tuple[str, float, bool]:
        """What the model says: class, its probability, whether it is right."""
        score, best = self.scores[severity].max(dim=0)
        return self.classes[int(best)], float(score), int(best) == self.record.label


def take_severities(cell: Cell, bench: Bench, wanted: str) -> Severities:
    """Corrupts one clip at all five severities and asks the model about each.

    Args:
        cell: A corrupted cell; its severity does not matter.
        bench: The live objects.
        wanted: The clip, as for `look.find_clip`.

    Raises:
        InputError: There is no such clip, or it cannot be decoded.
    """
    bench.check(cell)
    record, corruption, spec = find_clip(bench.records(cell), wanted), bench.corruption(cell), bench.model(cell).input
    assert cell.corruption is not None
    how = Corrupted(corruption, 1, cell.corruption.text, cell.seed)
    view = how.geometry(spec)
    scene = Scene(f"look {record.id}", bench.dataset(cell), [record], spec)
    clean, fine = one_batch(bench, Scene(scene.key, scene.data, scene.records, view)), one_batch(bench, scene)
    made, errors, scores = {}, {}, {0: _scores(cell, bench, fine)}
    for severity in range(1, 6):
        each = Corrupted(corruption, severity, cell.corruption.text, cell.seed)
        try:
            made[severity], seen = _corrupted(each, record, view, spec, clean)
            scores[severity] = _scores(cell, bench, Batch([record], seen[None]))
        except Exception as error:  # a severity that does not work is a row that says so
            errors[severity] = " ".join(str(error).split())
    return Severities(cell, record, tuple(bench.dataset(cell).classes), clean.clips[0], made, errors, scores)


def _corrupted(how: Corrupted, record: ClipRecord, view: InputSpec, spec: InputSpec, clean: Batch) -> tuple[Tensor, Tensor]:
    """The clip at the canonical size, and as the model takes it."""
    if how.corruption.stage == "file":
        return how.read(record, view), how.read(record, spec)
    made = how.corruption.apply(clean.clips, how.severity, how.streams(clean.ids))
    return made[0], resized(made, spec.size)[0]


@torch.no_grad()
def _scores(cell: Cell, bench: Bench, batch: Batch) -> Tensor:
    clips, _ = bench.clips(batch)
    return bench.pipeline(cell).decide(clips, judging(cell, bench, batch.ids)).softmax(dim=1)[0].cpu()
