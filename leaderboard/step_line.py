"""How the step size that makes the strongest attack changes with the budget."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..benchmark.evaluation.stats import line_through

SLOPE = 0.2
"""Of the line that Kinfu and Vidal 2022 fit: alpha = 0.2 (eps + 1), both in units of 1/255."""

DRAWS = 1000


class Step(NamedTuple):
    """One attack: a budget, a step size, and what it left of the margins.

    Attributes:
        eps: Budget in units of 1/255.
        alpha: Step size in units of 1/255.
        margins: Score of the true class less the best other one, by clip.
        groups: The source video by clip.
    """

    eps: float
    alpha: float
    margins: dict[str, float]
    groups: dict[str, str]


class Line(NamedTuple):
    """A fitted line.

    Attributes:
        slope: It and the ends of its 95 % interval.
        intercept: The same, in units of 1/255.
        best: Best step size by budget.
    """

    slope: tuple[float, float, float]
    intercept: tuple[float, float, float]
    best: dict[float, float]


def fit_line(steps: Sequence[Step]) -> Line | str:
    """Least squares through the best step size of every budget.

    The best step size is the one that leaves the smallest mean margin. The intervals are those of a bootstrap over source videos
    (percentiles), or of the regression (t) where these reach further: the best of a few step sizes hardly changes with the
    clips, so that the bootstrap alone would take the grid's coarseness for certainty.

    Returns:
        The line, or why there is none: too few budgets or step sizes, or best step sizes that lie at the ends of those tried.
    """
    budgets = sorted({step.eps for step in steps})
    by_budget = [sorted((step for step in steps if step.eps == eps), key=lambda step: step.alpha) for eps in budgets]
    if len(budgets) < 3 or min(map(len, by_budget)) < 3:
        return "a line needs three budgets with three step sizes each"
    clips = [one for one in steps[0].margins if all(one in step.margins for step in steps)]
    if not clips:
        return "the cells are of different clips"
    alphas = [np.array([step.alpha for step in row]) for row in by_budget]
    margins = [np.array([[step.margins[one] for one in clips] for step in row]) for row in by_budget]
    _, group = np.unique([steps[0].groups[one] for one in clips], return_inverse=True)
    count = int(group.max()) + 1
    best = _best(alphas, margins, np.ones(len(clips)))
    ends = sum(step in (row[0], row[-1]) for step, row in zip(best, alphas, strict=True))
    if 2 * ends > len(budgets):
        return f"the best step size lies at an end of those tried for {ends} of {len(budgets)} budgets"
    rng = np.random.default_rng(0)
    draws = rng.multinomial(count, np.full(count, 1 / count), DRAWS)[:, group]
    lines = np.array([np.polyfit(budgets, _best(alphas, margins, draw), 1) for draw in draws])
    low, high = np.percentile(lines, [2.5, 97.5], axis=0)
    slope, intercept = (
        (value, min(float(low[place]), value - half), max(float(high[place]), value + half))
        for place, (value, half) in enumerate(line_through(budgets, best.tolist()))
    )
    return Line(
        slope,
        intercept,
        {eps: float(step) for eps, step in zip(budgets, best, strict=True)},
    )


def _best(alphas: Sequence[np.ndarray], margins: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.array([row[int(np.argmin(values @ weights))] for row, values in zip(alphas, margins, strict=True)])
