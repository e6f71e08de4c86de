"""One attacked clip to look at: made as a run makes it, with what the model says as its frames are swapped one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.budget import frame_norms
from ..core.errors import InputError
from ..core.interfaces import Batch, ClipRecord
from ..core.registry import Component
from .bench import Bench
from .cell import Cell
from .crafted import Crafted
from .crafting import craft
from .engine.partial import Partial
from .fitting import fit
from .grid import Grid
from .measure import judging, passes
from .scene import Scene
from .target import GRADIENT_COST
from .threat import Threat, grey_box_differs


@dataclass(frozen=True)
class Look:
    """A clip, what an attack made of it, and what the deployed pipeline says of it on the way.

    Attributes:
        cell: What was run.
        record: The clip.
        classes: Class names in label order.
        clean: (3, T, H, W) in [0, 1], on the CPU.
        adversarial: Likewise.
        scores: Class probabilities (T + 1, K): row t is the clip whose first t frames are adversarial and whose other frames are
            clean, so that row 0 is the clean clip and row T the adversarial one. Softmax, averaged over the passes of a random
            defence, each row with the same draws.
        made: What the harness measured of this one clip.
        fitted: What a universal perturbation took: clips, gradients and queries in all; empty for other attacks.
    """

    cell: Cell
    record: ClipRecord
    classes: tuple[str, ...]
    clean: Tensor
    adversarial: Tensor
    scores: Tensor
    made: Crafted
    fitted: dict[str, int]

    @property
    def change(self) -> Tensor:
        """The perturbation, (3, T, H, W)."""
        return self.adversarial - self.clean

    @property
    def frames(self) -> int:
        """Frames T."""
        return self.clean.shape[1]

    @property
    def frame_linf(self) -> list[float]:
        """Largest absolute change of each frame."""
        return self.change.abs().amax(dim=(0, 2, 3)).tolist()

    @property
    def frame_l2(self) -> list[float]:
        """L2 norm of each frame's change."""
        return frame_norms(self.change[None])[0].tolist()

    def says(self, swapped: int) -> tuple[str, float, bool]:
        """What the model says when the first `swapped` frames are adversarial: class, its probability, whether it is right."""
        score, best = self.scores[swapped].max(dim=0)
        return self.classes[int(best)], float(score), int(best) == self.record.label

    @property
    def figures(self) -> dict[str, str]:
        """What was measured, as text: norms in the unit of the budget, cost, and what to know of it."""
        made = self.made
        solved, fitted = int(made.solved), self.fitted
        universal = (
            {"made on": "{clips} other clips, {gradients} gradients, {queries} queries".format(**fitted)} if fitted else {}
        )
        return {
            "L-inf": levels(float(made.linf)),
            "L2": f"{float(made.l2):.3g}",
            "thickness": f"{100 * float(made.thickness):.3g} %",
            "roughness": f"{100 * float(made.roughness):.3g} %",
            "frames": f"{int(made.frames)} of {self.frames}",
            "area": f"{100 * float(made.area):.3g} %",
            "gradients": str(int(made.gradients)),
            "queries": str(int(made.queries)),
            "first success": f"call {solved}" if solved >= 0 else "not seen",
        } | universal

    @property
    def remark(self) -> str:
        """What explains a picture that would otherwise puzzle; empty where nothing does."""
        if not bool(self.change.any()):
            if not self.says(0)[2]:
                return "The model is wrong about the clean clip, so that nothing had to be changed."
            return "The attack found nothing and left the clip as it was."
        return "The attack had left its budget; the harness brought it back." if bool(self.made.outside) else ""


def levels(value: float) -> str:
    """A fraction of the pixel range as people write it: 0.0157 -> 4/255."""
    return f"{255 * value:.3g}/255"


def cell_for(
    dataset: Component,
    split: str,
    model: Component,
    attack: Component,
    defense: tuple[Component, ...] = (),
    threat: str | None = None,
    seed: int = 0,
) -> Cell:
    """The cell that a run over these components has for the attack.

    Args:
        dataset: The data set.
        split: Its split.
        model: The model under test.
        attack: The attack.
        defense: Links of the chain; empty for none.
        threat: What the attacker knows; None: adaptive where there is a defence, white-box where there is none.
        seed: Seed of the attack's randomness.

    Raises:
        InputError: The threat is unknown, or does not go with the defence.
    """
    met = Threat.parse(threat or ("adaptive" if defense else "white-box"))
    if met.name == "white-box" and defense:
        raise InputError(
            "threat", "white-box is for models without defence", "use oblivious, grey-box, adaptive or transfer:<model>"
        )
    if met.name in ("oblivious", "grey-box", "adaptive") and not defense:
        raise InputError(
            "threat", f"{met.name} says how an attacker meets a defence", "name one with --defense, or use white-box"
        )
    if met.name == "grey-box" and not grey_box_differs([link.create() for link in defense]):
        raise InputError("threat", "grey-box is no setting of its own for this defence", "use oblivious or adaptive")
    if met.name == "transfer" and not met.source:
        raise InputError("threat", "transfer lacks the model that the attack is made on", "write transfer:<model>")
    threats = () if met.name == "white-box" else (met,)
    return Grid(dataset, split, (model,), (attack,), (defense,) if defense else (), threats, seed=seed).cells()[-1]


def find_clip(records: Sequence[ClipRecord], wanted: str) -> ClipRecord:
    """A clip by its id, or by its number in the fixed class-balanced order, from 0.

    Raises:
        InputError: There is no such clip.
    """
    by_id = {record.id: record for record in records}
    if wanted in by_id:
        return by_id[wanted]
    if wanted.isdecimal() and int(wanted) < len(records):
        return records[int(wanted)]
    remedy = f"give a number from 0 to {len(records) - 1}, or an id such as {records[0].id}"
    raise InputError("clip", f"there is no clip {wanted!r}", remedy)


def take(cell: Cell, bench: Bench, wanted: str) -> Look:
    """Crafts one clip of a cell with an attack, under its threat and inside its budget, and asks the model about it.

    Args:
        cell: An attacked cell.
        bench: The live objects.
        wanted: The clip, as for `find_clip`.

    Raises:
        InputError: There is no such clip, it cannot be decoded, or the attack does not fit the model.
    """
    bench.check(cell)
    record = find_clip(bench.records(cell), wanted)
    batch = one_batch(bench, Scene(f"look {record.id}", bench.dataset(cell), [record], bench.model(cell).input))
    attack, fitted, _ = fit(cell, bench, Partial(None))
    clips, labels = bench.clips(batch)
    made = craft(cell, bench, attack, batch, clips, labels, cell.full)
    scores = _scores(cell, bench, batch, clips[0], made.clips[0])
    return Look(cell, record, tuple(bench.dataset(cell).classes), clips[0].cpu(), made.clips[0].cpu(), scores, made, fitted)


def work(cell: Cell, bench: Bench) -> int:
    """Forward passes that `take` needs at most, for progress."""
    assert cell.threat is not None
    attack, pipeline = bench.attack(cell), bench.attacked(cell)
    gradients, queries = attack.calls
    gradients += attack.fit_calls * attack.universal
    return GRADIENT_COST * gradients * (cell.threat.eot if pipeline.stochastic else 1) + queries * pipeline.draws


def one_batch(bench: Bench, scene: Scene) -> Batch:
    """The scene's clips, all in one batch.

    Raises:
        InputError: One cannot be decoded.
    """
    batches, failures = list(bench.footage.batches(scene)), bench.footage.failures(scene)
    if failures:
        raise InputError("clip", f"{failures[0].record.id} cannot be decoded: {failures[0].reason}")
    return batches[0]


@torch.no_grad()
def _scores(cell: Cell, bench: Bench, batch: Batch, clean: Tensor, adversarial: Tensor) -> Tensor:
    """Class probabilities (T + 1, K), on the CPU."""
    pipeline, frames = bench.pipeline(cell), clean.shape[1]
    # As a run judges it; every row has the clip's own streams, so that rows differ by frames and not by draws.
    rng = judging(cell, bench, batch.ids * (frames + 1))
    found = []
    for rows in torch.arange(frames + 1).split(bench.room(cell).batch):
        clips = torch.stack([torch.cat([adversarial[:, :row], clean[:, row:]], dim=1) for row in rows.tolist()])
        count = passes(cell.attack is not None, pipeline.stochastic)
        found.append(sum(pipeline.decide(clips, rng[rows]).softmax(dim=1) for _ in range(count)) / count)
    return torch.cat(found).cpu()
