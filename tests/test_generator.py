"""The networks of 3-D APE-GAN: sizes, published shapes, first weights."""

import math

import pytest
import torch
from conftest_models import build_net
from robustvideo.benchmark.core.registry import resolve
from robustvideo.defenses.ape_gan import Rival
from robustvideo.defenses.generator import Discriminator, Generator, continued
from torch import nn


@pytest.mark.parametrize("shape", [(2, 3, 5, 11, 13), (2, 3, 1, 9, 32), (1, 3, 8, 16, 16)])
def test_clips_of_any_size_go_through_both_networks(shape):
    clips = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    before = clips.clone()
    with torch.no_grad():
        made = Generator(2).eval()(clips)
    assert made.shape == shape and float(made.min()) >= 0 and float(made.max()) <= 1 and torch.equal(clips, before)
    assert Discriminator(2).eval()(clips).shape == shape[:1]


def test_the_continuation_repeats_the_last_slices_as_the_peer_does():
    clips = torch.rand(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    theirs = nn.functional.pad(clips, (0, 1, 0, 2, 0, 3), mode="replicate")
    assert torch.equal(continued(clips, 8), theirs) and continued(theirs, 8) is theirs


def test_the_published_sizes():
    def shapes(network, clips):
        found = []
        for layer in network.modules():
            if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
                layer.register_forward_hook(lambda layer, given, made: found.append(tuple(made.shape[1:])))
        network(clips)
        return found

    clips = torch.zeros(1, 3, 16, 112, 112)
    down = [(1, 8, 56, 56), (2, 4, 28, 28), (4, 2, 14, 14)]
    assert shapes(Generator(1).eval(), clips) == [*down, *down[1::-1], (3, 16, 112, 112)]
    assert shapes(Discriminator(1).eval(), clips) == [*down, (8, 1, 7, 7)]
    weights = 64 * 2 * (3 * 64 + 64 * 128 + 128 * 256)  # 4 x 4 x 4 kernels, there and back
    biases_and_norms = 3 * (64 + 128 + 256) + 3 * (128 + 64) + 3
    assert sum(value.numel() for value in Generator(64).parameters()) == weights + biases_and_norms


def test_a_checkpoint_is_small_and_networks_are_always_born_the_same():
    made = resolve("defense", "ape-gan").create()
    network = made.saved(made.network(build_net()))
    assert sum(value.numel() * value.element_size() for value in network.state_dict().values()) < 2e6
    torch.rand(1)
    again = made.network(build_net()).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    assert float(next(network.parameters()).detach().std()) == pytest.approx(0.02, rel=0.1)


def test_the_discriminator_learns_to_tell():
    rival, generator = Rival(4), torch.Generator().manual_seed(0)
    true, made = (
        torch.rand(8, 3, 4, 8, 8, generator=generator),
        torch.rand(8, 3, 1, 1, 1, generator=generator).expand(-1, -1, 4, 8, 8),
    )
    assert float(rival.mistake(true, made).detach()) == pytest.approx(2 * math.log(2), abs=0.05)
    rival.optimizer.param_groups[0]["lr"] = 1e-2  # fifty times the published rate, for a short test
    for _ in range(40):
        rival.learn(true, made)
    assert float(rival.mistake(true, made).detach()) < 1.2
