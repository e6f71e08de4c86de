"""Temporal translation: momentum FGSM where nothing is shifted, and the average that its paper defines."""

import math

import pytest
import torch
from robustvideo.attacks.tt import TemporalTranslation, translated, weights
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.losses import cross_entropy
from torch import nn

EPS = 16 / 255


def test_without_shifts_it_is_torchattacks_momentum_fgsm(target, streams):
    torchattacks = pytest.importorskip("torchattacks")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        image_net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 6))
    image_net.eval().requires_grad_(False)
    images = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    labels = image_net(images).argmax(dim=1)
    clipwise = target(lambda clips: image_net(clips[:, :, 0]), 6)
    for kernel in (1, 15):  # a clip of one frame has nothing to shift
        attack = TemporalTranslation(eps=EPS, steps=5, kernel=kernel, momentum=0.7)
        mine = attack.run(clipwise, images[:, :, None], labels, streams(6))[:, :, 0]
        theirs = torchattacks.MIFGSM(image_net, eps=EPS, alpha=EPS / 5, steps=5, decay=0.7)(images, labels)
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_the_gradient_is_the_weighted_mean_over_cyclic_shifts(net, clips, labels, target, streams):
    """Frame t of the clip stands at (t + s) mod T of the shifted one, and its gradient is found there."""
    reach, sigma, frames = 3, 1.0, clips.shape[2]
    wanted, total = torch.zeros_like(clips), 0.0
    for shift in range(-reach, reach + 1):
        weight = math.exp(-(shift**2) / (2 * sigma**2))
        order = [(place - shift) % frames for place in range(frames)]
        shifted = clips[:, :, order].requires_grad_()
        (grad,) = torch.autograd.grad(cross_entropy(net(shifted), labels).sum(), shifted)
        for place, frame in enumerate(order):
            wanted[:, :, frame] += weight * grad[:, :, place]
        total += weight
    found = translated(target(net, 5), clips, labels, cross_entropy, streams(5), reach=reach)
    for frame in range(frames):
        size = (wanted[:, :, frame] / total).abs().mean(dim=(1, 2, 3), keepdim=True)
        torch.testing.assert_close(found.grad[:, :, frame], wanted[:, :, frame] / total / size, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.logits, net(clips))


def test_weights_are_gaussian_of_a_third_of_their_reach():
    assert weights(0).tolist() == [1.0]
    seven = weights(7)
    assert seven.sum().item() == pytest.approx(1) and torch.equal(seven, seven.flip(0))
    assert (seven[7] / seven[0]).item() == pytest.approx(math.exp(4.5), rel=1e-4)


@pytest.mark.parametrize(("kernel", "shifts"), [(1, 1), (3, 3), (7, 7), (9, 7), (15, 7)])
def test_every_shift_is_a_gradient_call_and_a_kernel_fits_the_clip(kernel, shifts, net, clips, labels, target, streams):
    """Eight frames hold seven shifts around 0."""
    counted = target(net, 5, until_fooled=True)
    attack = TemporalTranslation(steps=2, kernel=kernel)
    attack.run(counted, clips, labels, streams(5))
    assert counted.gradients.tolist() == [2 * shifts] * 5
    assert attack.calls == (2 * kernel, 0)


def test_shifts_make_the_perturbation_survive_a_shift(net, clips, labels, target, streams):
    """What they are for: clips whose frames come three later are hurt more than by the plain attack, by the loss."""

    def loss_later(kernel):
        made = TemporalTranslation(eps=0.02, steps=5, kernel=kernel).run(target(net, 5), clips, labels, streams(5))
        return cross_entropy(net(clips + (made - clips).roll(3, dims=2)), labels).mean()

    assert loss_later(7) > loss_later(1)


def test_an_even_kernel_is_refused():
    with pytest.raises(InputError, match="kernel: 4 shifts have no middle"):
        TemporalTranslation(kernel=4)
