"""Denoised smoothing: the denoiser's form, its objectives, what it is worth on a toy, and how it stands in a pipeline."""

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.core.trained import Armed
from robustvideo.benchmark.evaluation.threat import Pipeline, check_order, grey_box_differs
from robustvideo.benchmark.models.armed import arm, as_trained
from robustvideo.benchmark.models.armoury import Owner
from robustvideo.benchmark.models.build import build_model, state_sha256
from robustvideo.benchmark.training.clips import Split, as_float
from robustvideo.benchmark.training.entries import Recipe
from robustvideo.benchmark.training.loop import Plan, train
from robustvideo.benchmark.training.loop import run as fit
from robustvideo.benchmark.training.recipe import write_checkpoint
from robustvideo.defenses.denoise import Denoise
from robustvideo.defenses.dncnn import DnCNN
from robustvideo.defenses.shuffle import Shuffle
from test_training import goes_on

SMALL = "tsm:frames=2,size=32,weights=random"


def waves(count, seed, frames=2, size=32):
    """Two classes: faint waves along the rows or along the columns of smooth frames."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    phase, level = torch.rand(count, 1, generator=generator), torch.rand(count, 3, 1, 1, 1, generator=generator)
    wave = 25 * torch.sin(2 * torch.pi * (torch.arange(size) / 8 + phase))
    shape = (-1, 3, frames, size, size)
    down, right = wave[:, None, None, :, None].expand(shape), wave[:, None, None, None, :].expand(shape)
    return (60 + 130 * level + torch.where(labels.view(-1, 1, 1, 1, 1) == 1, down, right)).to(torch.uint8), labels


@pytest.fixture(scope="module")
def classifier():
    """A model that tells the waves apart where there is no noise."""
    model = build_model(resolve("model", SMALL), "none", "ab")
    history = train(model, *waves(64, 0), *waves(32, 1), Recipe(epochs=6, batch_size=8, lr=3e-3))
    assert history[-1].accuracy == 1.0
    return model


def awake(*args):
    """A denoiser whose last layer is not 0, with statistics of its own."""
    made = DnCNN(*args).eval()
    generator = torch.Generator().manual_seed(3)
    for value in made.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) - 0.4)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_var.abs_().add_(1)
    return made


@pytest.mark.parametrize("shape", [(2, 3, 3, 8, 8), (1, 3, 1, 7, 11), (2, 3, 2, 1, 1), (1, 3, 2, 9, 6)])
def test_before_training_it_changes_nothing_and_then_keeps_any_size(shape):
    clips, denoiser = torch.rand(shape, generator=torch.Generator().manual_seed(1)), awake(3, 4)
    assert torch.equal(DnCNN(3, 4).eval()(clips), clips)
    assert denoiser(clips).shape == clips.shape and not torch.equal(denoiser(clips), clips)


def test_it_takes_from_each_frame_what_the_layers_find_in_it():
    clips, denoiser = torch.rand(2, 3, 4, 6, 5), awake(4, 6)
    made = denoiser(clips)
    for clip, out in zip(clips, made, strict=True):
        for number in range(4):
            frame = clip[:, number]
            wanted = frame - denoiser.layers(frame[None])[0]
            torch.testing.assert_close(out[:, number], wanted, atol=1e-6, rtol=1e-5)
    assert (made - clips).abs().mean() > 0.01


def test_the_papers_size_is_the_papers_network():
    """Zhang et al. 2017: 3x3 convolutions, 64 channels, depth 17, norms between; only our last layer has a bias."""
    layers = DnCNN(17, 64).layers
    assert [type(layer).__name__ for layer in layers] == ["Conv2d", "ReLU", *["Conv2d", "BatchNorm2d", "ReLU"] * 15, "Conv2d"]
    assert sum(value.numel() for value in layers.parameters()) == 27 * 64 + 64 + 15 * (9 * 64 * 64 + 2 * 64) + 27 * 64 + 3


def test_its_first_weights_are_the_same_every_time_and_orthogonal(net):
    torch.manual_seed(1)
    one = Denoise().network(net).state_dict()
    torch.manual_seed(2)
    two = Denoise().network(net).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    rows = one["layers.2.weight"].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(16), atol=1e-5, rtol=0)


def test_the_defence_is_the_model_of_the_denoised_noisy_clip(net, clips, streams):
    defense, denoiser = Denoise(sigma=0.4), awake(3, 4)
    noisy = clips + 0.4 * streams(5).normal(clips.shape[1:])
    made = defense.guard(denoiser, lambda x, rng: net(x))(clips, streams(5))
    torch.testing.assert_close(made, net(denoiser(noisy)))
    assert noisy.min() < -0.5 and noisy.max() > 1.5, "nothing is cut off"


def test_both_losses_by_hand(net, clips, streams):
    wrong = torch.zeros(5, dtype=torch.long)  # the objectives look at no labels
    noisy = clips + 0.3 * streams(5).normal(clips.shape[1:])
    said = net(clips).argmax(dim=1)
    for objective in ("mse", "stability"):
        learner = Denoise(sigma=0.3, objective=objective).learner(net)
        learner.switch(False)
        learner.network.load_state_dict(awake(3, 16).state_dict())
        made = learner.network(noisy).double()
        chances = (net(made.float()).double()).softmax(dim=1)[torch.arange(5), said]
        wanted = (made - clips).pow(2).mean() if objective == "mse" else -chances.log().mean()
        torch.testing.assert_close(learner.loss(clips, wrong, streams(5)).double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("epochs", "first"), [(6, 3), (5, 2), (1, 0)])
def test_the_mixed_objective_changes_at_half_time(net, epochs, first):
    learner, seen = Denoise(objective="mse-stability").learner(net), []
    for number in range(1, epochs + 1):
        learner.begin(number, epochs)
        seen.append(learner.objective)
    assert seen == ["mse"] * first + ["stability"] * (epochs - first)


def test_it_learns_to_take_noise_out(classifier):
    defense = Denoise(objective="mse")
    learner, val = defense.learner(classifier), Split(*waves(16, 1))
    before = classifier.weights_sha256
    fit(Plan(learner, Split(*waves(64, 0)), val, Recipe(epochs=6, batch_size=8, lr=1e-2)))
    clips = as_float(val.clips, torch.device("cpu"))
    noisy = defense.noisy(clips, val.streams(torch.arange(16), 9, "test", torch.device("cpu")))
    error = (learner.network(noisy) - clips).square().mean()
    assert error < 0.5 * (noisy - clips).square().mean()
    assert state_sha256(classifier) == before and not classifier.training


def test_the_model_sees_more_behind_it_than_in_the_noise(classifier):
    defense = Denoise(sigma=0.15, objective="stability")
    learner, val = defense.learner(classifier), Split(*waves(64, 1))
    clips, rows = as_float(val.clips, torch.device("cpu")), torch.arange(64)

    def right(scorer):
        with torch.no_grad():
            scores = scorer(clips, val.streams(rows, 9, "test", torch.device("cpu")))
        return float((scores.argmax(dim=1) == val.labels).float().mean())

    noise_alone = right(lambda x, rng: classifier(defense.noisy(x, rng)))
    plan = Plan(learner, Split(*waves(128, 0)), val, Recipe(epochs=3, batch_size=8, lr=5e-3, keep="best"))
    fit(plan)
    assert noise_alone < 0.7 and right(learner.score) > 0.85
    assert plan.history[plan.kept - 1].accuracy == max(epoch.accuracy for epoch in plan.history)
    assert not any(value.requires_grad for value in [*classifier.parameters(), *learner.network.parameters()])


@pytest.mark.parametrize("spec", ["denoise:depth=4,width=4,objective=mse-stability", "rose", "trades:steps=1"])
def test_a_killed_training_goes_on_to_the_same_bits(spec, tmp_path):
    recipe = Recipe(epochs=2, batch_size=8, lr=3e-3, keep="best")

    def plan(**more):
        model = build_model(resolve("model", SMALL), "none", "ab")
        return Plan(resolve("defense", spec).create().learner(model), Split(*waves(16, 0)), Split(*waves(8, 1)), recipe, **more)

    _, resumed = goes_on(plan, tmp_path / "state")
    assert len(resumed.history) == recipe.epochs


def test_it_chains_with_shuffling(net, clips, streams):
    defense = Denoise(draws=3)
    links = [Shuffle(draws=2), Armed(defense, awake(defense.depth, defense.width))]
    check_order([Shuffle(), defense], ["shuffle", "denoise"])
    pipeline = Pipeline.build(net, links)
    assert pipeline.stochastic and pipeline.gradient and not pipeline.surrogate and pipeline.draws == 3
    assert pipeline.model is net and not grey_box_differs([Shuffle(), defense])
    one, two = (pipeline.decide(clips, streams(5)) for _ in range(2))
    assert torch.equal(one, two) and torch.isfinite(one).all()
    assert not torch.equal(one, Pipeline.build(net, links[1:]).decide(clips, streams(5)))


def test_a_checkpoint_serves_any_number_of_draws_but_one_sigma(classifier, tmp_path):
    asked = resolve("defense", "denoise:draws=4,depth=4")
    assert asked.text != as_trained(asked).text == as_trained(resolve("defense", "denoise:depth=4")).text
    model, path = resolve("model", SMALL), tmp_path / "denoise.safetensors"
    owner = Owner(model, ready("dataset", "toy", object()))
    network = awake(4, 16)
    card = {"defense": as_trained(asked).text, "version": asked.entry.version, "model": model.text, "dataset": "toy"}
    write_checkpoint(network, card, path)
    for draws in (4, 9):
        link = arm(resolve("defense", f"denoise:draws={draws},depth=4,weights={path}"), owner, classifier)
        assert isinstance(link, Armed) and link.draws == draws
        assert all(torch.equal(value, network.state_dict()[key]) for key, value in link.network.state_dict().items())
    with pytest.raises(InputError, match="was trained with defense denoise:.*sigma=0.25.* not .*sigma=0.5"):
        arm(resolve("defense", f"denoise:sigma=0.5,depth=4,weights={path}"), owner, classifier)
