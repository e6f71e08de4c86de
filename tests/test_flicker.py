"""Flickering against ART's, numpy and torch's own Adam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from robustvideo.attacks.flicker import Flicker, flickering, rolled, smoothed_margin
from robustvideo.attacks.flicker_fixed import FlickerFixed
from robustvideo.benchmark.core.budget import thickness
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import margin
from robustvideo.benchmark.core.pattern import Adam, pattern_gradient
from robustvideo.defenses.shuffle import Shuffle
from torch import nn

FRAMES, SIZE = 8, 12


@pytest.fixture(scope="module")
def inner(clips):
    """Clips of which no pixel is ever cut off."""
    return 0.2 + 0.6 * clips


@pytest.fixture(scope="module")
def truth(net, inner):
    return net(inner).argmax(dim=1)


@pytest.fixture(scope="module")
def art(net):
    """ART's attack on the same network; it wants clips (N, T, H, W, C)."""
    attacks = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")

    class Last(nn.Module):
        def forward(self, clips):
            return net(clips.permute(0, 4, 1, 2, 3))

    shape = (FRAMES, SIZE, SIZE, 3)
    model = estimators.PyTorchClassifier(Last(), nn.CrossEntropyLoss(), shape, 6, clip_values=(0.0, 1.0), device_type="cpu")
    return lambda **options: attacks.OverTheAirFlickeringPyTorch(model, verbose=False, **options)


def spread(change):
    """Largest difference between pixels of one frame and channel."""
    return (change.amax(dim=(3, 4)) - change.amin(dim=(3, 4))).amax()


def test_the_fixed_search_is_the_image_attack_of_torchattacks_on_colours(net, target, streams):
    """To an image attack a clip of plain frames is an image of one pixel per frame."""
    torchattacks = pytest.importorskip("torchattacks")

    class Plain(nn.Module):
        def forward(self, colours):
            return net(colours[..., None].expand(-1, -1, -1, SIZE, SIZE))

    colours = torch.rand(4, 3, FRAMES, 1, generator=torch.Generator().manual_seed(5))
    clips = colours[..., None].repeat(1, 1, 1, SIZE, SIZE)
    labels = net(clips).argmax(dim=1)
    attack = FlickerFixed(eps=0.05, steps=5, step=0.004, random_start=False)
    made = attack.run(target(net, 4), clips, labels, streams(4))
    theirs = torchattacks.PGD(Plain(), eps=0.05, alpha=0.004, steps=5, random_start=False)(colours, labels)
    torch.testing.assert_close(made, theirs[..., None].expand_as(made), atol=1e-6, rtol=0)


def unlike_offsets(made, clips):
    """How far clips are from clean ones with the largest change of each frame and channel added to all of its pixels, and cut."""
    change = (made - clips).flatten(3)
    largest = change.gather(3, change.abs().argmax(dim=3, keepdim=True))[..., None]
    return ((clips + largest).clamp(0, 1) - made).abs().amax()


@pytest.mark.parametrize("attack", [FlickerFixed(eps=0.1, steps=8), Flicker(eps=0.1, steps=30, step=0.01)])
def test_offsets_are_uniform_and_bounded_where_those_of_art_are_not(
    attack, net, clips, labels, inner, truth, art, target, streams
):
    change = attack.run(target(net, 5), inner, truth, streams(5)) - inner
    assert spread(change) < 1e-6 and 0.02 < change.abs().amax() <= 0.1 + 1e-6
    assert unlike_offsets(attack.run(target(net, 5), clips, labels, streams(5)), clips) < 1e-6
    theirs = torch.from_numpy(art(max_iter=30, eps_step=0.05).generate(clips.permute(0, 2, 3, 4, 1).numpy(), labels.numpy()))
    theirs = theirs.permute(0, 4, 1, 2, 3)
    assert unlike_offsets(theirs, clips) > 0.02 and (theirs - clips).abs().amax() > 0.1, "ART is mended: drop these lines"


def test_loss_and_price_are_those_of_art(net, inner, truth, art, target, streams):
    """ART weighs both differences by beta_2 and its squares are of p, ours of 2p: weights 4, 0.5, 0.25 against 1, 0.5."""
    theta = 0.1 * torch.randn(5, 3, FRAMES, 1, 1, generator=torch.Generator().manual_seed(6))
    ours = Flicker(beta0=1.0, beta1=0.5)
    found = pattern_gradient(target(net, 5), inner, truth, streams(5), theta, ours.search())
    attack = art(beta_0=4.0, beta_1=0.5, beta_2=0.25)
    change = theta.expand_as(inner).permute(0, 2, 3, 4, 1)
    hot = nn.functional.one_hot(truth, 6).float()
    theirs = attack._get_loss_gradients(inner.permute(0, 2, 3, 4, 1) + change, hot, change)
    torch.testing.assert_close(-found.grad, theirs.permute(0, 4, 1, 2, 3), atol=1e-6, rtol=1e-4)
    assert found.grad.abs().amax() > 1e-3


def test_the_price_is_what_numpy_says():
    theta = torch.randn(2, 3, 5, 1, 1, generator=torch.Generator().manual_seed(7))
    wave = theta.numpy()[..., 0, 0]
    first = np.stack([wave[:, :, t] - wave[:, :, t - 1] for t in range(5)], axis=2)
    second = np.stack([wave[:, :, (t + 1) % 5] - 2 * wave[:, :, t] + wave[:, :, t - 1] for t in range(5)], axis=2)
    wanted = [np.square(part).mean(axis=(1, 2)) for part in (wave, first, second)]
    np.testing.assert_allclose([part.numpy() for part in flickering(theta)], wanted, rtol=1e-5)
    price = Flicker(beta0=3.0, beta1=0.2).penalty(theta).numpy()
    np.testing.assert_allclose(price, 3 * 4 * (0.2 * wanted[0] + 0.4 * wanted[1] + 0.4 * wanted[2]), rtol=1e-5)


def test_the_smoothed_margin():
    """Of probabilities: content from a lead of 0.05 on, quadratic, then linear; the true class is no rival of its own."""
    probabilities = torch.tensor([[0.2, 0.3, 0.5], [0.46, 0.49, 0.05], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    value = smoothed_margin(probabilities.clamp_min(1e-30).log(), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(value, -torch.tensor([0.0, 0.02**2 / 0.05, 0.35, 1.05]), atol=1e-6, rtol=0)


def test_of_the_iterates_that_fool_the_thinnest_counts(net, inner, truth, target, streams):
    seen = []

    def watch(x):
        logits = net(x)
        seen.append((thickness(x - inner).detach(), (margin(logits, truth) <= 0).detach()))
        return logits

    attack = Flicker(eps=0.5, steps=60, step=0.02, beta0=20.0)
    made = attack.run(target(watch, 5, until_fooled=True), inner, truth, streams(5))
    size = torch.stack([torch.where(fooled, size, torch.inf) for size, fooled in seen])
    done = size.isfinite().any(dim=0)
    assert done.any() and (size.argmin(dim=0) > size.isfinite().float().argmax(dim=0))[done].all(), "polishing pays"
    torch.testing.assert_close(thickness(made - inner)[done], size.amin(dim=0)[done], atol=1e-6, rtol=0)
    assert ((margin(net(made), truth) <= 0) == done).all()


def test_a_roll_is_torchs_roll_by_a_phase_of_each_clips_own(streams):
    theta = torch.randn(6, 3, FRAMES, 1, 1)
    moved = rolled(theta, streams(6))
    phases = streams(6).integers(0, FRAMES)
    assert len(set(phases.tolist())) > 1
    for clip, phase in enumerate(phases.tolist()):
        torch.testing.assert_close(moved[clip], theta[clip].roll(-phase, dims=1))
    one = rolled(theta[:1], streams(6))
    torch.testing.assert_close(one[3], theta[0].roll(-int(phases[3]), dims=1))


def test_cyclic_patterns_are_judged_at_a_phase_they_do_not_know(net, inner, truth, target, streams):
    attack = Flicker(eps=0.3, steps=10, step=0.02, cyclic=True)
    counted = target(net, 5, until_fooled=True)
    change = attack.run(counted, inner, truth, streams(5)) - inner
    assert counted.gradients.tolist() == [10] * 5, "no clip leaves"
    assert spread(change) < 1e-6 and change.abs().amax() > 0.05


def test_a_universal_pattern_is_made_on_batches_and_serves_all_clips(net, inner, truth, target, streams):
    attack = Flicker(eps=0.2, steps=20, step=0.02, universal=True)
    many = target(net, 20)
    fitted = attack.fit(many, inner.repeat(4, 1, 1, 1, 1), truth.repeat(4), streams(20))
    assert sorted(many.gradients.tolist()) == [6] * 4 + [7] * 16, "batches of 8, 8 and 4, anew shuffled each time"
    counted = target(net, 5)
    change = fitted.run(counted, inner, truth, streams(5)) - inner
    torch.testing.assert_close(change, change[:1, :, :, :1, :1].expand_as(change), atol=1e-6, rtol=0)
    assert 0.05 < change.abs().amax() <= 0.2 + 1e-6
    assert margin(net(inner + change), truth).mean() < margin(net(inner), truth).mean()
    assert counted.gradients.sum() == counted.queries.sum() == 0, "it is there already"
    assert fitted == attack and attack.pattern is None


def test_a_universal_pattern_that_nobody_made(net, inner, truth, target, streams):
    attack = Flicker(universal=True)
    with pytest.raises(InputError, match="attack flicker: its universal pattern has not been made"):
        attack.run(target(net, 5), inner, truth, streams(5))
    assert replace(attack, universal=False).fit(target(net, 5), inner, truth, streams(5)).pattern is None


def test_adam_is_torchs():
    seeded = torch.Generator().manual_seed(8)
    start, grads = torch.randn(4, 3, generator=seeded), torch.randn(12, 4, 3, generator=seeded)
    leaf = start.clone().requires_grad_()
    theirs, ours, mine = torch.optim.Adam([leaf], lr=0.01, maximize=True), Adam(0.01), start
    rows = torch.arange(4)
    for number, grad in enumerate(grads):
        leaf.grad = grad.clone()
        theirs.step()
        if number == 6:  # half of the patterns leave
            rows, mine, ours = rows[::2], mine[::2], ours[torch.tensor([0, 2])]
        mine = ours(mine, grad[rows])
    torch.testing.assert_close(mine, leaf.detach()[rows], atol=1e-6, rtol=1e-5)


def test_of_a_random_target_the_last_iterate_counts(net, inner, truth, target, streams):
    counted = target(net, 5, [Shuffle()], eot=2)
    FlickerFixed(eps=0.1, steps=4).run(counted, inner, truth, streams(5))
    assert counted.gradients.tolist() == [8] * 5 and counted.queries.tolist() == [0] * 5
