"""Adversarial trainings: step sizes, budgets and probabilities by hand, the attack against others' PGD, learning and resuming."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest_models import defense_of as defense
from conftest_models import small_tsm
from robustvideo.benchmark.core.budget import Ball, changed_area, changed_frames, linf_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec, Model
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.trained import Trial
from robustvideo.benchmark.training.clips import Split
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan, run, train
from robustvideo.benchmark.training.trial import tried
from robustvideo.defenses.aat import interval, proportional
from robustvideo.defenses.adversarial_training import pgd, step_size
from test_training import goes_on
from torch import nn

CPU = torch.device("cpu")
SPECS = ["at", "cat", "cat:direction=down", "aat:levels=3", "aat:over=attacks"]


class Two(nn.Module):
    """A linear answer from two brightnesses, of which the first channel's is amplified."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2, bias=False)

    def forward(self, clips):
        middle = clips.mean(dim=(2, 3, 4)) - 128 / 255
        return self.head(torch.stack([400 * middle[:, 0], 20 * middle[:, 2]], dim=1))


def two():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Two()
    spec = InputSpec(frames=2, size=6, short_side=6, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Model(net, spec, 2)


def faint_and_strong(count):
    """Two classes that a faint mark tells apart (2 grey levels about the middle) and a strong one (40)."""
    labels = torch.arange(count) % 2
    clips = torch.full((count, 3, 2, 6, 6), 128)
    for channel, levels in ((0, 2), (2, 40)):
        clips[:, channel] += (levels * (2 * labels - 1)).view(-1, 1, 1, 1)
    return clips.to(torch.uint8), labels


def test_step_sizes_are_the_published_ones():
    assert 255 * step_size(4 / 255, "optimal") == pytest.approx(1.0)
    assert 255 * step_size(8 / 255, "optimal") == pytest.approx(1.8)
    assert 255 * step_size(8 / 255, "half") == pytest.approx(0.9)
    assert step_size(12 / 255, "eps") == 12 / 255


def test_the_curriculum_goes_through_the_budgets_of_the_paper():
    up, down = ([round(255 * defense(spec).budget(k, 7), 9) for k in range(1, 8)] for spec in ("cat", "cat:direction=down"))
    assert up == [0, 2, 4, 6, 8, 10, 12] and down == up[::-1]
    assert [round(255 * defense("cat:eps=8/255").budget(k, 3), 9) for k in (1, 2, 3)] == [0, 4, 8]
    assert defense("cat").budget(1, 1) == defense("cat:direction=down").budget(1, 1) == 12 / 255


def test_a_curriculum_attacks_with_the_budget_of_its_epoch(streams):
    learner = defense("cat").learner(two())
    clips, labels = torch.full((4, 3, 2, 6, 6), 0.5), torch.tensor([0, 1, 0, 1])
    changes = []
    for epoch in (1, 2, 3):
        learner.begin(epoch, 3)
        changes.append(255 * float(linf_norm(learner.attacked(clips, labels, streams(4)) - clips).max()))
    assert changes == pytest.approx([0, 6, 12], abs=1e-4)


def test_budgets_are_spread_evenly():
    assert [round(255 * eps, 9) for eps in defense("aat").budgets] == [0, 2, 4, 6, 8, 10, 12]
    assert [round(255 * eps, 9) for eps in defense("aat:eps=8/255,levels=3").budgets] == [0, 4, 8]


def test_probabilities_are_proportional_to_losses():
    assert proportional([1.0, 2.0, 5.0]).tolist() == [0.125, 0.25, 0.625]
    for nothing in ([0.0, 0.0], [1.0, math.inf], [math.nan, 1.0]):
        assert proportional(nothing).tolist() == [0.5, 0.5]


class Known(nn.Module):
    """Logits whose cross-entropy for class 0 is the clip's mean value: log(1 + exp(z)) = v for z = log(exp(v) - 1)."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, clips):
        z = clips.mean(dim=(1, 2, 3, 4)).expm1().log()
        return torch.stack([torch.zeros_like(z), z], dim=1)


def adaptive_with_known_losses(streams):
    """Two attackers: one leaves clips of losses 0.2, 0.4 and 0.9 as they are, the other makes every loss 1."""
    spec = InputSpec(frames=1, size=4, short_side=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    learner = defense("aat:levels=2").learner(Model(Known(), spec, 2))
    learner.attackers = [lambda clips, labels, rng: clips, lambda clips, labels, rng: torch.ones_like(clips)]
    asked = []

    def batches():
        asked.append(1)
        for values in ([0.2, 0.4], [0.9]):
            clips = torch.tensor(values).view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 4, 4)
            yield clips, torch.zeros(len(values), dtype=torch.long), streams(len(values))

    return learner, batches, asked


def test_equation_8_sums_over_all_validation_clips(streams):
    learner, batches, _ = adaptive_with_known_losses(streams)
    assert learner.probabilities.tolist() == [0.5, 0.5]
    learner.end(1, 3, batches)
    # 0.2 + 0.4 + 0.9 = 1.5 against 3; the mean of the batches' means would give 0.375, the last batch 0.474.
    assert learner.probabilities.tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-5)


def test_probabilities_are_renewed_when_algorithm_1_says_so_while_they_matter(streams):
    assert [interval(6, 7), interval(30, 4), interval(100, 7), interval(1000, 7)] == [1, 7, 10, 10]
    learner, batches, asked = adaptive_with_known_losses(streams)
    renewed = []
    for epoch in range(1, 7):  # 6 epochs, 2 attackers: every third epoch, the last one excepted
        before = len(asked)
        learner.end(epoch, 6, batches)
        renewed += [epoch] * (len(asked) > before)
    assert renewed == [3] and len(asked) == 2


def test_draws_follow_the_probabilities_and_belong_to_the_first_clip():
    learner = defense("aat:levels=4").learner(two())
    chances = [0.1, 0.0, 0.3, 0.6]
    learner.probabilities.copy_(torch.tensor(chances))
    total, found = 2000, [0, 0, 0, 0]
    for number in range(total):
        found[learner.draw(ClipRandom.for_clips([f"{number}", "x"], 0, "draw"))] += 1
    for chance, count in zip(chances, found, strict=True):
        assert abs(count - total * chance) <= 4 * math.sqrt(total * chance * (1 - chance))
    again = [learner.draw(ClipRandom.for_clips([f"{number}", "y"], 0, "draw")) for number in range(50)]
    assert again == [learner.draw(ClipRandom.for_clips([f"{number}"], 0, "draw")) for number in range(50)]


@pytest.mark.parametrize("rule", ["eps", "optimal"])
def test_pgd_equals_torchattacks_and_foolbox(rule, monkeypatch, streams):
    torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(800, 6)).eval()
    spec = InputSpec(frames=1, size=12, short_side=12, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    class Clipwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.image = image

        def forward(self, clips):
            return self.image(clips[:, :, 0])

    model = Model(Clipwise(), spec, 6)
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    labels = image(images).argmax(dim=1)
    eps, step = 8 / 255, step_size(8 / 255, rule)
    monkeypatch.setattr(Ball, "random", lambda ball, rng: ball.clean)  # both peers start at the clean image
    mine = pgd(lambda clips, rng: model(clips), model, images[:, :, None], labels, streams(5), eps, step, 3)[:, :, 0]
    theirs = torchattacks.PGD(image, eps=eps, alpha=step, steps=3, random_start=False)(images, labels)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=3, random_start=False)
    theirs = attack.run(foolbox.PyTorchModel(image, bounds=(0, 1)), images, labels, epsilon=eps)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_the_attack_on_a_linear_model_is_the_closed_form_wherever_it_starts(streams):
    learner = defense("at").learner(two())
    weight, labels = learner.network.net.head.weight.detach(), torch.tensor([0, 1])
    made = learner.attacked(torch.full((2, 3, 2, 6, 6), 0.5), labels, streams(2))
    for clip, label in zip(made, labels.tolist(), strict=True):
        towards = (weight[1 - label] - weight[label]).sign()
        for channel, sign in ((0, towards[0]), (2, towards[1])):
            torch.testing.assert_close(clip[channel], torch.full((2, 6, 6), 0.5) + sign * 8 / 255)


@pytest.mark.parametrize("spec", SPECS)
def test_attacked_clips_hurt_keep_the_range_and_leave_the_network_as_it_is(spec, streams):
    learner = defense(spec).learner(small_tsm(4))
    learner.switch(True)
    clips = torch.rand(4, 3, 4, 32, 32, generator=torch.Generator().manual_seed(4))
    original, labels = clips.clone(), torch.tensor([0, 1, 0, 1])
    before = {key: value.clone() for key, value in learner.network.state_dict().items()}
    makers = learner.attackers[1:] if hasattr(learner, "attackers") else [learner.attacked]
    made = [make(clips, labels, streams(4)) for make in makers]
    assert all(torch.equal(value, before[key]) for key, value in learner.network.state_dict().items())
    assert all(module.training for module in learner.network.modules())
    assert all(value.requires_grad for value in learner.network.parameters())
    learner.switch(False)
    clean = F.cross_entropy(learner.network(clips), labels)
    for result in made:
        assert float(result.min()) >= 0 and float(result.max()) <= 1 and not result.requires_grad
        assert F.cross_entropy(learner.network(result), labels) > clean
        assert not torch.equal(result, clips) and torch.equal(clips, original)
    if spec != "aat:over=attacks":  # those have a test of their own
        budgets = learner.defense.budgets[1:] if spec.startswith("aat") else [learner.defense.hardest]
        assert [float(linf_norm(result - clips).max()) for result in made] == pytest.approx(budgets, abs=1e-6)


def test_the_four_attacks_keep_to_their_frames_and_pixels(streams):
    learner = defense("aat:over=attacks").learner(small_tsm(5))
    clips, labels = torch.rand(3, 3, 5, 32, 32, generator=torch.Generator().manual_seed(4)), torch.tensor([0, 1, 0])
    once, iterated, patch, border = [make(clips, labels, streams(3)) - clips for make in learner.attackers]
    for change in (once, iterated):
        assert float(linf_norm(change).max()) <= 12 / 255 + 1e-6 and int(changed_frames(change).max()) == 2
    for change in (patch, border):
        assert 0.05 < float(changed_area(change).max()) <= 0.15 and float(linf_norm(change).min()) > 0.5
    assert not border[..., 1:-1, 1:-1].any() and patch[..., 1:-1, 1:-1].any()


def test_frames_that_are_too_small_for_a_border_are_refused():
    with pytest.raises(InputError, match="frame-border"):
        defense("aat:over=attacks").learner(two())


@pytest.mark.parametrize("spec", SPECS)
def test_what_epochs_are_tried_by_is_an_attack_with_the_largest_budget(spec):
    made = defense(spec)
    attack = resolve("attack", made.trial.spec).create()
    assert attack.steps == 10 and attack.eps == pytest.approx(1.0 if "attacks" in spec else made.hardest)


@pytest.mark.parametrize("spec", ["at:eps=300", "cat:eps=8", "aat:eps=-0.1", "aat:levels=1", "cat:direction=sideways"])
def test_bad_values_are_refused(spec):
    with pytest.raises(InputError, match=spec.partition(":")[0]):
        defense(spec)


@pytest.mark.parametrize("spec", ["at", "cat", "aat"])
def test_it_makes_a_model_robust_that_learnt_from_a_faint_mark(spec):
    """A clean model believes both marks. An attack of 8 grey levels turns the faint one over and 20-fold, and takes a fifth off
    the strong one, so the only robust answer is the strong mark's."""
    clips, labels = faint_and_strong(32)
    split, trial = Split(clips, labels), Trial("attack", "pgd:eps=8/255,steps=10")
    recipe = Recipe(epochs=7, batch_size=4, lr=0.1)
    model = two()
    train(model, clips, labels, clips, labels, recipe)
    made = defense(spec)
    plan = Plan(made.learner(model), split, split, recipe, made.trial)
    before = tried(plan.learner, split, recipe, trial, CPU)
    run(plan)
    assert before == (1.0, 0.0)
    assert tried(plan.learner, split, recipe, trial, CPU) == (1.0, 1.0)
    faint, strong = (plan.learner.network.net.head.weight[1] - plan.learner.network.net.head.weight[0]).tolist()
    assert abs(faint) < strong / 4


@pytest.mark.parametrize("spec", ["cat", "aat:levels=3", "aat:over=attacks"])
def test_a_killed_training_gives_the_same_bits(spec, tmp_path):
    labels = torch.arange(8) % 2
    noise = torch.randint(0, 200, (8, 3, 2, 32, 32), generator=torch.Generator().manual_seed(0))
    split = Split((noise + 50 * labels.view(-1, 1, 1, 1, 1)).to(torch.uint8), labels)
    recipe = Recipe(epochs=2, batch_size=4, lr=3e-3, keep="best")
    whole, _ = goes_on(
        lambda **more: Plan(defense(spec).learner(small_tsm(2)), split, split, recipe, **more), tmp_path / "partial"
    )
    if spec.startswith("aat"):
        chances = whole.learner.state_dict()["probabilities"]
        assert len(set(chances.tolist())) > 1, "renewed after the first epoch, and drawn from in the second"
