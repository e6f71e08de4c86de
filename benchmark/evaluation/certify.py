"""What randomised smoothing guarantees: PREDICT and CERTIFY of Cohen et al. 2019 (section 3.2, appendix A), clip by clip.

Re-implemented from the paper. A radius is an L2 norm over the whole clip, all frames and channels, in [0, 1] pixel units.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import ClipRecord, InputSpec, Scorer
from ..core.rng import ClipRandom
from .bench import Bench
from .cell import Cell
from .memory import Room, again
from .stats import interval

RADII = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
"""L2 radii at which accuracy is reported, as far as the draws can certify them."""


@dataclass(frozen=True)
class Procedure:
    """How much is drawn, and how sure one wants to be.

    Attributes:
        n0: Draws that choose the class to certify.
        n: Fresh draws that bound its probability from below, and that PREDICT votes with.
        alpha: Probability with which CERTIFY, and PREDICT, may be wrong about a clip.
    """

    n0: int = 100
    n: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        for name in ("n0", "n"):
            if getattr(self, name) < 1:
                raise InputError(name, f"{getattr(self, name)} is less than 1", "give the number of draws")
        if not 0 < self.alpha < 1:
            raise InputError("alpha", f"{self.alpha:g} is not between 0 and 1", "give a probability of error such as 0.001")
        if lower_bound(self.n, self.n, self.alpha) <= 0.5:
            least = math.floor(math.log(self.alpha) / math.log(0.5)) + 1
            raise InputError("n", f"{self.n} draws can certify no clip at alpha {self.alpha:g}", f"give {least} or more")

    def ceiling(self, sigma: float) -> float:
        """The largest radius that these draws can certify: where all agree."""
        return radius(lower_bound(self.n, self.n, self.alpha), sigma)


@dataclass(frozen=True)
class Certificate:
    """What is said of one clip.

    Attributes:
        record: The clip.
        prediction: The class of CERTIFY; None: it abstains.
        lower: Lower bound of that class's probability under noise; it holds with probability 1 - alpha.
        radius: No change of a smaller L2 norm alters the smoothed model's class; 0 where CERTIFY abstains.
        voted: The class of PREDICT; None: it abstains.
    """

    record: ClipRecord
    prediction: int | None
    lower: float
    radius: float
    voted: int | None


def lower_bound(count: int, n: int, alpha: float) -> float:
    """One-sided Clopper-Pearson bound: below it lies a probability that gave `count` of `n` in at most alpha of all cases."""
    return float(stats.beta.ppf(alpha, count, n - count + 1)) if count else 0.0


def radius(lower: float, sigma: float) -> float:
    """The certified L2 radius sigma * Phi^-1(lower) (theorem 1 with its bound of the second class at 1 - lower), 0 up to 1/2."""
    return sigma * float(stats.norm.ppf(lower)) if lower > 0.5 else 0.0


def predict(counts: Sequence[int], alpha: float) -> int | None:
    """PREDICT: the class with most votes; None where a two-sided binomial test cannot tell it from the second."""
    ranked = sorted(range(len(counts)), key=lambda k: -counts[k])
    first, second = counts[ranked[0]], counts[ranked[1]] if len(ranked) > 1 else 0
    sure = first > 0 and stats.binomtest(first, first + second, 0.5).pvalue <= alpha
    return ranked[0] if sure else None


def conclude(record: ClipRecord, votes: Tensor, classes: int, sigma: float, how: Procedure) -> Certificate:
    """PREDICT and CERTIFY from the classes that n0 + n draws voted for, -1 for none."""
    chosen = _counts(votes[: how.n0], classes)
    counts = _counts(votes[how.n0 :], classes)
    best = max(range(classes), key=chosen.__getitem__)
    lower = lower_bound(counts[best], how.n, how.alpha)
    certified = lower > 0.5
    return Certificate(record, best if certified else None, lower, radius(lower, sigma), predict(counts, how.alpha))


@torch.no_grad()
def vote(scorer: Scorer, clip: Tensor, rng: ClipRandom, count: int, room: Room, tick: Callable[[int], None]) -> Tensor:
    """The class that each of `count` draws of a smoothed model gives a clip (C, T, H, W); -1 where a score is not finite.

    Args:
        scorer: One draw per row.
        clip: The clip, on the device.
        rng: The clip's one stream: copy after copy draws its noise from it, however many lie side by side in a pass.
        count: How many.
        room: How many copies fit into a pass.
        tick: Told how many draws were made.
    """

    def one_pass(rows: slice) -> Tensor:
        copies = rows.stop - rows.start
        streams = rng[torch.zeros(copies, dtype=torch.long)]
        logits = again(rng, True, lambda: scorer(clip.expand(copies, *clip.shape), streams))
        tick(copies)
        return torch.where(torch.isfinite(logits).all(dim=1), logits.argmax(dim=1), -1).cpu()

    return torch.cat(room.passes(count, one_pass))


def certify(
    cell: Cell, bench: Bench, how: Procedure, tick: Callable[[int, int], None] = lambda done, of: None
) -> list[Certificate]:
    """Certifies the clips of a cell; those that cannot be decoded are in `bench.footage.failures`.

    Args:
        cell: Clean clips, a model, and a defence whose first link adds Gaussian noise of its `sigma` to the clip, before anything
            else. What lies behind the noise is one classifier, of which the theorem asks nothing.
        bench: The live objects; a pass takes as many noisy copies of a clip as it would take clips.
        how: Draws and confidence.
        tick: Told how many draws are done, and of how many.

    Raises:
        InputError: A component cannot be built as asked, or no clip can be decoded.
    """
    bench.check(cell)
    sigma, pipeline, classes = cell.defense[0].create().sigma, bench.pipeline(cell), bench.model(cell).classes
    each, room, scene = how.n0 + how.n, Room(bench.room(cell).batch), bench.scene(cell)
    done, total, found = 0, each * len(bench.records(cell)), []

    def count(draws: int) -> None:
        nonlocal done
        done += draws
        tick(done, total)

    for batch in bench.footage.batches(scene):
        clips, _ = bench.clips(batch)
        # The same noise whatever sigma scales it to, so that two sigmas differ in nothing else.
        streams = ClipRandom.for_clips(batch.ids, cell.seed, "certify", bench.device)
        for number, record in enumerate(batch.records):
            votes = vote(pipeline.scorer, clips[number], streams[torch.tensor([number])], each, room, count)
            found.append(conclude(record, votes, classes, sigma, how))
    if not found:
        raise InputError("dataset", f"no clip could be decoded, the first: {bench.footage.failures(scene)[0].reason}")
    return found


def share(found: Sequence[Certificate], holds: Callable[[Certificate], bool]) -> tuple[float, float, float]:
    """The share of clips of which `holds` is true, and its 95 % interval by source video."""
    values = [float(holds(one)) for one in found]
    return (sum(values) / len(values), *interval(values, [one.record.group for one in found]))


def certified(least: float) -> Callable[[Certificate], bool]:
    """Whether a clip is right under every change of an L2 norm below `least`; an abstention is not."""
    return lambda one: one.prediction == one.record.label and one.radius >= least


def clips_table(found: Sequence[Certificate], **settings: str | float) -> pd.DataFrame:
    """One row per clip; `prediction`, `abstained`, `radius` and `correct` are CERTIFY's, `voted` is PREDICT's class.

    Args:
        found: What was found.
        settings: Columns that say how, the same in every row.
    """
    rows = [
        {
            "id": one.record.id,
            "label": one.record.label,
            "prediction": one.prediction,
            "radius": math.floor(one.radius * 1e6) / 1e6,  # rounded up it would promise more
            "abstained": one.prediction is None,
            "correct": one.prediction == one.record.label,
            "lower": math.floor(one.lower * 1e6) / 1e6,
            "voted": one.voted,
        }
        for one in found
    ]
    return pd.DataFrame(rows).astype({"prediction": "Int64", "voted": "Int64"}).assign(**settings)


def linf_norm(spec: InputSpec, eps: float) -> float:
    """L2 norm of a change by `eps` of every pixel of a clip."""
    return eps * math.sqrt(3 * spec.frames * spec.size**2)


def _counts(votes: Tensor, classes: int) -> list[int]:
    return torch.bincount(votes[votes >= 0], minlength=classes).tolist()
