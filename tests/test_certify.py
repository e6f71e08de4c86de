"""Certificates of randomised smoothing, against closed forms and other people's statistics."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
import typer
from robustvideo.benchmark.cli import certify as verb
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec, Model
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.data.tensors import Tensors
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.evaluation.certify import (
    Certificate,
    Procedure,
    certified,
    certify,
    clips_table,
    conclude,
    linf_norm,
    lower_bound,
    predict,
    radius,
    share,
    vote,
)
from robustvideo.benchmark.evaluation.memory import Room
from scipy import stats
from torch import nn
from typer.testing import CliRunner

SPEC = InputSpec(frames=2, size=3, short_side=3, mean=(0, 0, 0), std=(1, 1, 1))
SHAPE = (3, 2, 3, 3)
SIGMA = 0.25
DISTANCES = (-0.3, 0.02, 0.1, 0.25, 0.4, 0.5)
RECORD = ClipRecord("clip", Path("clip"), 1, "clip")


class Linear(nn.Module):
    """Class 1 on one side of a plane through the grey clip; the score is the signed distance to it."""

    def __init__(self):
        super().__init__()
        weight = torch.randn(54, generator=torch.Generator().manual_seed(2))
        self.register_buffer("normal", weight / weight.norm())

    def forward(self, clips):
        distance = (clips - 0.5).flatten(1) @ self.normal
        return torch.stack([torch.zeros_like(distance), distance], dim=1)


@pytest.fixture(scope="module")
def linear():
    return Model(Linear(), SPEC, 2).eval()


@pytest.fixture(scope="module")
def cell(linear):
    """Clips at known distances from the plane; all of class 1, the first on the wrong side."""
    clips = torch.stack([0.5 + distance * linear.net.normal.view(SHAPE) for distance in DISTANCES])
    data = ready("dataset", "planes", Tensors(clips, torch.ones(len(clips), dtype=torch.long), 2))
    return Cell(data, "test", None, ready("model", "linear", linear), defense=(resolve("defense", f"smoothing:sigma={SIGMA}"),))


def every(cell):
    """The cell's records and clips, in its order."""
    (batch,) = Bench().footage.batches(Bench().scene(cell))
    return batch.records, batch.clips


def test_a_linear_classifier_is_certified_up_to_its_distance_and_no_further(cell, linear):
    """Its smoothed classifier is itself, and the exact radius is the distance to the plane (Cohen et al., section 3.1)."""
    gaps = []
    for n in (300, 20000):
        found = certify(cell, Bench(batch_size=1000), Procedure(100, n, 0.001))
        distances = linear(every(cell)[1])[:, 1].tolist()
        wrong, near, *sure = sorted(zip(distances, found, strict=True), key=lambda pair: pair[0])
        assert wrong[1].prediction == 0 and wrong[1].voted == 0 and wrong[1].radius <= -wrong[0]
        for distance, one in sure:
            assert one.prediction == 1 and one.voted == 1 and 0 < one.radius <= distance
        if n == 300:  # Phi(0.02 / 0.25) = 0.53: too close for 300 draws
            assert near[1].prediction is None and near[1].voted is None and near[1].radius == 0
        gaps.append([distance - one.radius for distance, one in sure])
    assert all(late < early / 3 for early, late in zip(*gaps, strict=True))
    assert max(gaps[1]) < 0.03


def test_ours_agrees_with_arts_on_the_linear_classifier(cell, linear):
    smoothing = pytest.importorskip("art.estimators.certification.randomized_smoothing")
    records, clips = every(cell)
    peer = smoothing.PyTorchRandomizedSmoothing(
        linear, nn.CrossEntropyLoss(), SHAPE, 2, sample_size=100, scale=SIGMA, alpha=0.001, device_type="cpu"
    )
    said, theirs = peer.certify(clips.numpy(), n=4000, batch_size=1000)
    ours = certify(cell, Bench(batch_size=1000), Procedure(100, 4000, 0.001))
    assert [one.record for one in ours] == records
    for number, one in enumerate(ours):
        assert (-1 if one.prediction is None else one.prediction) == said[number] or abs(theirs[number]) < 0.02
        assert abs(one.radius - max(0.0, theirs[number])) < 0.05


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_the_bound_is_clopper_and_pearsons(alpha):
    peer = pytest.importorskip("statsmodels.stats.proportion")
    for n in (1, 10, 137, 100000):
        for count in sorted({0, 1, n // 3, n // 2, n - 1, n}):
            ours = lower_bound(count, n, alpha)
            assert ours == pytest.approx(peer.proportion_confint(count, n, alpha=2 * alpha, method="beta")[0], abs=1e-12)
            if alpha < 0.5:
                exact = stats.binomtest(count, n).proportion_ci(1 - 2 * alpha, "exact").low
                assert ours == pytest.approx(exact, abs=1e-9)
    assert lower_bound(1000, 1000, alpha) == pytest.approx(alpha ** (1 / 1000))


@pytest.mark.parametrize("p", [0.03, 0.5, 0.51, 0.7, 0.99])
def test_the_bound_fails_in_at_most_alpha_of_all_cases(p):
    for n in (10, 60):
        above = [count for count in range(n + 1) if lower_bound(count, n, 0.05) > p]
        assert stats.binom.pmf(above, n, p).sum() <= 0.05


def test_the_radius_is_sigma_times_the_normal_quantile():
    assert radius(stats.norm.cdf(1.5), 0.25) == pytest.approx(0.375)
    assert radius(0.5, 0.25) == 0 and radius(0.3, 0.25) == 0
    # What the paper can reach with 100,000 draws: about 3.8 sigma.
    assert Procedure(n=100000).ceiling(0.25) == pytest.approx(0.25 * stats.norm.ppf(0.001 ** (1 / 100000)))
    assert 3.7 < Procedure(n=100000).ceiling(1.0) < 3.9


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_hard_votes_decide_by_a_two_sided_binomial_test(alpha):
    """The leader against the runner-up; votes for others do not count."""
    peer = pytest.importorskip("statsmodels.stats.proportion")
    said = [predict([4, 9, leader, 1], alpha) for leader in range(10, 40)]
    assert said == [2 if peer.binom_test(leader, leader + 9, 0.5) <= alpha else None for leader in range(10, 40)]
    assert None in said and 2 in said
    assert predict([0, 0, 0], alpha) is None and predict([7, 7], alpha) is None


def literally(selecting, estimating, classes, sigma, alpha):
    """CERTIFY and PREDICT as printed in the paper, with the statistics that its authors' program calls."""
    peer = pytest.importorskip("statsmodels.stats.proportion")
    chosen = [selecting.count(k) for k in range(classes)]
    counts = [estimating.count(k) for k in range(classes)]
    best = chosen.index(max(chosen))
    bound = peer.proportion_confint(counts[best], len(estimating), alpha=2 * alpha, method="beta")[0]
    first, second = sorted(counts)[:-3:-1]
    voted = counts.index(first) if stats.binomtest(first, first + second, 0.5).pvalue <= alpha else None
    return (best, sigma * stats.norm.ppf(bound), voted) if bound > 0.5 else (None, 0.0, voted)


@pytest.mark.parametrize("seed", range(12))
def test_conclusions_are_those_of_the_paper(seed):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(4, generator=generator) ** 3
    votes = torch.multinomial(shares, 130, replacement=True, generator=generator)
    one = conclude(RECORD, votes, 4, 0.5, Procedure(30, 100, 0.01))
    wanted = literally(votes[:30].tolist(), votes[30:].tolist(), 4, 0.5, 0.01)
    assert (one.prediction, one.voted) == (wanted[0], wanted[2])
    assert one.radius == pytest.approx(wanted[1], abs=1e-9)


def test_the_class_is_chosen_by_other_draws_than_those_that_bound_it():
    """Else the bound is too high: of ten classes alike, the one that happened to lead would look better than it is."""
    votes = torch.tensor([0] * 20 + [1] * 100)
    one = conclude(RECORD, votes, 2, 0.25, Procedure(20, 100, 0.001))
    assert one.prediction is None and one.lower == 0 and one.voted == 1


def test_a_score_that_is_not_finite_is_nobodys_vote(streams):
    def broken(clips, rng):
        odd = (rng.integers(0, 2) > 0)[:, None]
        return torch.where(odd, torch.nan, torch.tensor([0.0, 1.0]).expand(len(clips), 2))

    votes = vote(broken, torch.zeros(SHAPE), streams(1), 200, Room(32), lambda draws: None)
    assert set(votes.tolist()) == {-1, 1}
    assert conclude(RECORD, votes, 2, 0.25, Procedure(50, 150)).prediction is None


def test_results_depend_neither_on_passes_nor_on_other_clips(cell):
    how = Procedure(10, 200, 0.01)
    wanted = certify(cell, Bench(batch_size=32), how)
    assert certify(cell, Bench(batch_size=7), how) == wanted and certify(cell, Bench(batch_size=1), how) == wanted
    few = Cell(cell.dataset, "test", 2, cell.model, defense=cell.defense)
    assert certify(few, Bench(batch_size=32), how) == wanted[:2]
    other = Cell(cell.dataset, "test", None, cell.model, defense=cell.defense, seed=1)
    assert certify(other, Bench(batch_size=32), how) != wanted


def test_a_pass_that_runs_out_of_memory_is_made_again_with_the_same_draws(cell, linear):
    smoothed = resolve("defense", "smoothing").create().protect(lambda x, rng: linear(x))

    def tight(clips, rng):
        logits = smoothed(clips, rng)
        if len(clips) > 10:
            raise torch.OutOfMemoryError
        return logits

    def votes(scorer):
        rng = ClipRandom.for_clips(["a"], 0, "test")
        return vote(scorer, torch.full(SHAPE, 0.5), rng, 100, Room(64), lambda draws: None)

    assert torch.equal(votes(tight), votes(smoothed)) and votes(smoothed).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "argument"),
    [({"n0": 0}, "n0"), ({"n": 0}, "n"), ({"n": 9}, "n"), ({"alpha": 0.0}, "alpha"), ({"alpha": 1.0}, "alpha")],
)
def test_what_cannot_certify_is_refused(given, argument):
    with pytest.raises(InputError, match=f"^{argument}: "):
        Procedure(**given)
    assert Procedure(n=10).ceiling(1.0) > 0  # 0.001 ** (1 / 10) = 0.5012


def test_shares_and_rows():
    found = [
        Certificate(ClipRecord("a", Path("a"), 1, "a"), 1, 0.9, 0.3200009, 1),
        Certificate(ClipRecord("b", Path("b"), 1, "b"), 0, 0.8, 0.21, 1),
        Certificate(ClipRecord("c", Path("c"), 0, "c"), None, 0.1, 0.0, None),
        Certificate(ClipRecord("d", Path("d"), 0, "d"), 0, 0.7, 0.1, None),
    ]
    assert share(found, certified(0.0))[0] == 0.5 and share(found, certified(0.25))[0] == 0.25
    assert share(found, certified(0.1))[0] == 0.5 and share(found, certified(0.33))[0] == 0  # 0.1 is reached exactly
    mean, low, high = share(found, certified(0.0))
    peer = pytest.importorskip("statsmodels.stats.proportion")
    assert (low, high) == pytest.approx(peer.proportion_confint(2, 4, method="wilson"))
    table = clips_table(found, sigma=0.25)
    assert table["prediction"].isna().tolist() == [False, False, True, False] and (table["sigma"] == 0.25).all()
    assert table["abstained"].tolist() == [False, False, True, False]
    assert table["correct"].tolist() == [True, False, False, True]
    assert (table["radius"] <= [one.radius for one in found]).all(), "a rounded radius promises more than was found"


def test_a_clip_of_602112_values():
    assert linf_norm(InputSpec(frames=4, size=224, short_side=224), 4 / 255) == pytest.approx(12.17, abs=0.01)


def test_clips_that_cannot_be_decoded(linear, tmp_path):
    class Gone:
        classes = ("a", "b")

        def records(self, split):
            return [ClipRecord("x", tmp_path / "x.mp4", 0, "x")]

    smoothing = resolve("defense", "smoothing")
    cell = Cell(ready("dataset", "gone", Gone()), "test", None, ready("model", "linear", linear), defense=(smoothing,))
    with pytest.raises(InputError, match="no clip could be decoded, the first: "):
        certify(cell, Bench(), Procedure())


@pytest.fixture
def run():
    """The verb, in this process."""
    app = typer.Typer()
    app.command()(verb.certify)

    def invoke(*words):
        return CliRunner().invoke(app, ["--n0", "5", "--n", "20", "--limit", "2", *map(str, words)])

    return invoke


def test_the_verb_prints_shares_and_writes_clips(run, tmp_path):
    seen = run("--sigma", "0.1", "--out", tmp_path / "new" / "a.csv")
    assert seen.exit_code == 0, seen.output
    for words in ("PREDICT: right", "CERTIFY: abstains", "L2 radius 0.00", "2 clips", "4.92", "nothing about L-inf 4/255"):
        assert words in seen.stdout
    rows = list(csv.DictReader((tmp_path / "new" / "a.csv").open()))
    assert len(rows) == 2 and {"id", "label", "prediction", "radius", "abstained", "correct", "sigma"} <= set(rows[0])
    assert all(0 <= float(row["radius"]) <= 0.1 * stats.norm.ppf(0.001 ** (1 / 20)) for row in rows)
    assert run("--sigma", "0.1", "--out", tmp_path / "a.json", "--batch-size", "3").exit_code == 0
    again = json.loads((tmp_path / "a.json").read_text())
    assert [math.isclose(float(row["radius"]), one["radius"]) for row, one in zip(rows, again, strict=True)] == [True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "new"]


def test_a_denoiser_behind_the_noise_is_certified_with_the_model(run, tmp_path):
    """Salman et al. 2020: the model was not trained on noise, and the denoiser takes it out."""

    def right(*words):
        seen = run("--n", "50", "--limit", "8", "--out", tmp_path / "a.csv", *words)
        assert seen.exit_code == 0, seen.output
        rows = list(csv.DictReader((tmp_path / "a.csv").open()))
        assert {row["defense"].partition(":")[0] for row in rows} == {words[1] if words else "smoothing"}
        assert {row["sigma"] for row in rows} == {"0.25"}
        return sum(row["correct"] == "True" for row in rows)

    assert right("--defense", "denoise") > right()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "tms"], "did you mean tsm"),
        (["--dataset", "shpes"], "did you mean shapes"),
        (["--sigma", "0"], "sigma: 0 is out of bounds"),
        (["--defense", "smoothing:sigma=0.1", "--sigma", "0.2"], "sigma: it is given twice"),
        (["--defense", "shuffle+smoothing"], "defense: shuffle draws no Gaussian noise; begin with smoothing or denoise"),
        (["--defense", "denoise:sigma=0.1"], "no checkpoint of denoise:sigma=0.1"),
        (["--n", "0"], "n: 0 is less than 1"),
        (["--alpha", "1"], "alpha: 1 is not between 0 and 1"),
        (["--batch-size", "0"], "batch-size"),
        (["--limit", "0"], "limit"),
        (["--split", "moon"], "moon"),
        (["--out", "certified.txt"], "out: certified.txt"),
        (["--out", "/proc/none/a.csv"], "out: /proc/none/a.csv"),
    ],
)
def test_bad_input_is_one_line(run, words, message):
    """The program makes an InputError one line and exit code 2."""
    error = run(*words).exception
    assert isinstance(error, InputError) and message in str(error) and "\n" not in str(error)


def test_an_interrupt_leaves_no_file(run, tmp_path, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("robustvideo.benchmark.evaluation.certify.conclude", interrupted)
    seen = run("--out", tmp_path / "a.csv")
    assert seen.exit_code == 130 and not list(tmp_path.iterdir())
