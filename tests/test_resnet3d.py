"""The 3-D trunk and the non-local block against their definitions and torchvision."""

import pytest
import torch
import torchvision
from robustvideo.benchmark.models.nonlocal_block import NonLocal
from robustvideo.benchmark.models.resnet3d import Plan, ResNet3D, Trunk3D
from upstream import randomise


def literal_non_local(block, x):
    """The paper's Eq. 1 to 4 and 6, one position at a time."""
    value = torch.nn.functional.max_pool3d(block.g(x), (1, 2, 2)).flatten(2)
    embedded = block.pairing != "gaussian"
    key = torch.nn.functional.max_pool3d(block.phi(x) if embedded else x, (1, 2, 2)).flatten(2)
    query = (block.theta(x) if embedded else x).flatten(2)
    out = torch.empty(x.shape[0], value.shape[1], query.shape[2], dtype=x.dtype)
    for n in range(x.shape[0]):
        for i in range(query.shape[2]):
            similar = torch.stack([(query[n, :, i] * key[n, :, j]).sum() for j in range(key.shape[2])])
            weights = similar / len(similar) if block.pairing == "dot" else similar.exp() / similar.exp().sum()
            out[n, :, i] = sum(weights[j] * value[n, :, j] for j in range(key.shape[2]))
    return x + block.norm(block.out(out.view(x.shape[0], -1, *x.shape[2:])))


@pytest.mark.parametrize("pairing", ["dot", "embedded", "gaussian"])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_the_non_local_block_is_its_definition(pairing, format):
    torch.manual_seed(0)
    block = randomise(NonLocal(4, pairing))
    x = torch.randn(2, 4, 3, 5, 4, dtype=torch.float64).contiguous(memory_format=format).requires_grad_()
    ours, literal = block(x), literal_non_local(block, x)
    torch.testing.assert_close(ours, literal)
    assert (ours - x).abs().max() > 0.1
    weight = torch.randn_like(ours)
    (mine,) = torch.autograd.grad((ours * weight).sum(), x)
    (theirs,) = torch.autograd.grad((literal * weight).sum(), x)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("training", [False, True])
def test_without_temporal_kernels_it_is_torchvisions_resnet50(training):
    theirs = torchvision.models.resnet50(weights=None, num_classes=5)
    ours = ResNet3D(5, Plan(), dropout=0.0)
    state = theirs.state_dict()
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict({key: value[:, :, None] if value.dim() == 4 else value for key, value in state.items()})
    frames = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.train(training)(frames)
        found = ours.train(training)(frames[:, :, None])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_features_are_the_maps_behind_every_stage():
    plan = Plan(layers=(1, 2, 1, 1), width=4, stem=(5, 2), pool=(1, 2), halve=True, conv1=((3,),) * 4, stride=2)
    trunk = Trunk3D(plan).eval()
    clips = torch.randn(2, 3, 32, 64, 64)
    shapes = [tuple(level.shape) for level in trunk.features(clips)]
    # The stem takes every second frame, so does the pooling behind it, and the first stage ends in another.
    assert shapes == [(2, 16, 4, 16, 16), (2, 32, 2, 8, 8), (2, 64, 1, 4, 4), (2, 128, 1, 2, 2)]
    assert trunk.widths == (4, 16, 32, 64, 128)
    *_, last = trunk.features(clips)
    again = trunk.stem(clips)
    for name in trunk.stages:
        again = trunk.get_submodule(name)(again)
        again = torch.nn.functional.max_pool3d(again, (2, 1, 1)) if name == "layer1" else again
    assert torch.equal(last, again)


def test_temporal_kernels_repeat_over_the_blocks_of_a_stage():
    trunk = Trunk3D(Plan(layers=(1, 5, 2), width=4, conv1=((1,), (3, 1), (1, 3))))
    kernels = [[block.conv1.kernel_size[0] for block in trunk.get_submodule(name)] for name in trunk.stages]
    assert kernels == [[1], [3, 1, 3, 1, 3], [1, 3]]
