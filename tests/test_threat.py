"""How an attack meets a defence, and what is noticed when the meeting goes wrong."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from conftest_models import build_net
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.core.cam import WithFeatures
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.whitebox import gradient_of
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.grid import resolve_chain
from robustvideo.benchmark.evaluation.look import cell_for
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline, Threat, grey_box_differs
from robustvideo.benchmark.models.build import build_model
from robustvideo.defenses.shuffle import Shuffle
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from safetensors.torch import save_file
from torch import nn


@dataclass(frozen=True)
class Scale:
    """A deterministic defence with a known effect."""

    factor: float = 0.5
    stochastic: ClassVar[bool] = False
    gradient: ClassVar[str] = "exact"
    draws: ClassVar[int] = 1

    def protect(self, model):
        return lambda clips, rng: model(clips * self.factor, rng)


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("oblivious", Threat("oblivious")),
        ("adaptive:eot=10", Threat("adaptive", eot=10)),
        ("adaptive:eot=4,average=score", Threat("adaptive", eot=4, average="score")),
        ("grey-box", Threat("grey-box")),
        ("transfer", Threat("transfer")),
        ("transfer:torchvision:r3d_18", Threat("transfer", source="torchvision:r3d_18")),
    ],
)
def test_threats_round_trip(text, threat):
    assert Threat.parse(text) == threat and Threat.parse(str(threat)) == threat


@pytest.mark.parametrize("text", ["adaptiv", "adaptive:eot=0", "adaptive:eots=3", "oblivious:eot=3", "adaptive:average=both"])
def test_bad_threats(text):
    with pytest.raises(InputError, match="threat"):
        Threat.parse(text)


def test_without_randomness_eot_is_the_plain_gradient(net, clips, labels, target, streams):
    one = target(net, 5, eot=1).gradient(clips, labels, cross_entropy, streams(5))
    ten = target(net, 5, eot=10).gradient(clips, labels, cross_entropy, streams(5))
    assert torch.equal(one.grad, ten.grad)


def test_the_deployed_pipeline_averages_scores(net, clips, streams):
    pipeline = Pipeline.build(net, [Shuffle(draws=7)])
    got = pipeline.decide(clips, streams(5)).exp()
    random = streams(5)
    with torch.no_grad():
        passes = [pipeline.scorer(clips, random).softmax(1) for _ in range(7)]
    torch.testing.assert_close(got, torch.stack(passes).mean(0))


def test_chains_pass_the_first_link_first(net, clips, streams):
    seen = []
    pipeline = Pipeline.build(lambda x: seen.append(x) or net(x), [Scale(0.5), Shuffle(draws=3)])
    pipeline.scorer(clips, streams(5))
    expected = []
    Shuffle().protect(lambda x, rng: expected.append(x) or net(x))(clips * 0.5, streams(5))
    assert torch.equal(seen[0], expected[0])
    assert pipeline.stochastic and pipeline.draws == 3


def test_a_defended_grid_has_its_undefended_and_adaptive_rows(net, clips, labels):
    rows = evaluate(net, (clips, labels), "pgd:eps=20/255,steps=10", "shuffle", threats="oblivious")
    assert sorted(rows["threat"]) == ["adaptive:eot=1", "none", "none", "oblivious", "white-box"]
    assert set(rows["strength"]) == {"none", "full"}
    alone = evaluate(net, (clips, labels), "pgd:eps=20/255,steps=10")
    assert set(alone["strength"]) == {"none", "first-success"}


CHEAT = '''
from dataclasses import dataclass
from typing import ClassVar

from robustvideo.benchmark.core.attack import Attack

@dataclass(frozen=True)
class Cheat(Attack):
    """Leaves its budget and the pixel range. Source: none."""

    version: ClassVar[int] = 1
    norm: ClassVar[str] = "linf"
    eps: ClassVar[float] = 0.01

    def run(self, target, clips, labels, rng):
        return clips + 0.5
'''


def test_a_cheating_attack_is_projected_and_flagged(net, clips, labels, tmp_path):
    (tmp_path / "cheat.py").write_text(CHEAT)
    rows = evaluate(net, (clips, labels), f"{tmp_path}/cheat.py:Cheat").set_index("kind")
    assert rows.loc["attack", "flags"].split() == ["budget-projected"]
    assert rows.loc["attack", "linf"] <= 0.01 + 1e-6


def model_of(forward, classes=6):
    class Wrapped(nn.Module):
        def forward(self, clips):
            return forward(clips)

    return Model(Wrapped(), InputSpec(frames=8, size=12, short_side=12), classes).eval()


def test_a_model_that_hides_its_gradient_is_flagged(clips, labels):
    inner = build_net()

    def masked(x):
        return inner((x * 8).round().detach() / 8) + 0 * x.mean(dim=(1, 2, 3, 4), keepdim=True)[:, :, 0, 0, 0]

    model = model_of(masked)
    right = model(clips).argmax(dim=1)
    row = evaluate(model, (clips, right), "pgd:steps=3").set_index("kind").loc["attack"]
    assert "zero-gradient" in row["flags"].split()


def test_nonfinite_gradients_are_flagged_and_do_not_break_the_clips(clips, labels):
    inner = build_net()
    model = model_of(lambda x: inner(x) + (x - x).pow(2).sum(dim=(1, 2, 3, 4))[:, None].sqrt())
    row = evaluate(model, (clips, labels), "pgd:steps=3").set_index("kind").loc["attack"]
    assert "nonfinite-gradient" in row["flags"].split() and row["status"] == "ok"


def test_transfer_is_crafted_on_the_source_and_never_beats_white_box(net, clips, labels, tmp_path):
    (tmp_path / "other.py").write_text(
        f"import sys; sys.path.insert(0, {str(__import__('pathlib').Path(__file__).parent)!r})\n"
        "from conftest_models import build_net\n\n\ndef other(seed: int = 9):\n    return build_net(seed=seed)\n"
    )
    rows = evaluate(net, (clips, labels), "pgd:eps=12/255,steps=10", threats=f"transfer:{tmp_path}/other.py:other")
    top1 = rows.set_index("threat")["top1"]
    transfer = next(value for name, value in top1.items() if name.startswith("transfer"))
    assert top1["white-box"] <= transfer <= 1.0
    same = evaluate(net, (clips, labels), "pgd:eps=12/255,steps=10", threats=f"transfer:{tmp_path}/other.py:other:seed=5")
    own = same.set_index("threat")["top1"]
    assert next(value for name, value in own.items() if name.startswith("transfer")) == own["white-box"]


def test_a_source_of_another_input_is_a_failed_row(net, clips, labels, tmp_path):
    (tmp_path / "wide.py").write_text(
        "from robustvideo.benchmark import InputSpec, Model\nfrom torch import nn\n\n\n"
        "def wide():\n    net = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 6))\n"
        "    return Model(net, InputSpec(16, 12, 12), 6)\n"
    )
    rows = evaluate(net, (clips, labels), "pgd:steps=2", threats=f"transfer:{tmp_path}/wide.py:wide")
    failed = rows[rows["status"] == "error"]
    assert len(failed) == 1 and "16 frames" in failed.iloc[0]["error"]


OPAQUE = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Opaque:
    """Lets no gradient pass. Source: none."""

    version: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    gradient: ClassVar[str] = "none"
    draws: ClassVar[int] = 1

    def protect(self, model):
        return lambda clips, rng: model((clips * 255).round().detach() / 255, rng)
'''


def test_a_defence_without_gradient_has_no_adaptive_number(net, clips, labels, tmp_path):
    (tmp_path / "opaque.py").write_text(OPAQUE)
    rows = evaluate(net, (clips, labels), "pgd:steps=2", f"{tmp_path}/opaque.py:Opaque")
    adaptive = rows[rows["threat"].str.startswith("adaptive")].iloc[0]
    assert adaptive["status"] == "error" and "lets no gradient pass" in adaptive["error"]
    assert (rows["status"] == "ok").sum() == 4


def test_early_leaving_leaves_the_same_accuracy(net, clips, labels, target, streams):
    attack = PGD(eps=0.05, steps=8)
    full = attack.run(target(net, 5), clips, labels, streams(5))
    brief = attack.run(target(net, 5, until_fooled=True), clips, labels, streams(5))
    assert torch.equal(net(full).argmax(1) == labels, net(brief).argmax(1) == labels)


def test_an_attack_through_a_stand_in_is_flagged():
    """BPDA may be weak, so that its number must not stand alone; a search by scores needs none."""
    table = evaluate("tsm", attacks=["fgsm", "noise:queries=2"], defenses=["bit-depth", "frame-average"], limit=2)
    flagged = table[table["flags"].str.contains("surrogate-gradient")]
    assert flagged["attack"].str.startswith("fgsm").all() and flagged["defense"].str.startswith("bit-depth").all()
    assert flagged["threat"].tolist() == ["adaptive:eot=1"]


@pytest.fixture
def retrained(tmp_path):
    """A checkpoint of `at` without card: the tiny TSM with other weights."""
    model = build_model(resolve("model", "tsm:weights=random-4"), "shapes", resolve("dataset", "shapes").create().classes)
    save_file({key: value.contiguous() for key, value in model.net.state_dict().items()}, tmp_path / "at.safetensors")
    return f"at:weights={tmp_path}/at.safetensors", model


def cell_of(chain, threat, attack="fgsm"):
    parts = resolve("dataset", "shapes"), "test", resolve("model", "tsm"), resolve("attack", attack), resolve_chain(chain)
    return cell_for(*parts, threat)


def test_each_attacker_holds_what_the_threat_says(retrained, streams):
    spec, other = retrained
    bench, clips = Bench(), torch.rand(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(3))
    chain = f"shuffle+{spec}"

    def held(threat):
        return bench.attacked(cell_of(chain, threat)).scorer(clips, streams(2))

    base = bench.model(cell_of(chain, "oblivious"))
    assert torch.equal(held("oblivious"), base(clips)) and torch.equal(held("grey-box"), other(clips))
    whole = Shuffle().protect(lambda x, rng: other(x))
    assert torch.equal(held("adaptive"), whole(clips, streams(2)))
    assert not torch.equal(held("adaptive"), held("grey-box")) and not torch.equal(held("grey-box"), held("oblivious"))
    assert torch.equal(held("transfer:i3d"), bench.source(cell_of(chain, "transfer:i3d"))(clips))
    judged = bench.pipeline(cell_of(chain, "grey-box"))
    assert torch.equal(judged.scorer(clips, streams(2)), whole(clips, streams(2)))


def test_losses_that_look_inside_see_the_retrained_network(retrained, streams):
    spec, other = retrained
    bench, clips, labels = Bench(), torch.rand(2, 3, 8, 64, 64), torch.tensor([0, 1])
    loss = WithFeatures(lambda logits, labels, maps: maps.flatten(1).mean(dim=1))
    for threat in ("grey-box", "adaptive"):
        pipeline = bench.attacked(cell_of(spec if threat == "adaptive" else f"shuffle+{spec}", threat))
        found = CountedTarget(pipeline, labels).gradient(clips, labels, loss, streams(2))
        expected = gradient_of(lambda x, rng: other(x), other, clips, labels, loss, streams(2))
        torch.testing.assert_close(found.grad, expected.grad)
        assert (found.grad != 0).any()


def test_two_checkpoints_of_a_defence_are_two_rows(retrained, tmp_path):
    """They share every name, but neither clean accuracies nor worst cases."""
    net = build_model(resolve("model", "tsm"), "shapes", resolve("dataset", "shapes").create().classes).net
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, tmp_path / "same.safetensors")
    defenses = [retrained[0], f"at:weights={tmp_path}/same.safetensors"]
    rows = evaluate("tsm", attacks="fgsm", defenses=defenses, limit=4, threats="adaptive", store=tmp_path / "store")
    (section,) = build(Results.read([tmp_path / "store"])).sections
    behind = {row.place["defense_sha256"]: row.values["clean"].mean for row in section.rows if row.defense != "none"}
    titles = [row.defense_title for row in section.rows if row.defense != "none"]
    assert len(behind) == 2 and len(set(titles)) == 2
    clean = rows.query("kind == 'clean'").groupby("defense_sha256")["top1"].first()
    assert behind == clean.drop("").to_dict() and clean.nunique() == 2


def test_a_purified_and_retrained_chain_has_all_threats_side_by_side(retrained):
    spec, _ = retrained
    rows = evaluate("tsm", attacks="fgsm", defenses=[f"shuffle+{spec}", spec], limit=2)
    by_chain = {chain: list(part["threat"]) for chain, part in rows.groupby("defense", sort=False)}
    alone = next(chain for chain in by_chain if chain.startswith("at:"))
    chain = next(chain for chain in by_chain if chain.startswith("shuffle"))
    assert by_chain["none"] == ["none", "white-box"] and by_chain[alone] == ["none", "oblivious", "adaptive:eot=1"]
    assert by_chain[chain] == ["none", "oblivious", "grey-box", "adaptive:eot=1"]
    attacked = rows[rows["threat"] != "none"].set_index(["defense", "threat"])
    assert (rows["status"] == "ok").all() and "weights" not in chain
    assert attacked.loc[(chain, "adaptive:eot=1"), "grad_calls"] == attacked.loc[(chain, "grey-box"), "grad_calls"] == 2


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ("at+shuffle", "defense at[+]shuffle: at answers in the model's place, so no link after it is asked; put at last"),
        ("at+cat", "defense at[+]cat: at and cat both answer in the model's place; keep one of them"),
        ("cat+shuffle+at", "cat and at both answer"),
        ("smoothing:sigma=1e-1+at+jpeg", "defense smoothing[+]at[+]jpeg: at answers"),
    ],
)
def test_a_chain_whose_order_cannot_work_is_refused_before_anything_is_done(chain, says, monkeypatch):
    monkeypatch.setattr(Bench, "model", lambda self, cell: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=says):
        evaluate("tsm", attacks="fgsm", defenses=chain, limit=2)


def test_order_is_fine_where_what_replaces_the_model_comes_last():
    chain = resolve_chain("jpeg+shuffle+at")
    assert [link.entry.name for link in chain] == ["jpeg", "shuffle", "at"] and resolve_chain("none") == ()


@pytest.mark.parametrize(("chain", "differs"), [("at", False), ("shuffle", False), ("jpeg+shuffle", False), ("jpeg+at", True)])
def test_grey_box_is_a_setting_of_its_own_only_behind_something(chain, differs):
    assert grey_box_differs([link.create() for link in resolve_chain(chain)]) == differs
    if not differs:
        with pytest.raises(InputError, match="grey-box is no setting of its own"):
            cell_of(chain, "grey-box")
