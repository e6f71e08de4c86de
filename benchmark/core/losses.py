"""Losses that attacks maximise; each takes logits (N, K) and labels and returns (N,).

Untargeted ones take true classes (N,), targeted ones true and target classes (N, 2).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]

NEEDS = {"dlr": 3, "targeted-dlr": 4}
"""Classes that a loss takes at least."""


def check_classes(loss: str, classes: int) -> None:
    """Refuses a loss that needs more classes than a model has.

    Raises:
        InputError: There are too few.
    """
    if classes < NEEDS.get(loss, 0):
        raise InputError("loss", f"{loss} needs at least {NEEDS[loss]} classes, the model has {classes}", "use ce")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per clip."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Score of the true class minus the best other one: positive where the prediction is right. Ties count as wrong."""
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return true - others.amax(dim=1)


def cw(logits: Tensor, labels: Tensor) -> Tensor:
    """Carlini-Wagner margin max_{j != y} z_j - z_y (Carlini and Wagner 2017, f6 without its cut-off)."""
    return -margin(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference-of-logits-ratio loss (Croce and Hein 2020, Eq. 6), which no rescaling of the logits changes.

    Raises:
        InputError: There are fewer than three classes.
    """
    check_classes("dlr", logits.shape[1])
    ranked = logits.sort(dim=1, descending=True).values
    return -margin(logits, labels) / (ranked[:, 0] - ranked[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Targeted DLR loss (Croce and Hein 2020, Eq. 7) of true and target classes, labels (N, 2): it rises towards the target.

    Raises:
        InputError: There are fewer than four classes.
    """
    check_classes("targeted-dlr", logits.shape[1])
    ranked = logits.sort(dim=1, descending=True).values
    chosen = logits.gather(1, labels)
    return -(chosen[:, 0] - chosen[:, 1]) / (ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2 + 1e-12)


def targeted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the target class, labels (N, 2): true and target classes."""
    return -cross_entropy(logits, labels[:, 1])


def targeted_cw(logits: Tensor, labels: Tensor) -> Tensor:
    """Margin z_t - max_{j != t} z_j (Carlini and Wagner 2017, f6 without its cut-off), labels (N, 2): true and target classes."""
    return margin(logits, labels[:, 1])


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "cw": cw, "dlr": dlr}
TARGETED: dict[str, Loss] = {"ce": targeted_cross_entropy, "cw": targeted_cw, "dlr": targeted_dlr}
