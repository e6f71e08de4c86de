"""How an attack meets a defence: what the attacker knows, and the pipeline that this makes.

Undefended models are attacked `white-box`. A defended one is attacked `oblivious` (crafted on the undefended model) and
`adaptive` (crafted through the whole defended pipeline: EOT where it is random, its own surrogate where it declares BPDA), and
on request by `transfer:<model>` (crafted on another, undefended model). Where a chain answers with a retrained classifier behind
something else, it is also attacked `grey-box`: crafted on that classifier alone, as papers do that leave out what purifies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import Defense, Model, Scorer
from ..core.params import Field
from ..core.registry import did_you_mean
from ..core.rng import ClipRandom
from ..core.specs import Spec
from ..core.trained import Armed, Retrained, Trained

THREATS = ("white-box", "oblivious", "grey-box", "adaptive", "transfer")
_FIELDS = {
    "eot": Field("eot", "int", 1, low=1),
    "average": Field("average", "str", "loss", choices=("loss", "score")),
}


@dataclass(frozen=True)
class Threat:
    """What the attacker knows.

    Attributes:
        name: One of THREATS.
        eot: Random draws that one gradient averages (adaptive only).
        average: What is averaged over them: `loss`, the mean of the draws' losses, or `score`, the loss of the mean score, which
            is what a deployed ensemble answers (adaptive only).
        source: Spec of the model that the attack is crafted on (transfer only).
    """

    name: str
    eot: int = 1
    average: str = "loss"
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> "Threat":
        """Reads `oblivious`, `adaptive`, `adaptive:eot=10,average=score`, `transfer:<model>`, `transfer` (every other model).

        Raises:
            InputError: An unknown threat or a bad parameter.
        """
        name, _, rest = text.partition(":")
        if name == "transfer":
            return cls(name, source=rest)
        spec = Spec.parse(text, "threat")
        if name not in THREATS:
            raise InputError("threat", f"{name!r} is unknown", did_you_mean(name, THREATS))
        if name != "adaptive" and rest or spec.positional or any(key not in _FIELDS for key, _ in spec.values):
            known = "only adaptive takes parameters, eot=<draws> and average=loss or score"
            raise InputError(f"threat {name}", f"{rest!r} is not understood", known)
        return cls(name, **{key: _FIELDS[key].parse(text, "threat adaptive") for key, text in spec.values})

    @property
    def version(self) -> str:
        """Goes up when the same threat may give other numbers; since 2 the first of several draws is that of plain PGD."""
        return "2" if self.eot > 1 else "1"

    @property
    def on_the_defence(self) -> bool:
        """Whether the attacker holds something of the defence, so that what is made serves no other one."""
        return self.name in ("grey-box", "adaptive")

    @property
    def on_the_judged(self) -> bool:
        """Whether the attacker holds the very pipeline that is judged, so that the attack's strength can be checked there."""
        return self.name in ("white-box", "adaptive")

    def __str__(self) -> str:
        if self.name == "adaptive":
            return f"adaptive:eot={self.eot}" + (",average=score" if self.average == "score" else "")
        return f"transfer:{self.source}" if self.source else self.name


@dataclass(frozen=True)
class Pipeline:
    """A model behind its defences.

    Attributes:
        scorer: One pass, one random draw.
        stochastic: Whether two passes may differ.
        draws: Passes that the deployed pipeline averages.
        gradient: Whether gradients reach the clip, exactly or through a surrogate.
        model: The model itself, for losses that look inside it.
        surrogate: Whether they pass a link that is not what it does in the forward pass (BPDA).
    """

    scorer: Scorer
    stochastic: bool = False
    draws: int = 1
    gradient: bool = True
    model: Model | None = None
    surrogate: bool = False

    @classmethod
    def build(cls, model: Model, defenses: Sequence[Defense | Armed]) -> "Pipeline":
        """Clips pass the first defence first, the model last; in a chain one draw is one draw of every link."""

        def scorer(clips: Tensor, rng: ClipRandom) -> Tensor:
            return model(clips)

        for defense in reversed(defenses):
            scorer = defense.protect(scorer)
        stochastic = any(defense.stochastic for defense in defenses)
        draws = max((defense.draws for defense in defenses), default=1) if stochastic else 1
        gradients = {defense.gradient for defense in defenses}
        return cls(scorer, stochastic, draws, "none" not in gradients, inside(defenses) or model, "bpda" in gradients)

    @torch.no_grad()
    def decide(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits (N, K) of the deployed pipeline: the logarithm of the softmax scores averaged over its draws."""
        if self.draws == 1:
            return self.scorer(clips, rng)
        scores = sum(self.scorer(clips, rng).softmax(dim=1) for _ in range(self.draws))
        return (scores / self.draws).clamp_min(1e-30).log()  # type: ignore[operator]


def inside(defenses: Sequence[Defense | Armed]) -> Model | None:
    """The classifier that answers in the model's place; None where no link replaces it."""
    return next((link.inside for link in defenses if isinstance(link, Armed) and link.inside), None)


def grey_box_differs(defenses: Sequence[Defense]) -> bool:
    """Whether a retrained classifier answers behind something else, so that attacking it alone is another setting."""
    replacing = [link for link in defenses if isinstance(link, Trained) and link.replaces]
    return bool(replacing) and (len(defenses) > 1 or not isinstance(replacing[0], Retrained))


def check_order(defenses: Sequence[Defense], names: Sequence[str]) -> None:
    """Refuses a chain in which a link would never be asked.

    Args:
        defenses: The links, first to last.
        names: What they are called.

    Raises:
        InputError: A defence that answers in the model's place is not the last, or there are two.
    """
    where = f"defense {'+'.join(names)}"
    replacing = [name for link, name in zip(defenses, names, strict=True) if isinstance(link, Trained) and link.replaces]
    if len(replacing) > 1:
        raise InputError(where, f"{' and '.join(replacing)} both answer in the model's place", "keep one of them")
    if replacing and replacing[0] != names[-1]:
        problem = f"{replacing[0]} answers in the model's place, so no link after it is asked"
        raise InputError(where, problem, f"put {replacing[0]} last")
