"""Every check of the audit fires on a planted case and is silent on a sound one; some on real broken models and defences."""

import copy
import json

import pytest
import torch
import typer
from conftest_models import build_net
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.cli.audit import audit as verb
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.leaderboard.audit import FIRED, OPEN, ROWS, audit
from robustvideo.leaderboard.audit_list import CHECKS, NOT_STORED
from typer.testing import CliRunner

WARNINGS = {"few-clips", "no-targeted"}
"""What a small, sound store is warned of."""


@pytest.fixture(scope="module")
def undefended(tmp_path_factory):
    """A shipped model, soundly attacked on shipped clips."""
    folder = tmp_path_factory.mktemp("undefended")
    attacks = [f"pgd:eps={eps},steps=10" for eps in ("8/255", "16/255", "0.5")]
    evaluate("tsm", "shapes", [*attacks, "fgsm:eps=8/255", "noise:eps=8/255,queries=5"], limit=8, store=folder)
    return folder


@pytest.fixture(scope="module")
def defended(net, clips, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("defended")
    evaluate(net, (clips, labels), "pgd:eps=2/255,steps=3", "shuffle:draws=2", threats="adaptive:eot=2", store=folder)
    evaluate(net, (clips, labels), "pgd:eps=2/255,steps=3", "shuffle:draws=2", threats="oblivious", store=folder)
    for path in folder.glob("cells/??/*.json"):  # the second call made an adaptive cell of one draw, too
        if json.loads(path.read_text())["spec"]["threat"] == "adaptive:eot=1":
            path.unlink()
    return folder


class World:
    """Cells of a store, to be spoilt."""

    def __init__(self, folder):
        self.cells = list(Store(folder).cells())

    def find(self, attack="none", threat="", defense="none"):
        """The one such cell."""
        (found,) = [
            cell
            for cell in self.cells
            if cell["spec"]["attack"].startswith(attack)
            and cell["spec"]["threat"].startswith(threat)
            and cell["spec"]["defense"].startswith(defense)
        ]
        return found

    @property
    def pgd(self):
        return self.find("pgd:norm=linf,eps=8/255")

    @property
    def shuffled(self):
        return self.find("pgd", "adaptive", "shuffle")

    def twin(self, cell, share, old="", new="", **spec):
        """Another run: of the same attack with `new` in place of `old` in its spec, or with other entries."""
        other = copy.deepcopy(cell)
        other["spec"] |= {"attack": cell["spec"]["attack"].replace(old, new)} | spec
        other["cell"] = f"{len(self.cells):024x}"
        self.cells.append(other)
        return left(other, share)

    def audited(self, folder):
        for cell in self.cells:
            Store(folder).put(cell)
        return audit(Store(folder))


def left(cell, share):
    """Sets the accuracy of a cell, by its first clips."""
    count = len(cell["clips"]["id"])
    cell["clips"]["correct"] = [float(number < share * count) for number in range(count)]
    return cell


def sweep(old, new):
    """A second run with one other parameter, which is better where the case is bad."""
    return lambda world, bad: (left(world.pgd, 0.5), world.twin(world.pgd, 0.25 if bad else 0.5, old, new))


def undeclared(world, bad):
    world.pgd["spec"]["eps"] = None if bad else world.pgd["spec"]["eps"]


def over_budget(world, bad):
    world.pgd["clips"]["linf"][3] = 8 / 255 + (3e-6 if bad else 3e-7)


def evidence(name):
    return lambda world, bad: world.pgd["evidence"].update({name: 2 * bad})


def checked(name, value):
    words = {"n": 8, "attack": 0.5, "doubled": 0.5, "single_step": 0.5}
    return lambda world, bad: world.pgd["evidence"].update(check=words | {name: value} if bad else words)


def fgsm(world, bad):
    left(world.find("fgsm"), 0.5), left(world.pgd, 0.75 if bad else 0.5)


def rising(world, bad):
    left(world.pgd, 0.5), left(world.find("pgd:norm=linf,eps=16/255"), 0.75 if bad else 0.5)


def unbreakable(world, bad):
    left(world.find("pgd:norm=linf,eps=127.5/255"), 0.5 if bad else 1 / 8)


def silent(world, bad):
    left(world.pgd, 1)["clips"]["solved"] = [-1] * 7 + [3 if bad else -1]


def softmax(world, bad):
    for cell in world.cells:
        cell["clips"]["margin"] = [(1 if bad else 1.01) * (-1) ** number for number in range(8)]


def search(world, bad):
    left(world.pgd, 0.5), left(world.find("noise"), 0.25 if bad else 0.75)


def noise(world, bad):
    left(world.pgd, 0), left(world.find("noise"), 0.5 if bad else 0.75)


def transfer(world, bad):
    left(world.pgd, 0.5), world.twin(world.pgd, 0.25 if bad else 0.5, threat="transfer:other")


def above_clean(world, bad):
    for cell in world.cells:
        left(cell, 0.75 if bad and cell is world.pgd else 0.5)


def uncounted(world, bad):
    world.pgd["clips"] |= {"gradients": [0] * 8, "queries": [0 if bad else 1] * 8}


def failed(world, bad):
    world.pgd.update({"status": "error", "error": "out of luck", "clips": {}, "evidence": {}} if bad else {})


def unreadable(world, bad):
    world.pgd["failed"] = [{"id": "x", "reason": "torn"}] * bad


def untargeted(world, bad):
    world.twin(world.pgd, 0, "target=none", "target=none" if bad else "target=second", seed=world.pgd["spec"]["seed"])


def few(world, bad):
    cell = world.find()
    cell["clips"] = {name: values * (62 if bad else 63) for name, values in cell["clips"].items()}
    cell["clips"]["id"] = [f"clip{number}" for number in range(len(cell["clips"]["id"]))]


def uncorrupted(world, bad):
    world.cells.remove(world.find("noise"))
    if not bad:
        world.twin(world.find(), 1, kind="corruption", corruption="fog", severity=3)["corruption"] = {}


def of_one_mind(world, bad):
    for cell in world.cells:
        cell["clips"]["correct"] = [1.0 if bad or cell is not world.shuffled else 0.5] * 5


def weaker(world, bad):
    left(world.find("pgd", "oblivious", "shuffle"), 0.2), left(world.shuffled, 0.4 if bad else 0.2)


def draws(world, bad):
    world.shuffled["spec"]["threat"] = "adaptive:eot=1"
    if not bad:
        left(world.shuffled, 0.4), world.twin(world.shuffled, 0.4, threat="adaptive:eot=2")


def more_draws(world, bad):
    left(world.shuffled, 0.4), world.twin(world.shuffled, 0.2 if bad else 0.4, threat="adaptive:eot=4")


def no_gradient(world, bad):
    if not bad:
        searched = world.twin(world.shuffled, 0.2, world.shuffled["spec"]["attack"], "square:eps=2/255")
        searched["clips"]["gradients"] = [0] * 5
    cell = world.find("pgd", "adaptive", "shuffle")
    cell |= {"status": "error", "error": "defense x: lets no gradient pass", "clips": {}, "evidence": {}}


def chain(world, bad):
    cell = copy.deepcopy(world.find("none", "none", "shuffle"))
    world.cells.append(cell | {"cell": "c" * 24, "spec": cell["spec"] | {"defense": cell["spec"]["defense"] + "+other"}})
    if not bad:
        world.cells.append(cell | {"cell": "d" * 24, "spec": cell["spec"] | {"defense": "other"}})


def never_adaptive(world, bad):
    if bad:
        world.cells.remove(world.shuffled)


def lacking(world, bad):
    world.twin(world.find("pgd", "white-box"), 0, "eps=2/255", "eps=3/255")
    if not bad:
        world.twin(world.shuffled, 0, "eps=2/255", "eps=3/255")


UNDEFENDED = [
    ("threat-model-undeclared", undeclared),
    ("over-budget", over_budget),
    ("budget-projected", evidence("outside")),
    ("surrogate-gradient", evidence("surrogate")),
    ("weaker-than-single-step", checked("single_step", 0.25)),
    ("weaker-than-fgsm", fgsm),
    ("rises-with-budget", rising),
    ("huge-budget-survived", unbreakable),
    ("not-converged", checked("doubled", 0.25)),
    ("more-steps-gain", sweep("steps=10", "steps=20")),
    ("restarts-gain", sweep("restarts=1", "restarts=5")),
    ("step-size-gains", sweep("step=none", "step=1/255")),
    ("loss-gains", sweep("loss=ce", "loss=cw")),
    ("silent-success", silent),
    ("zero-gradient", evidence("zero")),
    ("nonfinite-gradient", evidence("nonfinite")),
    ("looks-like-softmax", softmax),
    ("black-box-beats-white-box", search),
    ("noise-nearly-as-good", noise),
    ("transfer-beats-white-box", transfer),
    ("attacked-above-clean", above_clean),
    ("cost-unknown", uncounted),
    ("failed", failed),
    ("failed-clips", unreadable),
    ("no-targeted", untargeted),
    ("few-clips", few),
    ("no-corruption", uncorrupted),
]
DEFENDED = [
    ("never-disagrees", of_one_mind),
    ("adaptive-weaker-than-oblivious", weaker),
    ("too-few-draws", draws),
    ("too-few-draws", more_draws),
    ("no-black-box", no_gradient),
    ("no-ablation", chain),
    ("no-adaptive", never_adaptive),
    ("missing", lacking),
]


def test_every_check_has_its_plant():
    assert {flag for flag, _ in UNDEFENDED + DEFENDED} == {check.flag for check in CHECKS} | set(ROWS)


def test_every_number_is_computed_or_said_not_to_be():
    said = {check.id for check in CHECKS} | {row[0] for row in ROWS.values()} | {row[0] for row in NOT_STORED}
    assert said - {"-"} == {f"C{number}" for number in range(1, 35)}


@pytest.mark.parametrize("bad", [True, False], ids=["bad", "sound"])
@pytest.mark.parametrize(("flag", "plant"), UNDEFENDED, ids=[flag for flag, _ in UNDEFENDED])
def test_an_undefended_plant(flag, plant, bad, undefended, tmp_path):
    world = World(undefended)
    plant(world, bad)
    assert (flag in set(world.audited(tmp_path).fired["flag"])) == bad


@pytest.mark.parametrize("bad", [True, False], ids=["bad", "sound"])
@pytest.mark.parametrize(("flag", "plant"), DEFENDED, ids=[plant.__name__ for _, plant in DEFENDED])
def test_a_defended_plant(flag, plant, bad, defended, tmp_path):
    world = World(defended)
    plant(world, bad)
    assert (flag in set(world.audited(tmp_path).fired["flag"])) == bad


def test_a_sound_store(undefended):
    found = audit(Store(undefended))
    assert list(found.fired) == FIRED and list(found.open) == OPEN
    assert set(found.fired["flag"]) == WARNINGS and set(found.fired["level"]) == {"warn"}


def test_what_the_store_lacks_is_said(undefended):
    missing = audit(Store(undefended)).open.set_index("title")["missing"]
    assert "--threat transfer" in missing["its own gradients beat another's"]
    assert "not stored" in missing["clean accuracy is that of the card"]
    assert "a huge budget breaks it" not in missing, "it was computed"


def test_the_row_names_cell_and_evidence(undefended, tmp_path):
    world = World(undefended)
    rising(world, True)
    row = world.audited(tmp_path).fired.set_index("flag").loc["rises-with-budget"]
    cell = world.find("pgd:norm=linf,eps=16/255")
    assert row["cell"] == cell["cell"] and row["attack"] == cell["spec"]["attack"] and row["check"] == "C6"
    assert row["evidence"] == "75.0 % left at eps 0.06275, 50.0 % at 0.03137"


def test_the_best_run_at_each_budget_counts(undefended, tmp_path):
    """A step size that is too small at one budget is no budget that does not help."""
    world = World(undefended)
    rising(world, True)
    world.twin(world.find("pgd:norm=linf,eps=16/255"), 0.25, "step=none", "step=4/255")
    assert "rises-with-budget" not in set(world.audited(tmp_path).fired["flag"])


@pytest.mark.parametrize(
    ("flag", "new", "bound"),
    [("more-steps-gain", "steps=20", 0.01), ("restarts-gain", "restarts=5", 0.02), ("loss-gains", "loss=cw", 0.02)],
)
def test_thresholds(flag, new, bound, undefended, tmp_path):
    """At the bound a check fires; half a point below it does not."""
    old = {"steps": "steps=10", "restarts": "restarts=1", "loss": "loss=ce"}[new.partition("=")[0]]
    for number, gain in enumerate((bound, bound - 0.005)):
        world = World(undefended)
        world.pgd["clips"]["correct"] = [0.5] * 8
        world.twin(world.pgd, 0, old, new)["clips"]["correct"] = [0.5 - gain] * 8
        assert (flag in set(world.audited(tmp_path / str(number)).fired["flag"])) == (number == 0)


@pytest.mark.parametrize("weak", ["static:eps=8/255", "fgsm:eps=8/255", "mine.py:Attack:eps=8/255"])
def test_only_a_strong_attack_has_to_beat_a_search(weak, undefended, tmp_path):
    world = World(undefended)
    search(world, True)
    world.pgd["spec"]["attack"] = weak
    assert "black-box-beats-white-box" not in set(world.audited(tmp_path).fired["flag"])


class Changed(torch.nn.Module):
    """The mock with other scores."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = build_net().net, change

    def forward(self, clips):
        return self.change(self.inner(clips))


def changed(change):
    return Model(Changed(change), InputSpec(8, 12, 12, mean=(0.5,) * 3, std=(0.1,) * 3), 6)


def test_quantised_scores_mask_gradients(clips, labels, tmp_path):
    """To an attacker by gradient the model is invincible; a search without gradients shows that it is not."""
    model = changed(lambda scores: scores.mul(20).round() / 20)
    evaluate(model, (clips, labels), ["pgd:steps=3,eps=0.5", "square:queries=30,eps=0.5"], store=tmp_path)
    fired = set(audit(Store(tmp_path)).fired["flag"])
    assert {"zero-gradient", "black-box-beats-white-box", "huge-budget-survived"} <= fired


@pytest.mark.parametrize("probable", [True, False])
def test_softmax_for_logits(probable, clips, labels, tmp_path):
    evaluate(changed(lambda scores: (scores * 20).softmax(dim=1) if probable else scores * 20), (clips, labels), store=tmp_path)
    assert ("looks-like-softmax" in set(audit(Store(tmp_path)).fired["flag"])) == probable


FIXED = """
from dataclasses import dataclass

import torch
from robustvideo.benchmark.core.params import param


@dataclass(frozen=True)
class Jitter:
    draws: int = param(10, help="draws")
    fixed: bool = param(True, help="fixed")
    version = 1
    stochastic = True
    gradient = "exact"

    def protect(self, model):
        def jittered(clips, rng):
            size = (3, 1, 1, 1)
            seed = torch.Generator().manual_seed(0)
            noise = torch.randn(size, generator=seed) if self.fixed else rng.normal(size)
            return model(clips + 0.3 * noise, rng)

        return jittered
"""


@pytest.mark.parametrize("fixed", [True, False])
def test_a_seed_that_is_fixed_inside_a_defence(fixed, clips, labels, net, tmp_path):
    (tmp_path / "jitter.py").write_text(FIXED)
    defense = f"{tmp_path}/jitter.py:Jitter:draws=2,fixed={str(fixed).lower()}"
    evaluate(net, (clips, labels), "pgd:eps=8/255,steps=3", defense, store=tmp_path)
    assert ("never-disagrees" in set(audit(Store(tmp_path)).fired["flag"])) == fixed


def test_an_attack_that_stops_too_early(net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), [f"pgd:eps=8/255,step=2/255,steps={steps}" for steps in (1, 20)], store=tmp_path)
    fired = audit(Store(tmp_path)).fired.query("check == 'C8'")
    assert set(fired["flag"]) == {"not-converged", "more-steps-gain"}
    assert fired["attack"].str.contains("steps=1,").all()


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    app.command()(verb)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_verb(run, undefended, tmp_path):
    sound = run(undefended)
    assert sound.exit_code == 0 and "few-clips" in sound.stdout and "Not computed" in sound.stdout
    world = World(undefended)
    rising(world, True)
    world.audited(tmp_path)
    broken = run(tmp_path, "--json")
    said = json.loads(broken.stdout)
    assert broken.exit_code == 1 and "rises-with-budget" in {row["flag"] for row in said["fired"]}
    assert {row["check"] for row in said["not_computed"]} >= {"C3", "C23", "C31"}
    assert "rises-with-budget" in run(tmp_path).stdout


def test_no_store(run, tmp_path):
    with pytest.raises(InputError, match="holds no cells"):
        audit(Store(tmp_path))
    assert isinstance(run(tmp_path).exception, InputError)


def test_hostile_names_are_shown_as_they_are(run, undefended, tmp_path):
    world = World(undefended)
    for cell in world.cells:
        cell["spec"]["model"] = "a[bold]b"
    world.audited(tmp_path)
    assert "a[bold]b" in run(tmp_path).stdout
