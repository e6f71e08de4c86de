"""What the audit sees of a stored cell, and of the cells around it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..benchmark.core.specs import Spec, split_chain
from ..benchmark.evaluation.tables import FULL_KNOWLEDGE, OF_THE_ATTACKER

WHOLE_BALL = ("fgsm", "ifgsm", "bim", "pgd", "mim", "apgd", "vauto", "vauto-rand")
"""Attacks by gradient that may move every pixel of every frame on its own: only these can be expected to beat any other attack of
their budget. Static, one-frame, patch and flicker attacks search a part of the ball, and of an attack in a user's file nobody
knows."""

NO_GRADIENT = "lets no gradient pass"
"""What an attack by gradient through such a defence fails with."""

SEARCH = 1000
"""Queries for each clip that an attack without gradient leaves right, from which on it counts as a search: of the caps at which
papers report such attacks, 1,000, 5,000 and 20,000, the smallest."""

ROUNDING = 1e-9
"""Differences of accuracies below this are none."""


class Seen:
    """A stored cell with its flags.

    Attributes:
        cell: Its content.
        flags: What `cells_table` flags, in words without blanks.
    """

    def __init__(self, cell: Mapping[str, Any], flags: str) -> None:
        self.cell, self.flags = cell, flags.split()
        self.spec, self.clips, self.evidence = cell["spec"], cell["clips"], cell["evidence"]
        self.kind, self.ok, self.defense = self.spec["kind"], cell["status"] == "ok", self.spec["defense"]
        self.attacked = self.ok and self.kind == "attack"

    @cached_property
    def attack(self) -> Spec:
        """The attack as name and values."""
        return _parsed(self.spec["attack"], "attack")

    @cached_property
    def values(self) -> dict[str, str]:
        """The attack's parameters, as text."""
        return dict(self.attack.values)

    @cached_property
    def correct(self) -> dict[str, float]:
        """Share of right passes by clip."""
        return dict(zip(self.clips["id"], self.clips["correct"], strict=True))

    @cached_property
    def shares(self) -> NDArray[Any]:
        """Share of right passes, in the order of the clips."""
        return np.asarray(self.clips["correct"], dtype=float)

    @cached_property
    def accuracy(self) -> float:
        """Top-1 accuracy in [0, 1]."""
        return float(np.mean(self.shares))

    @cached_property
    def threat(self) -> str:
        """The kind of threat, without its parameters."""
        return str(self.spec["threat"]).partition(":")[0]

    @cached_property
    def eot(self) -> int:
        """Draws of a gradient, of an adaptive cell."""
        return int(dict(_parsed(self.spec["threat"], "threat").values).get("eot", 1))

    @property
    def budget(self) -> tuple[Any, Any]:
        """Norm and eps."""
        return self.spec.get("norm"), self.spec.get("eps")

    @property
    def eps(self) -> float:
        """The budget; NaN, which is neither more nor less than any other, where the cell names none."""
        eps = self.spec.get("eps")
        return float(eps) if isinstance(eps, (int, float)) else float("nan")

    @property
    def full_knowledge(self) -> bool:
        """Whether the attack held the pipeline that is judged."""
        return self.attacked and self.threat in FULL_KNOWLEDGE

    @cached_property
    def gradients(self) -> int:
        """Gradient calls in all, with those that a universal perturbation took."""
        return sum(self.clips["gradients"]) + self.evidence.get("fit", {}).get("gradients", 0)

    @cached_property
    def queries(self) -> int:
        """Queries in all, with those that a universal perturbation took."""
        return sum(self.clips["queries"]) + self.evidence.get("fit", {}).get("queries", 0)

    @property
    def black_box(self) -> bool:
        """Whether the attack took no gradient."""
        return self.full_knowledge and self.gradients == 0

    @property
    def searched(self) -> bool:
        """Whether the attack did without gradients and searched; random noise, the sanity floor, is no search."""
        if not self.black_box or self.attack.name == "noise":
            return False
        return all(
            asked >= SEARCH for asked, solved in zip(self.clips["queries"], self.clips["solved"], strict=True) if solved < 0
        )

    @property
    def declared(self) -> Mapping[str, Any]:
        """What the defence says of itself; of cells of earlier versions nothing is known."""
        return self.cell.get("declared", {})

    @property
    def opaque(self) -> bool:
        """Whether the defence lets no gradient pass."""
        return self.declared.get("gradient") == "none" or not self.ok and NO_GRADIENT in self.cell["error"]

    @property
    def strong(self) -> bool:
        """Whether it is an untargeted iterative gradient attack on the whole ball, with full knowledge."""
        several = self.attack.name != "fgsm" and self.values.get("steps") != "1"
        untargeted = self.values.get("target", "none") == "none"
        return self.full_knowledge and self.attack.name in WHOLE_BALL and several and untargeted and self.gradients > 0

    @property
    def random(self) -> bool:
        """Whether the defence averages several draws, or passes over a clip were not of one mind."""
        return self.draws > 1 or any(0 < share < 1 for share in self.clips.get("correct", []))

    @cached_property
    def draws(self) -> int:
        """Passes that the deployed defence averages; of earlier versions' cells, as the spec says."""
        if "draws" in self.declared:
            return int(self.declared["draws"])
        links = [Spec.parse(link, "defense") for link in split_chain(self.defense)]
        given = [dict(link.values).get("draws", "1") for link in links]
        return max(int(one) if one.isdecimal() else 1 for one in given)


@dataclass
class Near:
    """The cells around a cell.

    Attributes:
        pipeline: Those of the same model and defence on the same clips with the same seed, clean or attacked, itself among them.
        model: Those of the same model, whatever the clips, the defence or the corruption.
    """

    pipeline: list[Seen] = field(default_factory=list)
    model: list[Seen] = field(default_factory=list)

    @cached_property
    def first(self) -> Seen:
        """The cell that answers for the pipeline: the clean one where there is one."""
        return self.clean or self.pipeline[0]

    @cached_property
    def clean(self) -> Seen | None:
        """The pipeline without attack."""
        return next((one for one in self.pipeline if one.kind == "clean" and one.ok), None)

    @cached_property
    def attacked(self) -> list[Seen]:
        """Its attacked cells that were measured."""
        return [one for one in self.pipeline if one.attacked]

    @cached_property
    def classes(self) -> int:
        """Classes that labels or predictions name: the model has at least as many."""
        named = [one.clips[column] for one in self.pipeline if one.ok for column in ("label", "pred")]
        return len({number for column in named for number in column})

    def siblings(self, one: Seen, *free: str) -> list[Seen]:
        """Other runs of the same attack under the same threat, whose parameters differ in `free` at most."""

        def fixed(other: Seen) -> dict[str, Any]:
            return {name: value for name, value in other.values.items() if name not in free}

        mine, made_by = fixed(one), _made_by(one)
        rivals = [other for other in self.attacked if other is not one and _made_by(other) == made_by]
        return [other for other in rivals if fixed(other) == mine]

    def reference(self, one: Seen) -> Seen | None:
        """The strongest gradient attack with full knowledge and the same budget, which no other attack should beat."""
        rivals = [other for other in self.attacked if other.strong and other.budget == one.budget and other is not one]
        return min(rivals, key=accuracy, default=None)


@lru_cache(maxsize=4096)
def _parsed(text: str, kind: str) -> Spec:
    return Spec.parse(text, kind)


def _made_by(one: Seen) -> tuple[Any, ...]:
    return one.attack.name, one.spec["threat"], str(one.spec["versions"].get("attack"))


def unsearched(cells: Iterable[Seen]) -> bool:
    """Whether a defence that lets no gradient pass was met by no attack that searches without one (Athalye et al. 2018)."""
    cells = list(cells)
    return any(one.opaque for one in cells) and not any(one.searched for one in cells)


def accuracy(one: Seen) -> float:
    """Top-1 accuracy in [0, 1]."""
    return one.accuracy


def gain(one: Seen, other: Seen) -> float:
    """How much less accuracy `other` leaves than `one`, on the clips that both have."""
    if one.clips["id"] == other.clips["id"]:
        return float(np.mean(one.shares - other.shares)) if len(one.shares) else 0.0
    shared = [name for name in one.correct if name in other.correct]
    return float(np.mean([one.correct[name] - other.correct[name] for name in shared])) if shared else 0.0


def better(one: Seen, others: Iterable[Seen]) -> tuple[Seen | None, float]:
    """The one of `others` that leaves least on the clips that it shares with `one`, and how much less."""
    best = max(others, key=lambda other: gain(one, other), default=None)
    return best, gain(one, best) if best else 0.0


def surroundings(cells: Sequence[Seen]) -> list[tuple[Seen, Near]]:
    """Every cell that is not a corruption, with what is around it."""
    pipelines: dict[str, Near] = {}
    models: dict[str, list[Seen]] = {}
    placed = []
    for one in cells:
        versions = {part: version for part, version in one.spec["versions"].items() if part not in OF_THE_ATTACKER}
        names = (
            "protocol",
            "dataset",
            "split",
            "limit",
            "manifest_sha256",
            "model",
            "weights_sha256",
            "defense",
            "defense_sha256",
            "seed",
            "input",
        )
        model = models.setdefault(str([one.spec[name] for name in ("dataset", "model", "weights_sha256")]), [])
        model.append(one)
        if one.kind == "corruption":
            continue
        near = pipelines.setdefault(str([[one.spec.get(name) for name in names], versions]), Near(model=model))
        near.pipeline.append(one)
        placed.append((one, near))
    return placed
