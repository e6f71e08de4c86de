"""R(2+1)D against torchvision's network and mmaction2's figures."""

import pytest
import torch
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.r2plus1d import FAMILY, IG65M, R34, R2Plus1DNet, middle
from torch import nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet, r2plus1d_18
from upstream import answers, assert_same_answers, randomise, save_zeros


def ig65m(classes):
    """The IG-65M port as its documentation describes it, on torchvision's classes: widths of Caffe2, eps 1e-3."""
    net = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, list(R34), R2Plus1dStem, num_classes=classes)
    for stage, width in ((net.layer2, 128), (net.layer3, 256), (net.layer4, 512)):
        stage[0].conv2[0] = Conv2Plus1D(width, width, 27 * width // 12)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    return net


@pytest.mark.parametrize(
    "theirs, ours",
    [
        (lambda: r2plus1d_18(num_classes=3), lambda: R2Plus1DNet(3)),
        (lambda: ig65m(3), lambda: R2Plus1DNet(3, R34, IG65M)),
    ],
)
def test_torchvisions_weights_give_torchvisions_answers(theirs, ours):
    theirs, ours = randomise(theirs()), ours().double().eval()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert_same_answers(ours, theirs, torch.randn(1, 3, 5, 24, 24, dtype=torch.float64))


def test_published_code_gives_the_same_answers(tmp_path):
    check_oracle("r2plus1d-34-mmaction2", "r2plus1d:preset=r34", tmp_path)


def test_middle_widths_are_those_of_the_published_networks():
    blocks = ((64, 64, 144), (64, 128, 230), (128, 128, 288), (128, 256, 460), (256, 512, 921), (512, 512, 1152))
    assert [middle(channels, out, 3) for channels, out, _ in blocks] == [width for _, _, width in blocks]
    assert [middle(channels, 2 * channels, 1) for channels in (64, 128, 256)] == [54, 109, 219]
    assert middle(3, 64, 7) == 83


@pytest.mark.parametrize("frames, size", [(8, 64), (5, 97), (1, 33)])
def test_gradient_reaches_every_frame_and_order_matters(frames, size):
    model = build_model(resolve("model", f"r2plus1d:weights=random,frames={frames},size={size}"), "none", "abc")
    clips = torch.rand(2, 3, frames, size, size)
    logits, grad = answers(model, clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert frames == 1 or not torch.allclose(model(clips.flip(2)), logits, rtol=1e-3, atol=0)
        torch.testing.assert_close(model(clips[1:]), logits[1:], rtol=1e-4, atol=1e-6)


def test_a_file_of_another_depth_is_named(tmp_path):
    with torch.device("meta"):
        save_zeros(FAMILY.presets["r34-ig65m"].make(3), tmp_path / "other.pth")
    with pytest.raises(InputError, match="use r2plus1d:preset=r34-ig65m"):
        build_model(resolve("model", f"r2plus1d:preset=r18,weights={tmp_path}/other.pth"), "none", "abc")
