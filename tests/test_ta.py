"""Attention: the maps of every shipped network, Eq. 2 to 5 by hand, and what the attack does with them."""

import numpy as np
import pytest
import torch
from robustvideo.attacks.ta import TA
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.cam import WithFeatures, activation_maps, asked_classes, last_maps, least_attended, over_largest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec, Model
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.models.build import build_model
from torch import nn

STEPS = {"tsm": 8, "tam": 8, "gst": 8, "gst-large": 8, "tpn": 8, "x3d": 8, "slowfast": 8}
"""Time steps of the last maps of tiny presets for 8 frames; the other networks have strides in time."""
STRIDED = {"i3d": 2, "ircsn": 2, "r2plus1d": 2, "resnext3d": 2}


def tiny(name):
    return build_model(registry.resolve("model", f"{name}:preset=tiny,weights=random"), "none", "abcde")


def maps_of(model, clips):
    with last_maps(model, len(clips)) as maps:
        scores = model(clips.requires_grad_())
        return maps(), scores


class Flat(nn.Module):
    """A network per frame whose maps and gradients can be written down: C maps, their mean over space and time, a layer."""

    def __init__(self, layout):
        super().__init__()
        self.conv = (nn.Conv2d if layout == "NTCHW" else nn.Conv3d)(3, 4, 1)
        self.head = nn.Linear(4, 5)
        self.last = nn.Identity()
        self.flat = layout == "NTCHW"

    def forward(self, clips):
        count = len(clips)
        maps = torch.tanh(self.conv(clips.flatten(0, 1) if self.flat else clips))
        maps = self.last(maps)  # a hook sees modules alone
        maps = maps.view(count, -1, *maps.shape[1:]) if self.flat else maps.transpose(1, 2)
        return self.head(maps.mean(dim=(1, 3, 4)))


def flat(layout):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = Flat(layout)
    spec = InputSpec(frames=6, size=5, short_side=5, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    return Model(net, spec, 5, layout).eval().requires_grad_(False)


@pytest.fixture(params=["NTCHW", "NCTHW"])
def known(request):
    """The network with 2-D or 3-D layers, clips, and its maps (N, T, C, h, w) and scores in numpy."""
    model = flat(request.param)
    clips = torch.rand(3, 3, 6, 5, 5, generator=torch.Generator().manual_seed(3))
    weight = model.net.conv.weight.reshape(4, 3).numpy()
    seen = (clips.numpy() - 0.5) / 0.2
    maps = np.tanh(np.einsum("kc,ncthw->ntkhw", weight, seen) + model.net.conv.bias.numpy()[:, None, None])
    scores = maps.mean(axis=(1, 3, 4)) @ model.net.head.weight.numpy().T + model.net.head.bias.numpy()
    return model, clips, maps, scores


def by_hand(model, maps, scores, classes):
    """Eq. 2 to 5: each map times the mean slope of the cross-entropy, over the largest, the mean of the least three frames."""
    sure = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    sure[np.arange(len(classes)), classes] -= 1
    slope = sure @ model.net.head.weight.numpy() / np.prod(maps.shape[1:2] + maps.shape[3:])
    seen = np.einsum("nk,ntkhw->nthw", slope, maps)
    scaled = np.stack([(one - one.min()) / one.max() for one in seen])
    return seen, scaled, np.sort(scaled.mean(axis=(2, 3)), axis=1)[:, :3].mean(axis=1)


def test_equations_by_hand(known):
    model, clips, maps, scores = known
    classes = np.array([0, 3, 4])
    found, logits = maps_of(model, clips)
    torch.testing.assert_close(found.detach(), torch.from_numpy(maps).float(), atol=1e-5, rtol=1e-4)
    seen, scaled, loss = by_hand(model, maps, scores, classes)
    mine = activation_maps(cross_entropy(logits, torch.from_numpy(classes)), found)
    torch.testing.assert_close(mine.detach(), torch.from_numpy(seen).float(), atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(over_largest(mine).detach(), torch.from_numpy(scaled).float(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        least_attended(over_largest(mine), 3).detach(), torch.from_numpy(loss).float(), atol=1e-4, rtol=1e-3
    )


def test_the_scale_is_the_clips_own_largest_value():
    maps = torch.tensor([[1.0, 3.0, 2.0, 5.0], [-4.0, -2.0, -3.0, -1.0], [0.0, -2.0, -1.0, -2.0]]).view(3, 2, 1, 2)
    wanted = torch.tensor([[0.0, 0.4, 0.2, 0.8], [0.0, -2.0, -1.0, -3.0], [2.0, 0.0, 1.0, 0.0]]).view(3, 2, 1, 2)
    torch.testing.assert_close(over_largest(maps), wanted)
    torch.testing.assert_close(least_attended(wanted, 1), torch.tensor([0.2, -2.0, 0.5]))


def test_the_gradient_of_the_attention_is_right(net, target, streams):
    """A second-order gradient against differences of the loss, along a random direction, in double precision."""
    double = Model(net.net, net.input, net.classes).eval()
    double.load_state_dict(net.state_dict())
    double.net = type(net.net)(6).double().requires_grad_(False)
    double.net.load_state_dict(net.net.state_dict())
    double.double()
    seeded = torch.Generator().manual_seed(4)
    clips = torch.rand(2, 3, 8, 12, 12, dtype=torch.float64, generator=seeded)
    pair = torch.tensor([[0, 1], [2, 3]])
    loss = WithFeatures(TA(frames=3)._loss)
    found = target(double, 2).gradient(clips, pair, loss, streams(2))
    direction = torch.randn(clips.shape, dtype=torch.float64, generator=seeded)
    ahead, back = (target(double, 2).gradient(clips + sign * 1e-6 * direction, pair, loss, streams(2)).loss for sign in (1, -1))
    slopes = (found.grad * direction).sum(dim=(1, 2, 3, 4))
    torch.testing.assert_close((ahead - back) / 2e-6, slopes, rtol=1e-4, atol=1e-9)
    assert (slopes.abs() > 1e-6).all()


@pytest.mark.parametrize("name", sorted(STEPS | STRIDED))
def test_the_last_maps_of_every_network_follow_its_frames(name):
    """(N, t, C, h, w): each clip its own, and white frames show in the later steps the later they are."""
    model, wanted = tiny(name), (STEPS | STRIDED)[name]
    clips = torch.rand(2, 3, 8, 64, 64, generator=torch.Generator().manual_seed(5))
    both, scores = maps_of(model, clips.clone())
    assert both.shape[:2] == (2, wanted) and min(both.shape[3:]) > 1
    (slope,) = torch.autograd.grad(scores[:, 0].sum(), both, retain_graph=True)
    assert (slope.abs().amax(dim=(2, 3, 4)) > 0).all(), "the scores depend on every step"
    assert activation_maps(cross_entropy(scores, torch.tensor([0, 1])), both).shape == (2, wanted, *both.shape[3:])
    alone, _ = maps_of(model, clips[1:].clone())
    torch.testing.assert_close(alone[0], both[1], atol=1e-4, rtol=1e-4)
    centres = []
    for first in (0, 3, 6):
        other = clips.clone()
        other[:, :, first : first + 2] = 1
        change = (maps_of(model, other)[0] - both).detach().abs().mean(dim=(2, 3, 4))
        centres.append((change * torch.arange(wanted)).sum(dim=1) / change.sum(dim=1))
    assert (centres[0] < centres[2]).all()
    assert wanted == 2 or ((centres[0] < centres[1]) & (centres[1] < centres[2])).all()


def test_networks_without_maps_say_so(target, streams):
    with pytest.raises(
        InputError, match="it has no convolutional feature maps over space and time; class activation maps need a"
    ):
        maps_of(tiny("timesformer"), torch.rand(2, 3, 8, 64, 64))
    labels = torch.tensor([0, 1])
    with pytest.raises(InputError, match="class activation maps need a convolutional network"):
        TA().run(target(tiny("timesformer"), 2), torch.rand(2, 3, 8, 64, 64), labels, streams(2))


def test_right_clips_are_pulled_to_another_class_and_wrong_ones_to_their_own(net, clips, labels, target, streams):
    wrong = labels.clone()
    wrong[:2] = (labels[:2] + 1) % 6
    chosen = asked_classes(net(clips), wrong, streams(5))
    assert torch.equal(chosen[:2], wrong[:2])
    drawn = torch.stack([asked_classes(net(clips), labels, streams(5, seed)) for seed in range(60)])
    for clip in range(5):
        assert set(drawn[:, clip].tolist()) == set(range(6)) - {int(labels[clip])}


def test_it_raises_the_least_attended_frames(net, clips, labels, target, streams):
    attack = TA(eps=0.1, steps=8, step=0.01, frames=3)
    counted = target(net, 5, until_fooled=True)
    made = attack.run(counted, clips, labels, streams(5))
    assert counted.gradients.tolist() == [8] * 5 and counted.queries.tolist() == [1] * 5, "no clip leaves"
    classes = asked_classes(net(clips), labels, streams(5))

    def attention(batch):
        maps, logits = maps_of(net, batch.clone())
        return least_attended(over_largest(activation_maps(cross_entropy(logits, classes), maps)), 3)

    assert (attention(made) > attention(clips)).all()
    assert (made != clips).flatten(3).any(dim=3).all(), "all frames change"


def test_the_published_augmentation_is_one_step_of_half_the_budget(net, clips, labels, target, streams):
    inner = 0.3 + 0.4 * clips
    made = TA(eps=64 / 255, step=32 / 255, steps=1).run(target(net, 5), inner, labels, streams(5))
    sizes = (made - inner).abs()
    torch.testing.assert_close(sizes[sizes > 0], torch.full_like(sizes[sizes > 0], 32 / 255), atol=1e-6, rtol=0)
    assert (sizes > 0).float().mean() > 0.9


def test_more_steps_than_the_maps_have(net, clips, labels, target, streams):
    problem = "attack ta: frames: 9 is more than the 8 time steps of the model's last feature maps; it must be from 1 to 8"
    with pytest.raises(InputError, match=problem):
        TA(frames=9).run(target(net, 5), clips, labels, streams(5))
