"""V-BAD."""

import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ..benchmark.core.attack import Attack, Target
from ..benchmark.core.budget import Ball, check_eps, per_clip
from ..benchmark.core.errors import InputError
from ..benchmark.core.params import PIXEL, param
from ..benchmark.core.registry import register
from ..benchmark.core.rng import ClipRandom
from ..benchmark.core.search import Search

PATIENCE = 20
"""Steps without a rise of the loss after which the step halves."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What torchvision's ResNet-50 was trained with."""


@register("attack", "vbad")
@dataclass(frozen=True)
class VBAD(Attack):
    """V-BAD: signs of tentative directions, patch by patch, chosen by natural evolution strategies on scores.

    Formula: x <- P(x + step * sign(v)_patch * t), from a uniform draw of the ball, with tentative directions t = +-1 per pixel
    and one number v_i per patch, a `split` x `split` part of one frame; v = sum over z of [l(x + sigma z_patch t) - l(x - sigma
    z_patch t)] z, samples/2 draws z ~ N(0, 1); l = max_{j != y} z_j - z_y. The step starts at `step` and halves, down to
    `least_step`, after 20 steps that did not raise the loss. samples + 1 queries make a step.

    The published tentative directions are signs of gradients of ImageNet networks, whose features are drawn to random ones.
    `tentative=random` draws them at random instead, needs no file, and is weaker: its figures are not the paper's.
    `tentative=resnet50` takes torchvision's ResNet-50 with the weights of a local file; the paper uses up to three networks.
    Probes are brought into the budget, so that what a query solves is an adversarial clip. The published cap is 300000 queries;
    the default is 5000.

    Source: Jiang et al. 2019, Black-box Adversarial Attacks on Video Recognition Models, ACM MM, arXiv 1904.05181,
    algorithms 1 and 2; sigma, samples and steps as in the authors' scripts.
    """

    version: ClassVar[int] = 1
    black_box: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("queries",)

    norm: str = param("linf", help="norm of the budget", choices=("linf",))
    eps: float = param(0.05, help="budget", unit=PIXEL)
    queries: int = param(5000, help="queries per clip at most", low=1)
    step: float = param(1e-2, help="first step size", unit=PIXEL, low=0.0)
    least_step: float = param(1e-3, help="smallest step size", unit=PIXEL, low=0.0)
    samples: int = param(48, help="queries per gradient estimate, in antithetic pairs", low=2)
    sigma: float = param(1e-3, help="size of a probe, in [0, 1] pixel units", low=0.0)
    split: int = param(8, help="patches along the height and along the width of a frame", low=1)
    tentative: str = param("random", help="where the tentative directions come from", choices=("random", "resnet50"))
    weights: str | None = param(None, help="file with torchvision's ImageNet weights, for tentative=resnet50", identity=False)

    def __post_init__(self) -> None:
        check_eps("attack vbad", self.norm, self.eps)
        if self.tentative == "resnet50" and not (self.weights and Path(self.weights).is_file()):
            what = f"{self.weights} is not a file" if self.weights else "tentative=resnet50 needs a file"
            raise InputError("attack vbad: weights", what, "give weights=<resnet50-....pth of torchvision>")

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights, where they are used."""
        return (Path(self.weights),) if self.weights and self.tentative == "resnet50" else ()

    @property
    def calls(self) -> tuple[int, int]:
        """No gradient calls, and the queries."""
        return 0, self.queries

    def run(self, target: Target, clips: Tensor, labels: Tensor, rng: ClipRandom) -> Tensor:
        """Adversarial candidates (N, C, T, H, W) of clips (N, C, T, H, W) with labels (N,)."""
        ball, search = Ball(clips, self.norm, self.eps), Search(target, clips, labels, rng, self.queries)
        x = ball.random(rng)
        step, reached = clips.new_full((len(clips),), self.step), clips.new_full((len(clips),), -torch.inf)
        for number in range(self.queries):
            if not search.goes_on():
                break
            value = search.ask(x[search.rows])
            if number % PATIENCE == 0:
                stuck = search.rows[value <= reached[search.rows]]
                step[stuck] = (step[stuck] / 2).clamp_min(self.least_step)
                reached[search.rows] = value
            self._advance(search, ball, x, step)
        return x if target.stochastic else search.best.clips

    def _advance(self, search: Search, ball: Ball, x: Tensor, step: Tensor) -> None:
        """Moves the iterates of `search.rows` in place, by one estimate of the gradient."""
        count, _, frames, height, width = x.shape
        tentative, estimate = torch.zeros_like(x), x.new_zeros(count, 1, frames, self.split, self.split)
        tentative[search.rows] = self._tentative(x[search.rows], search.rng)
        for _ in range(self.samples // 2):
            if not search.goes_on():
                return
            rows = search.rows
            around, noise = ball[rows], search.rng.normal(estimate.shape[1:])
            change = self.sigma * over_patches(noise, height, width) * tentative[rows]
            slope = search.contrast(around.project(x[rows] + change), around.project(x[rows] - change))
            estimate[rows] += per_clip(slope) * noise
        if search.goes_on():
            rows = search.rows
            change = over_patches(estimate[rows].sign(), height, width) * tentative[rows]
            x[rows] = ball[rows].project(x[rows] + per_clip(step[rows]) * change)

    def _tentative(self, x: Tensor, rng: ClipRandom) -> Tensor:
        """Directions of +1 and -1, (N, C, T, H, W)."""
        if self.weights is None or self.tentative == "random":
            return rng.normal(x.shape[1:]).sign()
        return feature_signs(resnet50(self.weights).to(x.device), x, rng)


def over_patches(values: Tensor, height: int, width: int) -> Tensor:
    """One value per patch (N, 1, T, S, S) spread over frames of any size, (N, 1, T, H, W)."""
    split, device = values.shape[-1], values.device
    row, column = (torch.arange(size, device=device) * split // size for size in (height, width))
    return values[..., row[:, None], column]


def feature_signs(net: nn.Module, x: Tensor, rng: ClipRandom) -> Tensor:
    """Signs of the gradients that draw an image network's scores of each frame to |N(0, 5^2)|, (N, C, T, H, W)."""
    signs = []
    for number in range(len(x)):  # clip by clip, so that the batch does not change a sign
        frames = x[number].transpose(0, 1).detach().requires_grad_()
        with torch.enable_grad():
            mean, std = (frames.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
            scores = net((frames - mean) / std)
            wanted = 5 * rng[torch.tensor([number])].normal(scores.shape)[0].abs()
            (grad,) = torch.autograd.grad(F.mse_loss(scores, wanted), frames)
        signs.append(grad.sign().transpose(0, 1))
    return torch.stack(signs)


@cache
def resnet50(weights: str) -> nn.Module:
    """ResNet-50 with the weights of a file, for inference.

    Raises:
        InputError: The file holds no such weights.
    """
    net = torchvision.models.resnet50()
    try:
        net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        problem = f"{weights} does not hold torchvision's resnet50 ({type(error).__name__})"
        raise InputError("attack vbad: weights", problem, "give the .pth that torchvision publishes") from None
    return net.eval().requires_grad_(False)
