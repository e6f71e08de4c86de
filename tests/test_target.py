"""What an attack may ask for: draws side by side, two ways of averaging them, passes that fit into memory, counting."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from conftest_models import build_net
from robustvideo.attacks.append import Append
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.core.attack import Attack
from robustvideo.benchmark.core.budget import Limits
from robustvideo.benchmark.core.cam import WithFeatures
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy, margin
from robustvideo.benchmark.core.pattern import carrying
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.evaluation.crafting import keep_budget
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.tables import cells_table
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Threat
from robustvideo.defenses.shuffle import Shuffle
from torch import nn


def average_by_hand(net, clips, labels, random, draws, of):
    """Both forms from their definitions, draw after draw, in one graph; a mean of losses begins with the draw of plain PGD."""
    leaf, scorer = clips.clone().requires_grad_(), Shuffle().protect(lambda x, rng: net(x))
    each = [scorer(leaf, random)] if of == "loss" else []
    more = draws - len(each)
    streams = random.spawn(more)
    each += [scorer(leaf, streams[torch.arange(len(clips)) * more + draw]) for draw in range(more)]
    assert not torch.equal(each[0], each[1]), "every draw is a fresh one"
    if of == "loss":
        loss = torch.stack([cross_entropy(logits, labels) for logits in each]).mean(0)
    else:
        mean = torch.stack([logits.softmax(1) for logits in each]).mean(0)
        loss = -mean.gather(1, labels[:, None]).squeeze(1).log()
    return torch.autograd.grad(loss.sum(), leaf)[0], loss.detach()


@pytest.mark.parametrize("of", ["loss", "score"])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_both_averaging_forms_whatever_fits_into_a_pass(of, rows, net, clips, labels, target, streams):
    attacked = target(net, 5, [Shuffle()], eot=6, average=of, rows=rows)
    got = attacked.gradient(clips, labels, cross_entropy, streams(5))
    grad, loss = average_by_hand(net, clips, labels, streams(5), 6, of)
    torch.testing.assert_close(got.grad, grad, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(got.loss, loss, atol=1e-5, rtol=1e-5)
    assert attacked.gradients.tolist() == [6] * 5


def test_the_two_forms_differ(net, clips, labels, target, streams):
    one, other = (
        target(net, 5, [Shuffle()], eot=6, average=of).gradient(clips, labels, cross_entropy, streams(5)).grad
        for of in ("loss", "score")
    )
    assert not torch.allclose(one, other)


def too_small(net, fits):
    """The net on a machine whose memory holds `fits` clips."""
    seen = []

    def forward(clips):
        seen.append(len(clips))
        if len(clips) > fits:
            raise torch.OutOfMemoryError("no room")
        return net(clips)

    return forward, seen


@pytest.mark.parametrize("eot", [1, 4])
@pytest.mark.parametrize("average", ["loss", "score"])
def test_out_of_memory_halves_the_pass_and_changes_nothing(eot, average, net, clips, labels, target, streams):
    fits = 4 if eot == 1 or average == "score" else 7  # the first draw of all clips, but not two of the others
    small, seen = too_small(net, fits)
    tight = target(small, 5, [Shuffle()], eot=eot, average=average).gradient(clips, labels, cross_entropy, streams(5))
    wide = target(net, 5, [Shuffle()], eot=eot, average=average).gradient(clips, labels, cross_entropy, streams(5))
    torch.testing.assert_close(tight.grad, wide.grad, atol=1e-6, rtol=1e-4)
    assert max(seen) > fits, "it never ran out of memory"
    answers = [target(model, 5, [Shuffle()]).logits(clips, streams(5)) for model in (small, net)]
    torch.testing.assert_close(*answers)


def test_room_is_learnt_once(net, clips, labels, target, streams):
    small, seen = too_small(net, 2)
    PGD(steps=6).run(target(small, 5), clips, labels, streams(5))
    assert sum(size > 2 for size in seen) == 1, "only the first pass was too large: 5, then 2, 2, 1"


def test_a_clip_that_does_not_fit_alone_is_an_error(net, clips, labels, target, streams):
    small, _ = too_small(net, 0)
    with pytest.raises(torch.OutOfMemoryError):
        target(small, 5).gradient(clips, labels, cross_entropy, streams(5))


def test_queries_are_answers_of_the_deployed_pipeline(net, clips, labels, target, streams):
    attacked = target(net, 5, [Shuffle(draws=10)])
    attacked.logits(clips[:2], streams(5)[torch.tensor([0, 1])])
    assert attacked.queries.tolist() == [1, 1, 0, 0, 0]


def test_when_a_clip_was_first_fooled_is_known(net, clips, labels, target, streams):
    attacked = target(net, 5, labels=labels)
    made = PGD(eps=0.2, steps=20).run(attacked, clips, labels, streams(5))
    assert (margin(net(made), labels) <= 0).all()
    assert ((attacked.solved >= 1) & (attacked.solved <= 21)).all()
    unharmed = target(net, 5, labels=labels)
    unharmed.logits(clips, streams(5))
    assert unharmed.solved.tolist() == [-1] * 5


def test_notes_stay_with_their_clips(net, target, streams):
    attacked = target(net, 5)
    attacked.note("frames_used", torch.tensor([3, 4]), streams(5)[torch.tensor([1, 3])])
    assert attacked.notes["frames_used"].nan_to_num(-1).tolist() == [-1, 3, -1, 4, -1]


def test_a_loss_may_look_at_feature_maps(net, clips, labels, target, streams):
    shapes = []

    def loss(logits, labels, maps):
        shapes.append(tuple(maps.shape))
        (grad,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), maps, create_graph=True)
        return (grad * maps).flatten(1).sum(1)

    found = target(net, 5).gradient(clips, labels, WithFeatures(loss), streams(5))
    assert shapes == [(5, 8, 8, 12, 12)]
    leaf = clips.clone().requires_grad_()
    maps = net.net.conv((leaf - 0.5) / 0.1)
    logits = 4 * net.net.head(nn.functional.adaptive_avg_pool3d(torch.tanh(3 * maps), (4, 1, 1)).flatten(1))
    (grad,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), maps, create_graph=True)
    (expected,) = torch.autograd.grad((grad * maps).sum(), leaf)
    torch.testing.assert_close(found.grad, expected, atol=1e-5, rtol=1e-3)


def test_a_model_without_maps_says_so(clips, labels, target, streams):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12 * 12, 6))
    model = Model(flat, InputSpec(8, 12, 12), 6)
    loss = WithFeatures(lambda logits, labels, maps: logits.sum(1))
    with pytest.raises(InputError, match="no convolutional feature maps"):
        target(model, 5).gradient(clips, labels, loss, streams(5))


UNIVERSAL = '''
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from robustvideo.benchmark.core.attack import Attack
from robustvideo.benchmark.core.losses import cross_entropy


@dataclass(frozen=True)
class Uap(Attack):
    """One step on the mean gradient of other clips. Formula: x + eps sign(mean grad). Source: none."""

    norm: ClassVar[str] = "linf"
    eps: float = 0.1
    universal: ClassVar[bool] = True
    fit_clips: ClassVar[int] = 4
    pattern: torch.Tensor | None = None

    def fit(self, target, clips, labels, rng):
        grad = target.gradient(clips, labels, cross_entropy, rng).grad.mean(0, keepdim=True)
        return replace(self, pattern=self.eps * grad.sign())

    def run(self, target, clips, labels, rng):
        return (clips + self.pattern).clamp(0, 1)
'''


def test_a_universal_perturbation_is_made_on_other_clips(net, tmp_path):
    (tmp_path / "uap.py").write_text(UNIVERSAL)
    rows = evaluate("tsm", "shapes", f"{tmp_path}/uap.py:Uap", limit=4).set_index("kind")
    assert rows.loc["attack", "status"] == "ok", rows.loc["attack", "error"]
    assert rows.loc["attack", "grad_calls"] == 4, "what the fit took is counted"
    assert rows.loc["attack", "linf"] == pytest.approx(0.1, abs=1e-6)


def test_without_other_clips_there_is_no_universal_attack(net, clips, labels, tmp_path):
    (tmp_path / "uap.py").write_text(UNIVERSAL)
    with pytest.raises(InputError, match="no other clips"):
        evaluate(net, (clips, labels), f"{tmp_path}/uap.py:Uap")


OPAQUE = '''
from robustvideo.defenses.shuffle import Shuffle


class Opaque(Shuffle):
    """Lets no gradient pass. Source: none."""

    gradient = "none"
    stochastic = False
    draws = 1

    def protect(self, model):
        return lambda clips, rng: model((clips * 255).round().detach() / 255, rng)
'''

RANDOM = '''
from dataclasses import dataclass
from typing import ClassVar

from robustvideo.benchmark.core.budget import Ball
from robustvideo.benchmark.core.attack import Attack


@dataclass(frozen=True)
class Once(Attack):
    """One draw. Formula: uniform. Source: none."""

    norm: ClassVar[str] = "linf"
    eps: float = 0.1
    black_box: ClassVar[bool] = True

    def run(self, target, clips, labels, rng):
        target.logits(clips, rng)
        return Ball(clips, "linf", self.eps).random(rng)
'''


def test_a_black_box_attack_meets_a_defence_without_gradient(net, clips, labels, tmp_path):
    (tmp_path / "opaque.py").write_text(OPAQUE)
    (tmp_path / "once.py").write_text(RANDOM)
    rows = evaluate(net, (clips, labels), f"{tmp_path}/once.py:Once", f"{tmp_path}/opaque.py:Opaque")
    assert (rows["status"] == "ok").all(), rows["error"].tolist()


def test_every_other_model_is_a_source(net, clips, labels):
    models = [net, build_net(seed=6), build_net(seed=7)]
    rows = evaluate(models, (clips, labels), "pgd:eps=12/255,steps=5", threats="transfer")
    threats = rows[rows["threat"].str.startswith("transfer")]
    assert len(threats) == 6 and threats["threat"].nunique() == 3
    assert (threats["status"] == "ok").all(), threats["error"].tolist()
    assert set(rows["strength"]) == {"none", "full"}, "what is handed on is made to full strength"


def test_adversarials_are_made_once_for_all_models_that_they_are_handed_on_to(net, clips, labels, monkeypatch):
    made = []
    monkeypatch.setattr(PGD, "run", lambda self, target, x, y, rng: made.append(len(x)) or x)
    models = [net, build_net(seed=6), build_net(seed=7)]
    rows = evaluate(models, (clips, labels), "pgd:steps=5", threats="transfer")
    assert (rows["status"] == "ok").all() and len(rows) == 3 + 3 + 6
    sources, checks = 3, 2  # the checks skip clips that are wrong anyway, and all are for the other two models
    assert len(made) == sources + checks


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("pgd:loss=dlr", "dlr needs at least 3 classes, the model has 2"),
        ("pgd:target=", "attack pgd: target: has no value"),
        ("pgd:target=next", "'next' is no class"),
        ("pgd:target=7", "7 is beyond the model's 2 classes"),
        ("apgd:loss=targeted-dlr", "targeted-dlr needs at least 4 classes"),
        ("masked-pgd:ratio=0.001", "a patch of no pixels"),
        ("frame-border:ratio=0.01", "a border of no pixels"),
        ("saliency:method=oneshot,frames=9", "9 is more than the clip's 8"),
        ("one-frame:index=8", "8 is beyond the clip's 8 frames"),
        ("sparse:frames=9", "9 is more than the clip's 8 frames"),
        ("append:frames=8", "8 leaves none of the 8 frames"),
        ("square:queries=0", "0 is out of bounds"),
        ("pgd:eps=8", "did you mean 8/255"),
        ("flicker:eps=3", "did you mean 3/255"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(attack, message, clips):
    with pytest.raises(InputError, match=message):
        evaluate(build_net(classes=2), (clips, torch.tensor([0, 1, 0, 1, 0])), attack)


def test_cells_of_an_older_protocol_still_make_a_table(net, clips, labels, tmp_path):
    evaluate(net, (clips, labels), "pgd:steps=2", store=tmp_path)
    for path in (tmp_path / "cells").rglob("*.json"):
        cell = json.loads(path.read_text())
        cell.pop("reports")
        for name in ("area", "thickness", "roughness", "solved"):
            cell["clips"].pop(name, None)
        path.write_text(json.dumps(cell))
    table = cells_table(Store(tmp_path).cells())
    assert table["status"].tolist() == ["ok", "ok"] and table["reports"].tolist() == ["", ""]


def test_what_is_counted_does_not_depend_on_the_batch(net, clips, labels, tmp_path):
    wrong = labels.clone()
    wrong[1] = (wrong[1] + 1) % 6
    vectors = []
    for size in (1, 5):
        store = Store(tmp_path / str(size))
        evaluate(net, (clips, wrong), "pgd:steps=3", store=store.folder, batch_size=size)
        (cell,) = [cell for cell in store.cells() if cell["spec"]["kind"] == "attack"]
        vectors.append({name: cell["clips"][name] for name in ("gradients", "queries", "solved", "frames", "correct")})
    assert vectors[0] == vectors[1]
    assert vectors[0]["queries"][1] > vectors[0]["queries"][0], "the wrong clip is asked once more"


def test_a_pass_that_fails_after_its_draw_is_made_again_with_the_same_draws(net, clips, labels, target, streams, monkeypatch):
    calls, one_pass = [], CountedTarget._one_pass

    def fails(self, *parts):
        found = one_pass(self, *parts)
        calls.append(len(found.loss))
        if calls == [5, 15]:
            raise torch.OutOfMemoryError("no room")
        return found

    wide = target(net, 5, [Shuffle()], eot=4).gradient(clips, labels, cross_entropy, streams(5))
    monkeypatch.setattr(CountedTarget, "_one_pass", fails)
    tight = target(net, 5, [Shuffle()], eot=4).gradient(clips, labels, cross_entropy, streams(5))
    assert calls == [5, 15, 7, 7, 1], "the first draw, and then the others side by side"
    torch.testing.assert_close(tight.grad, wide.grad, atol=1e-6, rtol=1e-4)


@dataclass(frozen=True)
class NoNumbers(Attack):
    """Fills every frame with NaN, though it may change one only."""

    norm: ClassVar[str] = "linf"
    eps: ClassVar[float] = 0.1
    limits: ClassVar[Limits] = Limits(frames=1)

    def run(self, target, clips, labels, rng):
        return torch.full_like(clips, torch.nan)


def test_what_is_no_number_counts_as_no_change(clips):
    made, outside = keep_budget(NoNumbers(), clips, torch.full_like(clips, torch.nan))
    assert torch.equal(made, clips) and outside.all()


def test_a_universal_pattern_is_never_made_on_judged_clips_or_their_videos(tmp_path):
    lines = ["path,label,split,group"]
    lines += [f"{number}.mp4,{number % 2},test,video{number}" for number in range(4)]
    lines += [f"part{number}.mp4,{number % 2},val,video{number}" for number in range(2, 8)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = resolve("dataset", f"manifest:path={tmp_path}/list.csv", root=str(tmp_path))
    attack = resolve("attack", "append:fit_clips=3")
    cell = Cell(data, "test", None, resolve("model", "tsm"), attack, threat=Threat("white-box"))
    chosen = Bench().fit_records(cell)
    assert len(chosen) == 3 and not {record.group for record in chosen} & {f"video{number}" for number in range(4)}
    (tmp_path / "list.csv").write_text("\n".join(lines[:7]))
    again = resolve("dataset", f"manifest:path={tmp_path}/list.csv", root=str(tmp_path))
    with pytest.raises(InputError, match="is also one of split"):
        Bench().fit_records(replace(cell, dataset=again))


def test_a_file_that_an_attack_reads_is_part_of_the_cell(net, clips, labels, tmp_path):
    file, hashes = tmp_path / "resnet50.pth", []
    for content in (b"one", b"other"):
        file.write_bytes(content)
        bench = Bench()
        model = resolve("model", "tsm")
        attack = resolve("attack", f"vbad:tentative=resnet50,weights={file}")
        hashes.append(bench.hash(Cell(resolve("dataset", "shapes"), "test", 2, model, attack, threat=Threat("white-box"))))
    assert hashes[0] != hashes[1]


def test_a_pattern_is_made_once_for_all_that_it_is_handed_on_to(tmp_path, monkeypatch):
    fits = []
    monkeypatch.setattr(Append, "fit", lambda self, *given: fits.append(1) or carrying(self, torch.zeros(1, 3, 1, 64, 64)))
    rows = evaluate("tsm", "shapes", "append:fit_clips=2", "shuffle", threats="oblivious", limit=2)
    assert (rows["status"] == "ok").all() and len(rows) == 5
    assert len(fits) == 2, "one for the undefended model, one through the defence"
