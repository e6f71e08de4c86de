"""How an attack meets a defence: what the attacker knows, and the target that this makes.

Undefended models are attacked `white-box`. A defended one is attacked `oblivious` (crafted on the undefended model) and
`adaptive` (crafted through the whole defended pipeline: EOT where it is random, its own surrogate where it declares BPDA), and
on request by `transfer:<model>` (crafted on another, undefended model).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.interfaces import Defense, Gradient, Model, Scorer
from ..core.losses import Loss
from ..core.params import Field
from ..core.registry import did_you_mean
from ..core.rng import ClipRandom
from ..core.specs import Spec

THREATS = ("white-box", "oblivious", "adaptive", "transfer")
GRADIENT_COST = 3
"""A forward and backward pass costs about three forward ones: the unit of progress, not of results."""

_EOT = Field("eot", "int", 1, low=1)


@dataclass(frozen=True)
class Threat:
    """What the attacker knows.

    Attributes:
        name: One of THREATS.
        eot: Random draws that one gradient averages (adaptive only).
        source: Spec of the model that the attack is crafted on (transfer only).
    """

    name: str
    eot: int = 1
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> "Threat":
        """Reads `oblivious`, `adaptive`, `adaptive:eot=10`, `transfer:<model spec>`.

        Raises:
            InputError: An unknown threat or a bad parameter.
        """
        name, _, rest = text.partition(":")
        if name == "transfer":
            if not rest:
                raise InputError("threat transfer", "the source model is missing", "write transfer:<model>")
            return cls(name, source=rest)
        spec = Spec.parse(text, "threat")
        if name not in THREATS:
            raise InputError("threat", f"{name!r} is unknown", did_you_mean(name, THREATS))
        if name != "adaptive" and rest or spec.positional or any(key != "eot" for key, _ in spec.values):
            raise InputError(f"threat {name}", f"{rest!r} is not understood", "only adaptive takes a parameter, eot=<draws>")
        return cls(name, eot=_EOT.parse(dict(spec.values).get("eot", "1"), "threat adaptive"))

    def __str__(self) -> str:
        if self.name == "adaptive":
            return f"adaptive:eot={self.eot}"
        return f"transfer:{self.source}" if self.source else self.name


@dataclass(frozen=True)
class Pipeline:
    """A model behind its defences.

    Attributes:
        scorer: One pass, one random draw.
        stochastic: Whether two passes may differ.
        draws: Passes that the deployed pipeline averages.
        gradient: Whether gradients reach the clip, exactly or through a surrogate.
    """

    scorer: Scorer
    stochastic: bool = False
    draws: int = 1
    gradient: bool = True

    @classmethod
    def build(cls, model: Model, defenses: Sequence[Defense]) -> "Pipeline":
        """Clips pass the first defence first, the model last; in a chain one draw is one draw of every link."""

        def scorer(clips: Tensor, rng: ClipRandom) -> Tensor:
            return model(clips)

        for defense in reversed(defenses):
            scorer = defense.protect(scorer)
        stochastic = any(defense.stochastic for defense in defenses)
        draws = max((defense.draws for defense in defenses), default=1) if stochastic else 1
        return cls(scorer, stochastic, draws, all(defense.gradient != "none" for defense in defenses))

    @torch.no_grad()
    def decide(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """Logits (N, K) of the deployed pipeline: the logarithm of the softmax scores averaged over its draws."""
        if self.draws == 1:
            return self.scorer(clips, rng)
        scores = sum(self.scorer(clips, rng).softmax(dim=1) for _ in range(self.draws))
        return (scores / self.draws).clamp_min(1e-30).log()  # type: ignore[operator]


class CountedTarget:
    """The target that an attack sees: gradients and scores of a pipeline, counted per clip, with evidence of masked gradients.

    Attributes:
        gradients: Forward-backward passes per clip, (N,) on the CPU.
        queries: Forward passes without gradient per clip, (N,) on the CPU.
        zero: Gradients per clip that were zero everywhere.
        nonfinite: Gradients per clip with a NaN or an infinity; such entries reach the attack as 0.
    """

    def __init__(self, pipeline: Pipeline, clips: int, eot: int, until_fooled: bool, tick: Callable[[int], None]) -> None:
        self._pipeline = pipeline
        self._eot = eot if pipeline.stochastic else 1
        self._tick = tick
        self.stochastic = pipeline.stochastic
        # A random target may be right again at the next draw, so a clip is never done.
        self.until_fooled = until_fooled and not pipeline.stochastic
        self.gradients, self.queries, self.zero, self.nonfinite = (torch.zeros(clips, dtype=torch.long) for _ in range(4))

    def gradient(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        """The gradient of the loss, the mean over EOT draws, each through the whole pipeline."""
        passes = [self._one_pass(clips, labels, loss, rng) for _ in range(self._eot)]
        grad, value, logits = (
            passes[0] if self._eot == 1 else (torch.stack(part).mean(dim=0) for part in zip(*passes, strict=True))
        )
        self.gradients[rng.positions] += self._eot
        # One cheap pass tells that all is well; only a sum that is 0, infinite or NaN is looked into.
        total = grad.flatten(1).sum(dim=1)
        if bool(((total == 0) | ~torch.isfinite(total)).any()):
            self.zero[rng.positions] += (grad == 0).flatten(1).all(dim=1).cpu()
            self.nonfinite[rng.positions] += (~torch.isfinite(grad)).flatten(1).any(dim=1).cpu()
            grad = grad.nan_to_num(0.0, 0.0, 0.0)
        return Gradient(grad, value, logits)

    def logits(self, clips: Tensor, rng: ClipRandom) -> Tensor:
        """The deployed pipeline's scores."""
        self.queries[rng.positions] += self._pipeline.draws
        self._tick(len(clips) * self._pipeline.draws)
        return self._pipeline.decide(clips, rng)

    def _one_pass(self, clips: Tensor, labels: Tensor, loss: Loss, rng: ClipRandom) -> Gradient:
        clips = clips.detach().requires_grad_()
        logits = self._pipeline.scorer(clips, rng)
        value = loss(logits, labels)
        (grad,) = torch.autograd.grad(value.sum(), clips)
        self._tick(GRADIENT_COST * len(clips))
        return Gradient(grad, value.detach(), logits.detach())
