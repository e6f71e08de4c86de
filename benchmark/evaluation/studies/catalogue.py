"""Which studies there are, known without importing torch."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.errors import InputError
from ...core.registry import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Tick = Callable[[int, int], None]
"""Told how many steps are done, and of how many."""

COLUMNS = ("dataset", "model", "condition", "clips", "draws", "top1", "top1_low", "top1_high", "published")
"""Of a study's table, one row per measurement; fractions in [0, 1], NaN where there is none.

`published` is what the paper's text states for the same measurement; a row that has nothing else is a figure of the paper's for
which there is no counterpart here.
"""


@dataclass(frozen=True)
class Study:
    """One figure or table of a paper.

    Attributes:
        name: `<paper>/<figure or table>`.
        about: What is shown, in one line.
        source: The paper and the place in it.
        differs: How what we do differs from what the paper did.
        module: File of this folder that holds it.
        function: Function there: `Tick` to a table with COLUMNS.
    """

    name: str
    about: str
    source: str
    differs: str
    module: str
    function: str

    def run(self, tick: Tick = lambda done, total: None) -> "pd.DataFrame":
        """Computes the study's table.

        Raises:
            InputError: No model is shipped that it needs, or clips cannot be read.
        """
        return getattr(importlib.import_module(f".{self.module}", __package__), self.function)(tick)


_SHUFFLING = "Hwang et al. 2024, Temporal Shuffling for Defending Deep Action Recognition Models against Adversarial Attacks"

STUDIES = {
    study.name: study
    for study in (
        Study(
            "temporal-shuffling/fig5",
            "accuracy when the order of frames is random inside chunks of N frames",
            f"{_SHUFFLING}, section 3.2 and figure 5",
            "The paper's toy videos are not public. Ours have the same three sets of cues, but the background moves with the"
            " object and the files are H.264. Each data set has 256 test clips (the paper: 400), the models are the tiny ones"
            " (the paper: a ResNet-18 inflated to 3-D, trained with Adam), and each clip is judged under 10 orders, the same for"
            " every model (the paper does not say how many).",
            "frame_order",
            "chunks",
        ),
        Study(
            "temporal-shuffling/table1",
            "accuracy on videos that show one of their frames all the time",
            f"{_SHUFFLING}, section 3.1 and table 1",
            "The paper judges four full-size models on 1,900 videos of Kinetics-400 that all of them get right. Here the tiny"
            " models are judged on toy videos, in which it is known where the class can be seen; as in the paper, only clips"
            " count that all models get right, and each frame of a clip takes its turn. The published figures have"
            " rows of their own.",
            "frame_order",
            "uniformized",
        ),
    )
}


def find_study(name: str) -> Study:
    """The study of a name.

    Raises:
        InputError: There is none; close names are suggested.
    """
    if name not in STUDIES:
        raise InputError("paper", f"{name!r} is unknown", did_you_mean(name, STUDIES))
    return STUDIES[name]
