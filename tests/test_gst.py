"""GST and GST-Large against their definition and the answers of the authors' code."""

import pytest
import torch
import torch.nn.functional as F
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.gst import FAMILY, LARGE, GroupedBlock


@pytest.mark.parametrize("beta", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_the_groups_are_their_definition(beta, stride, training):
    """Three in four outputs from frames by themselves, one in four from three frames each; one norm over all of them."""
    torch.manual_seed(0)
    planes, frames, clips = 16, 5, 3
    block = GroupedBlock(64, planes, stride, beta=beta).train(training)
    norm = torch.nn.BatchNorm3d(planes).train(training)
    with torch.no_grad():
        for key in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, key).uniform_(0.5, 1.5)
            getattr(block.bn2, key).copy_(getattr(norm, key)[:12])
            getattr(block.tbn, key).copy_(getattr(norm, key)[12:])
    assert tuple(block.conv2.weight.shape) == (12, planes // beta, 3, 3)
    assert tuple(block.tconv.weight.shape) == (4, planes // beta, 3, 3, 3)
    x = torch.randn(clips, planes, frames, 8, 8)
    left, right = (x, x) if beta == 1 else x.chunk(2, dim=1)
    spatial = F.conv3d(left, block.conv2.weight.unsqueeze(2), stride=(1, stride, stride), padding=(0, 1, 1))
    temporal = F.conv3d(right, block.tconv.weight, stride=(1, stride, stride), padding=1)
    wanted = norm(torch.cat((spatial, temporal), dim=1))
    ours = block.middle(x.transpose(1, 2).flatten(0, 1), frames).unflatten(0, (clips, frames)).transpose(1, 2)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_the_large_net_has_more_weights():
    with torch.device("meta"):
        sizes = [sum(value.numel() for value in family.presets["r50"].make(174).parameters()) for family in (FAMILY, LARGE)]
    assert [round(size / 1e6, 2) for size in sizes] == [21.04, 29.52]


def build(spec):
    return build_model(resolve("model", spec), "none", "abc")


@pytest.mark.parametrize("name", ["gst", "gst-large"])
@pytest.mark.parametrize("frames", [1, 3, 16])
def test_any_number_of_frames(name, frames):
    model = build(f"{name}:frames={frames},weights=random")
    assert model(torch.rand(2, 3, frames, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize("name", ["gst", "gst-large"])
def test_gradient_reaches_every_frame_and_order_matters(name):
    model = build(f"{name}:weights=random")
    clips = torch.rand(2, 3, 8, 64, 64, requires_grad=True)
    (grad,) = torch.autograd.grad(model(clips)[:, 0].sum(), clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert not torch.allclose(model(clips), model(clips.flip(2)), rtol=1e-3, atol=0)


def authors(state):
    """Our names and shapes as the authors'."""
    out = {}
    for key, value in state.items():
        if ".tbn." in key:
            continue
        if ".bn2." in key and value.dim():
            value = torch.cat((value, state[key.replace(".bn2.", ".tbn.")]))
        key = key.replace(".tconv.", ".Tconv.").replace("fc.", "new_fc.")
        out[key if key.startswith("new_fc") else f"base_model.{key}"] = value.unsqueeze(2) if value.dim() == 4 else value
    return out


@pytest.mark.parametrize("family", [FAMILY, LARGE], ids=lambda family: family.name)
def test_a_file_of_the_authors_with_and_without_prefix(family, tmp_path):
    torch.manual_seed(0)
    net = family.presets["tiny"].make(3).eval()
    state = authors(net.state_dict())
    clips = torch.rand(1, 3, 8, 64, 64)
    with torch.inference_mode():
        wanted = net((clips.transpose(1, 2) - 0.5) / 0.25)
        for prefix in ("module.", ""):
            named = {prefix + key.removeprefix("" if prefix else "base_model."): value for key, value in state.items()}
            torch.save({"state_dict": named}, tmp_path / "tiny.pth")
            torch.testing.assert_close(build(f"{family.name}:weights={tmp_path}/tiny.pth")(clips), wanted)


def test_a_file_of_another_depth_is_recognised_and_one_of_the_large_net_refused(tmp_path):
    with torch.device("meta"):
        shapes = {name: authors(LARGE.presets[name].make(3).state_dict()) for name in ("r50", "r101")}
    for name, state in shapes.items():
        torch.save({key: torch.zeros(()).expand(value.shape) for key, value in state.items()}, tmp_path / f"{name}.pth")
    with pytest.raises(InputError, match="looks like a ResNet-101 GST-Large; use gst-large:preset=r101"):
        build(f"gst-large:weights={tmp_path}/r101.pth")
    with pytest.raises(InputError, match="of another shape"):
        build(f"gst:preset=r50,weights={tmp_path}/r50.pth")


def test_published_code_gives_the_same_answers(tmp_path):
    check_oracle("gst", "gst:preset=r50", tmp_path)
