"""3-D ResNeXt against the figures of its authors' code, and the plain ResNet against torchvision's parts."""

import re

import pytest
import torch
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from torch import nn
from torchvision.models.video.resnet import Bottleneck, Conv3DSimple, VideoResNet
from upstream import answers, assert_same_answers, randomise

CLASSES = "abcde"


def build(spec):
    return build_model(resolve("model", f"resnext3d:{spec}"), "none", CLASSES)


def test_published_code_gives_the_same_answers(tmp_path):
    model = check_oracle("resnext101-hara2018", "resnext3d:preset=r101", tmp_path)
    assert (model.input.sampler, model.input.interval, model.input.short_side) == ("dense", 1, 112)


def test_inputs_of_2018_are_0_to_255_less_activitynets_mean():
    model = build("preset=r101,size=32,weights=random")
    seen = []
    model.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = torch.randint(0, 256, (1, 3, 16, 32, 32))
    model(pixels / 255)
    wanted = pixels - torch.tensor([114.7748, 107.7354, 99.4750]).view(3, 1, 1, 1)
    torch.testing.assert_close(seen[0], wanted, rtol=1e-5, atol=1e-3)


def torchvisions(layers):
    """The plain 3-D ResNet from torchvision's parts, and its keys under the authors' names."""
    stem = nn.Sequential(
        nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False), nn.BatchNorm3d(64), nn.ReLU(), nn.MaxPool3d(3, stride=2, padding=1)
    )
    net = VideoResNet(Bottleneck, [Conv3DSimple] * 4, layers, lambda: stem, num_classes=5)
    rules = ((r"^stem\.0", "conv1"), (r"^stem\.1", "bn1"), (r"\.conv(\d)\.0\.", r".conv\1."), (r"\.conv(\d)\.1\.", r".bn\1."))
    names = {}
    for key in net.state_dict():
        names[key] = key
        for pattern, replacement in rules:
            names[key] = re.sub(pattern, replacement, names[key])
    return net, names


def test_torchvisions_parts_give_the_same_answers(tmp_path):
    net, names = torchvisions([3, 4, 6, 3])
    theirs = randomise(net).float()
    # As from the authors' DataParallel.
    state = {f"module.{names[key]}": value for key, value in theirs.state_dict().items()}
    torch.save({"epoch": 200, "arch": "resnet-50", "state_dict": state}, tmp_path / "r3d50_KM_200ep.pth")
    model = build(f"preset=r3d50,frames=8,size=32,weights={tmp_path}/r3d50_KM_200ep.pth")
    clips = torch.randn(1, 3, 8, 32, 32, dtype=torch.float64)
    assert_same_answers(model.net.double(), theirs.double(), clips, rtol=1e-7, atol=1e-10)
    with pytest.raises(InputError, match="looks like a 3-D ResNet-50; use resnext3d:preset=r3d50"):
        build(f"preset=r101,weights={tmp_path}/r3d50_KM_200ep.pth")


@pytest.mark.parametrize(("preset", "frames"), [("r101", 16), ("r101", 5), ("r3d50", 1)])
def test_gradient_reaches_every_frame(preset, frames):
    model = build(f"preset={preset},frames={frames},size=32,weights=random")
    logits, grad = answers(model, torch.rand(1, 3, frames, 32, 32))
    assert logits.shape == (1, 5)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
