"""Planted broken defences, models and attacks, run as a user would run them: each is found out by its own flag."""

import pytest
import torch
import typer
from conftest_models import build_net
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.cli.leaderboard import leaderboard
from robustvideo.benchmark.evaluation import flags, probes
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.leaderboard.audit import audit
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from typer.testing import CliRunner

PLANTS = '''
from dataclasses import dataclass

import torch
from robustvideo.benchmark.core.defense import Plain, straight_through
from robustvideo.benchmark.core.params import param


@dataclass(frozen=True)
class Sound(Plain):
    """A wider range of pixels."""

    def protect(self, model):
        return lambda clips, rng: model(1.1 * clips, rng)


@dataclass(frozen=True)
class Quantised(Plain):
    """Scores are rounded: their gradient is 0 almost everywhere."""

    def protect(self, model):
        return lambda clips, rng: model(clips, rng).mul(20).round() / 20


@dataclass(frozen=True)
class Softmax(Plain):
    """Probabilities in the place of logits: the gradient vanishes where they are sure."""

    def protect(self, model):
        return lambda clips, rng: model(clips, rng).softmax(dim=1)


@dataclass(frozen=True)
class Misleading(Plain):
    """The gradient is that of the other sign."""

    def protect(self, model):
        return lambda clips, rng: model(straight_through(1 - clips, clips), rng)


@dataclass(frozen=True)
class Optimising(Plain):
    """Two steps uphill in confidence, at test time."""

    def protect(self, model):
        def surer(clips, rng):
            with torch.enable_grad():
                moved = clips.detach()
                for _ in range(2):
                    moved = moved.requires_grad_()
                    (grad,) = torch.autograd.grad(model(moved, rng).logsumexp(dim=1).sum(), moved)
                    moved = (moved + 0.01 * grad.sign()).detach()
            return model(clips + (moved - clips.detach()), rng)

        return surer


@dataclass(frozen=True)
class Jitter(Plain):
    """Noise of the harness (sound), of a seed that is fixed inside, or of torch's own stream."""

    draws: int = param(2, help="draws")
    of: str = param("harness", help="whose")
    stochastic = True

    def protect(self, model):
        def noise(rng):
            size = (3, 1, 1, 1)
            fixed = torch.Generator().manual_seed(0) if self.of == "seed" else None
            return rng.normal(size) if self.of == "harness" else torch.randn(size, generator=fixed)

        return lambda clips, rng: model(clips + 0.3 * noise(rng), rng)


@dataclass(frozen=True)
class Hidden(Plain):
    """Random, and says that it is not."""

    def protect(self, model):
        return lambda clips, rng: model(clips + 0.3 * torch.randn(3, 1, 1, 1), rng)


@dataclass(frozen=True)
class Opaque(Plain):
    """Lets no gradient pass, and says so."""

    gradient = "none"

    def protect(self, model):
        return lambda clips, rng: model((clips * 255).round().detach() / 255, rng)
'''


def listed(folder):
    """The leaderboard's rows by defence."""
    return {row.defense: row for section in build(Results.read([folder])).sections for row in section.rows}


def behind(folder):
    """Its one defended row."""
    (row,) = [row for defense, row in listed(folder).items() if defense != "none"]
    return row


ALL = {"quantised-scores", "probabilities", "gradient-disagrees", "optimises-at-test-time", "fixed-draws"}
ALL |= {"undeclared-randomness", "loss-still-rising", "never-disagrees", "zero-gradient"}
LONG = "pgd:eps=8/255,step=1/255,steps=30"


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    path = tmp_path_factory.mktemp("plants") / "plants.py"
    path.write_text(PLANTS)
    return lambda name: f"{path}:{name}"


@pytest.fixture
def fired(net, clips, labels, tmp_path):
    """What the audit of a run finds behind a defence."""

    def run(defense, attacks=LONG, model=None):
        table = evaluate(model or net, (clips, labels), attacks, defense, store=tmp_path)
        found = audit(Store(tmp_path)).fired.query("defense != 'none'" if defense != "none" else "defense == 'none'")
        return set(found["flag"]), set(" ".join(table["flags"]).split())

    return run


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("Sound", set()),
        ("Jitter", set()),
        ("Quantised", {"quantised-scores", "zero-gradient"}),
        ("Softmax", {"probabilities"}),
        ("Misleading", {"gradient-disagrees"}),
        ("Optimising", {"optimises-at-test-time"}),
        ("Jitter:of=seed", {"fixed-draws", "never-disagrees"}),
        ("Jitter:of=torch", {"undeclared-randomness"}),
        ("Hidden", {"undeclared-randomness"}),
    ],
)
def test_a_broken_defence_is_found_out(name, flags, plant, fired, tmp_path):
    audited, own = fired(plant(name))
    assert audited & ALL >= flags
    if not flags:
        assert not audited & ALL
    assert own >= flags - {"never-disagrees"}, "a flag of a cell stands in cells.csv"
    assert set(behind(tmp_path).flags) >= flags - {"never-disagrees"}, "and on its row of the leaderboard"


@pytest.mark.parametrize(("model", "known"), [("tsm", True), ("tsm:frames=4", False), ("tsm:weights=random", False)])
def test_a_card_speaks_of_the_input_that_it_was_measured_with(model, known, tmp_path):
    evaluate(model, limit=2, store=tmp_path)
    (cell,) = Store(tmp_path).cells()
    assert cell["evidence"].get("card") == (1 if known else None)


def test_quantised_scores_are_no_robustness(plant, fired, tmp_path):
    """To an attacker by gradient the model is invincible; a search without gradients shows that it is not."""
    audited, _ = fired(plant("Quantised"), ["pgd:steps=3,eps=0.5", "square:queries=30,eps=0.5"])
    assert {"zero-gradient", "black-box-beats-white-box", "huge-budget-survived"} <= audited
    found = set(behind(tmp_path).flags)
    assert {"black-box-beats-white-box", "huge-budget-survived"} <= found, "findings are on the row"


@pytest.mark.parametrize("probable", [True, False])
def test_a_model_that_answers_in_probabilities(probable, clips, labels, fired):
    class Changed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build_net().net

        def forward(self, x):
            return (self.inner(x) * 20).softmax(dim=1) if probable else self.inner(x) * 20

    model = Model(Changed(), InputSpec(8, 12, 12, mean=(0.5,) * 3, std=(0.1,) * 3), 6)
    audited, _ = fired("none", "fgsm", model)
    assert ({"probabilities", "looks-like-softmax"} <= audited) == probable
    assert bool({"probabilities", "looks-like-softmax"} & audited) == probable


def test_an_attack_that_stops_too_early(net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), ["pgd:eps=8/255,step=0.02/255,steps=20", LONG], store=tmp_path)
    found = audit(Store(tmp_path)).fired.query("check == 'C8'")
    assert set(found["flag"]) == {"loss-still-rising"} and found["attack"].str.contains("steps=20,").all()


def test_an_attack_whose_steps_are_too_few(net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), [f"pgd:eps=8/255,step=2/255,steps={steps}" for steps in (1, 20)], store=tmp_path)
    found = audit(Store(tmp_path)).fired.query("check == 'C8'")
    assert set(found["flag"]) >= {"not-converged", "more-steps-gain"}
    assert found["attack"].str.contains("steps=1,").all()


@pytest.mark.parametrize("more", [[], ["noise:queries=2"], ["square:queries=500,eps=0.01/255"]])
def test_a_defence_without_gradient_is_not_listed_without_a_black_box(more, plant, net, clips, labels, tmp_path):
    """Random noise, the sanity floor, is no search, and neither are a few queries."""
    evaluate(net, (clips, labels), ["pgd:steps=2", *more], plant("Opaque"), store=tmp_path)
    assert list(listed(tmp_path)) == ["none"]
    (line,) = build(Results.read([tmp_path])).refused
    assert build(Results.read([tmp_path])).refused == (line,)
    assert "Opaque" in line and "no black-box attack" in line and f"--attack square --store {tmp_path}" in line
    assert "no-black-box" in set(audit(Store(tmp_path)).fired["flag"])
    app = typer.Typer()
    app.command()(leaderboard)
    shown = CliRunner().invoke(app, [str(tmp_path)])
    assert shown.exit_code == 0 and "## Not listed" in shown.stdout and line in shown.stderr
    assert "## Not listed" in (tmp_path / "leaderboard.md").read_text()


def test_with_a_black_box_it_is_listed_with_a_worst_case(plant, net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), ["pgd:steps=2", "square:queries=1000,eps=0.3"], plant("Opaque"), store=tmp_path)
    row = listed(tmp_path)[plant("Opaque")]
    assert not build(Results.read([tmp_path])).refused and "no-black-box" not in set(audit(Store(tmp_path)).fired["flag"])
    (searched,) = [value.mean for key, value in row.values.items() if key.startswith("square") and "full" in key]
    assert row.values["worst"].mean <= searched
    flags = " ".join(row.flags)
    assert "failed:" in flags and "no-adaptive" not in flags, "no gradient attack can be adaptive"


def test_grey_box_stands_beside_the_others_and_counts_in_the_worst_case(net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), "pgd:eps=2/255,steps=3", "shuffle:draws=2", store=tmp_path)
    for cell in list(Store(tmp_path).cells()):
        if cell["spec"]["threat"] == "oblivious":
            cell["spec"]["threat"], cell["cell"] = "grey-box", "f" * 24
            cell["clips"]["correct"] = [0.0] * 5
            Store(tmp_path).put(cell)
    (section,) = build(Results.read([tmp_path])).sections
    kinds = [column.key.rpartition("(")[2] for column in section.columns if column.kind == "attack"]
    row = behind(tmp_path)
    assert kinds == ["full knowledge)", "grey-box)", "oblivious)"] and row.values["worst"].mean == 0
    assert "adaptive-weaker-than-grey-box" in row.flags


def test_a_climb_by_hand():
    """Losses -4, -3, -1 and -2, -1, 0 have the means -3, -2, -0.5: 1.5 of 2.5 in the last step; a shorter clip has left."""
    assert probes.climb([[4, 3, 1], [2, 1, 0], [9, 9]]) == {"n": 2, "calls": 3, "rise": 2.5, "late": 0.6}
    assert probes.climb([[1], [2]]) == {} and probes.climb([]) == {}
    falling = probes.climb([[1, 2, 3]])
    assert falling["rise"] == 0 and falling["late"] == 0
    long = probes.climb([[float(20 - step) for step in range(21)]])
    assert long["late"] == 0.1, "two of twenty steps"


def test_grids():
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert probes.grid(scores) == 0
    assert probes.grid((scores * 20).round() / 20) == pytest.approx(0.05, rel=1e-4)
    assert probes.grid(scores[:1].repeat(4, 1)) == 0, "one clip four times"
    assert probes.grid(torch.eye(8)[:4]) == 1 and probes.grid(torch.ones(4, 8)) == 0
    assert probes.grid(torch.full((4, 8), torch.nan)) == 0
    half = probes.grid(torch.randn(4, 400, generator=torch.Generator().manual_seed(0)).half().float())
    assert half < flags.GRID * 6, "half precision is a grid, and too fine to count"


def test_gradients_at_test_time_are_counted_however_they_are_imported():
    leaf = torch.rand(3, requires_grad=True)

    def optimise():
        value = (leaf**3).sum()
        value.backward()
        return leaf.detach()

    assert probes.count_backward(optimise)[0] > 0
    assert probes.count_backward(lambda: (leaf**3).detach())[0] == 0
    assert probes.count_backward(lambda: torch.func.grad(lambda x: (x**3).sum())(leaf.detach()))[0] == 1


@pytest.mark.parametrize("attack", ["pgd:steps=4", "flicker:steps=3", "vbad:queries=20"])
def test_watching_changes_no_result(attack, net, clips, labels, monkeypatch):
    watched = evaluate(net, (clips, labels), attack, "shuffle:draws=2")
    monkeypatch.setattr(probes.Watched, "run", lambda self, *given: self._attack.run(*given))
    plain = evaluate(net, (clips, labels), attack, "shuffle:draws=2")
    same = ["cell", "top1", "linf", "l2", "grad_calls", "queries"]
    assert watched[same].equals(plain[same])
