"""Every check of the audit fires on a planted case and is silent on a sound one; `test_broken_defenses` has real ones."""

import copy
import json

import pytest
import typer
from robustvideo.benchmark import evaluate
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


def probed(name, broken, sound):
    def plant(world, bad):
        for cell in world.cells:
            if "probe" in cell["evidence"]:
                cell["evidence"]["probe"] |= {"range": 10.0, name: broken if bad else sound}

    return plant


def slopes(world, bad):
    """By six times on three of four clips, and then on half of them."""
    probed("predicted", [1.0] * 4, [1.0] * 4)(world, bad)
    probed("measured", [6.0, -1.0, 0.1, 1.0], [6.0, -1.0, 4.0, 1.0])(world, bad)


def rising(share, calls=20, clips=2):
    return {"n": clips, "calls": calls, "rise": 3.0, "late": share}


def climbing(world, bad):
    world.pgd["evidence"]["climb"] = rising(0.06 if bad else 0.05)


def climbing_briefly(world, bad):
    """The climb of a few gradients is a straight line."""
    world.pgd["evidence"]["climb"] = rising(0.1, calls=20 if bad else 19)


def climbing_alone(world, bad):
    world.pgd["evidence"]["climb"] = rising(0.1, clips=2 if bad else 1)


def card(world, bad):
    """Eight of eight clips: Wilson's interval begins at 67.6 %."""
    left(world.find(), 1)["evidence"]["card"] = 0.67 if bad else 0.68


def grey_box(world, bad):
    left(world.shuffled, 0.4 if bad else 0.2), world.twin(world.shuffled, 0.2, threat="grey-box")


def fgsm(world, bad):
    left(world.find("fgsm"), 0.5), left(world.pgd, 0.75 if bad else 0.5)


def with_budget(world, bad):
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
        searched["clips"] |= {"gradients": [0] * 5, "queries": [1000] * 5}
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
    ("rises-with-budget", with_budget),
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
    ("not-as-on-its-card", card),
    ("loss-still-rising", climbing),
    ("loss-still-rising", climbing_briefly),
    ("loss-still-rising", climbing_alone),
    ("gradient-disagrees", slopes),
    ("probabilities", probed("sums", 9e-6, 2e-5)),
    ("quantised-scores", probed("grid", 0.01, 0.009)),
    ("undeclared-randomness", probed("again", 0.0011, 0.0009)),
    ("undeclared-randomness", probed("other", 0.0011, 0.0009)),
    ("optimises-at-test-time", probed("backward", 1, 0)),
]
DEFENDED = [
    ("never-disagrees", of_one_mind),
    ("adaptive-weaker-than-oblivious", weaker),
    ("too-few-draws", draws),
    ("too-few-draws", more_draws),
    ("no-black-box", no_gradient),
    ("no-ablation", chain),
    ("fixed-draws", probed("other", 0, 1e-6)),
    ("adaptive-weaker-than-grey-box", grey_box),
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
    assert "not stored" in missing["adversarial clips are verified"]
    assert "clean accuracy is the card's" not in missing, "it was computed"
    assert "a huge budget breaks it" not in missing, "it was computed"


def test_the_row_names_cell_and_evidence(undefended, tmp_path):
    world = World(undefended)
    with_budget(world, True)
    row = world.audited(tmp_path).fired.set_index("flag").loc["rises-with-budget"]
    cell = world.find("pgd:norm=linf,eps=16/255")
    assert row["cell"] == cell["cell"] and row["attack"] == cell["spec"]["attack"] and row["check"] == "C6"
    assert row["evidence"] == "75.0 % left at eps 0.06275, 50.0 % at 0.03137"


def test_the_best_run_at_each_budget_counts(undefended, tmp_path):
    """A step size that is too small at one budget is no budget that does not help."""
    world = World(undefended)
    with_budget(world, True)
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


@pytest.fixture(scope="module")
def run():
    app = typer.Typer()
    app.command()(verb)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_verb(run, undefended, tmp_path):
    sound = run(undefended)
    assert sound.exit_code == 0 and "few-clips" in sound.stdout and "Not computed" in sound.stdout
    world = World(undefended)
    with_budget(world, True)
    world.audited(tmp_path)
    broken = run(tmp_path, "--json")
    said = json.loads(broken.stdout)
    assert broken.exit_code == 1 and "rises-with-budget" in {row["flag"] for row in said["fired"]}
    assert {row["check"] for row in said["not_computed"]} >= {"C4", "C30", "C31"}
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
