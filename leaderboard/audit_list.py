"""The list of checks: what is computed from a store, when it fires, and what no store can say.

The numbers C1 to C34 are this project's; the rules are from Carlini et al. 2019 (On Evaluating Adversarial Robustness), Athalye
et al. 2018 (Obfuscated Gradients), Tramer et al. 2020 (On Adaptive Attacks), AutoAttack's own checks and IoAF (2106.09947).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from . import audit_checks as of_cells
from . import audit_pipeline as of_pipelines
from . import audit_probes as of_probes
from .audit_evidence import Near, Seen


class Check(NamedTuple):
    """A check that is computed from the store.

    Attributes:
        id: Its number in the list that it is from.
        level: `error`: no number of a leaderboard; `flag`: the number is suspect; `warn`: something else should stand beside it.
        flag: What the audit calls a cell that fails.
        title: What should hold.
        look: None: nothing to look at; empty: it holds; else the evidence in words.
        threshold: When it fires.
        needs: What a store lacks where there was nothing to look at.
    """

    id: str
    level: Literal["error", "flag", "warn"]
    flag: str
    title: str
    look: Callable[[Seen, Near], str | None]
    threshold: str
    needs: str


ATTACKED, PROBE = "an attacked cell", "an attack with full knowledge"
CHECKS = (
    Check("-", "error", "failed", "every cell was measured", of_pipelines.measured, "any", "a cell"),
    Check("-", "warn", "failed-clips", "every clip was measured", of_pipelines.decoded, "any", "a cell"),
    Check("C1", "error", "threat-model-undeclared", "the threat model is declared", of_cells.declared, "any missing", ATTACKED),
    Check(
        "C2", "error", "over-budget", "the budget is kept", of_cells.within_budget, "eps (1 + 1e-5) + 1e-6", "a bounded attack"
    ),
    Check("C2", "error", "budget-projected", "the attack itself keeps it", of_cells.projected, "any clip", ATTACKED),
    Check("C3", "error", "not-as-on-its-card", "clean accuracy is the card's", of_probes.card, "outside 95 %", "a card's figure"),
    Check(
        "C5",
        "flag",
        "weaker-than-single-step",
        "steps beat a step",
        of_cells.single_step,
        "more than 1 point",
        "an iterative attack",
    ),
    Check("C5", "flag", "weaker-than-fgsm", "iterative beats FGSM", of_cells.fgsm, "more than 1 point", "fgsm with pgd's budget"),
    Check(
        "C6", "flag", "rises-with-budget", "more budget helps", of_cells.budget_helps, "more than 1 point", "two values of eps"
    ),
    Check(
        "C7", "flag", "huge-budget-survived", "a huge budget breaks it", of_cells.huge_budget, "chance + 2 points", "pgd:eps=0.5"
    ),
    Check("C8", "flag", "not-converged", "twice the steps change nothing", of_cells.doubled, "1 point", "an attack with steps"),
    Check(
        "C8", "flag", "more-steps-gain", "a longer run gains nothing", of_cells.more_steps, "1 point", "a run of twice the steps"
    ),
    Check(
        "C8", "flag", "loss-still-rising", "the loss no longer rises", of_probes.rising, "over 5 % in the last tenth", "survivors"
    ),
    Check("C9", "flag", "restarts-gain", "restarts matter little", of_cells.restarts, "2 points", "pgd:restarts=5 beside pgd"),
    Check("C10", "flag", "step-size-gains", "the step size is near the best", of_cells.step_size, "2 points", "other step sizes"),
    Check(
        "C11",
        "flag",
        "silent-success",
        "what was fooled stays so",
        of_cells.silent_success,
        "more than 1 % of clips",
        "no defence",
    ),
    Check("C12", "flag", "zero-gradient", "gradients are not zero", of_cells.zero_gradient, "any clip", "a gradient attack"),
    Check(
        "C12", "flag", "nonfinite-gradient", "gradients are finite", of_cells.nonfinite_gradient, "any clip", "a gradient attack"
    ),
    Check("C12", "flag", "gradient-disagrees", "finite differences agree", of_probes.slope, "a factor of 5, most clips", PROBE),
    Check("C13", "flag", "probabilities", "scores do not add up to 1", of_probes.probabilities, "within 1e-5", PROBE),
    Check("C13", "flag", "quantised-scores", "scores lie on no grid", of_probes.quantised, "a step of 0.1 % of the range", PROBE),
    Check(
        "C13",
        "warn",
        "looks-like-softmax",
        "scores are logits",
        of_cells.logits,
        "largest margin in [0.9, 1]",
        "an undefended model",
    ),
    Check("C14", "flag", "loss-gains", "no other loss is better", of_cells.loss_ablation, "2 points", "pgd:loss=cw beside pgd"),
    Check(
        "C15",
        "flag",
        "black-box-beats-white-box",
        "gradients beat a search without",
        of_cells.black_box,
        "more than 1 point",
        "square or noise beside pgd of the same budget",
    ),
    Check(
        "C16", "flag", "noise-nearly-as-good", "noise is harmless", of_cells.noise, "half of what pgd takes", "noise beside pgd"
    ),
    Check(
        "C17",
        "flag",
        "transfer-beats-white-box",
        "its own gradients beat another's",
        of_cells.transfer,
        "more than 1 point",
        "--threat transfer beside pgd",
    ),
    Check(
        "C18",
        "warn",
        "never-disagrees",
        "a random defence is random",
        of_pipelines.never_disagrees,
        "no clip",
        "a random defence",
    ),
    Check("C18", "flag", "fixed-draws", "draws differ", of_probes.fixed, "no score differs", PROBE),
    Check("C18", "flag", "undeclared-randomness", "no other randomness", of_probes.undeclared, "0.01 % of the range", PROBE),
    Check(
        "C19",
        "flag",
        "adaptive-weaker-than-oblivious",
        "knowing the defence helps",
        of_pipelines.adaptive_stronger,
        "more than 1 point",
        "a defence, attacked oblivious and adaptive",
    ),
    Check(
        "C20",
        "flag",
        "too-few-draws",
        "enough draws per gradient",
        of_pipelines.draws,
        "the defence's, or 1 point",
        "a random defence",
    ),
    Check("C21", "warn", "surrogate-gradient", "the gradient is the defence's own", of_cells.surrogate, "any cell", ATTACKED),
    Check(
        "C21",
        "error",
        "no-black-box",
        "no gradient, so a black box",
        of_pipelines.no_gradient,
        "none",
        "a defence without gradient",
    ),
    Check(
        "C22",
        "flag",
        "adaptive-weaker-than-grey-box",
        "the whole pipeline is attacked",
        of_pipelines.stronger_than_grey_box,
        "more than 1 point",
        "a chain that is also attacked grey-box",
    ),
    Check("C23", "warn", "optimises-at-test-time", "no gradients to decide", of_probes.optimises, "any", PROBE),
    Check("C24", "warn", "no-ablation", "each link stands alone", of_pipelines.ablation, "any missing", "a chain of defences"),
    Check("C26", "warn", "no-targeted", "a targeted attack was run", of_pipelines.targeted, "4 classes or more", ATTACKED),
    Check("C27", "flag", "attacked-above-clean", "attacks harm", of_pipelines.above_clean, "more than 1 point", ATTACKED),
    Check("C28", "warn", "few-clips", "enough clips", of_pipelines.enough_clips, "500 clips", "a measured cell"),
    Check("C32", "warn", "no-corruption", "noise or corruptions beside", of_pipelines.corruptions, "none", ATTACKED),
    Check("C34", "error", "cost-unknown", "cost is reported", of_pipelines.cost, "no calls", ATTACKED),
)
"""In the order of their numbers; those without one are about the run itself. C25 and a part of C22 are the leaderboard's."""

NOT_STORED = (
    ("C2", "results do not depend on the batch", "needs a re-run: the adversarial clips are not stored"),
    ("C4", "adversarial clips are verified", "what the attack claimed is not stored; every stored accuracy is of fresh passes"),
    ("C14", "the scale of the logits does not matter", "needs a re-run with scaled logits"),
    ("C18", "fixing the seed breaks a random defence", "needs a re-run with the judge's seed, and other seeds"),
    ("C29", "clips were not selected by success", "how the clips were chosen is not stored"),
    ("C30", "parameters were not tuned on these clips", "the split that parameters were chosen on is not stored"),
    ("C31", "predictions are stable", "needs a re-run: losses at random points are not stored"),
    ("C33", "certified claims stand apart", "no certified radius is stored"),
)
"""Id, title and what is missing of checks, and parts of checks, that no store can answer today."""
