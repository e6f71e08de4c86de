"""Models from torchvision and from a user's file: the contract of `build_model`."""

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.core.registry import find, resolve
from robustvideo.benchmark.data.transform import to_input
from robustvideo.benchmark.models import torchvision_video
from robustvideo.benchmark.models.build import build_model, state_sha256, wrap_module
from torch import nn
from torchvision.models import get_model_weights, list_models, video

CLASSES = ("a", "b", "c")
SPEC = InputSpec(frames=4, size=8, short_side=8)

HEADER = """
import torch
from torch import nn
from robustvideo.benchmark.core.interfaces import InputSpec, Model

SPEC = InputSpec(frames=4, size=8, short_side=8)

class Net(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.fc, self.drop = nn.Linear(3, out), nn.Dropout(0.9)
    def forward(self, clips):
        return self.drop(self.fc(clips.mean(dim=(2, 3, 4))))

class Frames(Net):
    def forward(self, clips):
        return self.fc(clips.mean(dim=(3, 4)).transpose(1, 2))
"""


def user(tmp_path, body, values=""):
    (tmp_path / "mine.py").write_text(f"{HEADER}\ndef build(bias: float = 0.0):\n    {body}\n")
    return build_model(resolve("model", f"{tmp_path}/mine.py:build{values}"), "none", CLASSES)


def test_a_users_builder(tmp_path):
    body = "net = Net(3); nn.init.zeros_(net.fc.weight); nn.init.constant_(net.fc.bias, bias); return Model(net, SPEC, classes=3)"
    model = user(tmp_path, body, ":bias=2.5")
    assert torch.equal(model(torch.rand(2, 3, 4, 8, 8)), torch.full((2, 3), 2.5))
    assert not model.training and not any(value.requires_grad for value in model.parameters())
    assert model.name == f"{tmp_path}/mine.py:build:bias=2.5"
    assert model.weights_sha256 == user(tmp_path, body, ":bias=2.5").weights_sha256
    assert model.weights_sha256 != user(tmp_path, body, ":bias=2.6").weights_sha256


BAD = {
    "raise ValueError('no\\nluck')": "it failed with ValueError: no",
    "import not_there": "it failed with ModuleNotFoundError",
    "return Net(3)": r"a plain nn.Module, it must return a Model; wrap it: Model\(net, InputSpec\(",
    "return 3": "it returned 'int'",
    "return None": "it returned 'NoneType'",
    "return Model(Net(2), SPEC, classes=2)": "the model has 2 classes, data set none has 3",
    "return Model(Net(5), SPEC, classes=3)": r"returned shape \(2, 5\), it must return logits \(N, K\)",
    "return Model(Frames(3), SPEC, classes=3)": r"returned shape \(2, 4, 3\)",
    "return Model(nn.Conv2d(3, 3, 1), SPEC, classes=3)": "it failed with RuntimeError",
    "net = Net(3); net.fc.bias.data[0] = torch.nan; return Model(net, SPEC, classes=3)": "not finite",
}


@pytest.mark.parametrize("body", BAD)
def test_a_bad_builder_is_one_clear_line(tmp_path, body):
    with pytest.raises(InputError, match=BAD[body]) as caught:
        user(tmp_path, body)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"model {tmp_path}/mine.py:build")


def test_a_file_that_breaks_while_it_is_imported(tmp_path):
    (tmp_path / "mine.py").write_text("import not_there\n\ndef build():\n    return 1\n")
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        build_model(resolve("model", f"{tmp_path}/mine.py:build"), "none", CLASSES)


def net(out=3):
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, out))


def test_wrap_module_normalises_and_hashes_all_that_matters():
    one = net()
    model = wrap_module(one, InputSpec(4, 8, 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)), 3)
    clips = torch.rand(2, 3, 4, 8, 8)
    torch.testing.assert_close(model(clips), one((clips - 0.5) / 0.25))
    assert state_sha256(model) != state_sha256(wrap_module(one, SPEC, 3)), "another normalisation is another model"
    before = state_sha256(model)
    with torch.no_grad():
        one[2].bias[1] += 1e-6
    assert state_sha256(model) != before
    with pytest.raises(InputError, match=r"shape \(2, 4\)"):
        wrap_module(net(4), SPEC, 3)


def test_logits_must_be_floats():
    class Labels(nn.Module):
        def forward(self, clips):
            return torch.zeros(len(clips), 3, dtype=torch.int64)

    with pytest.raises(InputError, match="not finite numbers"):
        wrap_module(Labels(), SPEC, 3)


def test_every_video_model_of_torchvision_is_offered_with_its_input():
    choices = next(field.choices for field in find("model", "torchvision").fields if field.name == "arch")
    assert set(choices) == set(list_models(module=video))
    specs = {arch: torchvision_video.input_of(get_model_weights(arch)["DEFAULT"]) for arch in choices}
    kinetics = dict(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989), rate=30.0)
    assert specs["r3d_18"] == InputSpec(16, 112, 128, "dense", 2, resize="stretch", long_side=171, **kinetics)
    assert specs["s3d"] == InputSpec(128, 224, 256, "dense", 2, resize="stretch", long_side=256, **kinetics)
    mvit = dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), rate=30.0, resize="bilinear")
    assert specs["mvit_v2_s"] == InputSpec(16, 224, 256, "dense", 4, **mvit)
    assert specs["swin3d_t"] == InputSpec(32, 224, 256, "dense", 2, rate=30.0, resize="bilinear")


@pytest.mark.parametrize("arch", ["r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
@pytest.mark.parametrize("height, width", [(240, 320), (180, 135)])
def test_torchvision_videos_are_prepared_as_its_transform_does(arch, height, width):
    published = get_model_weights(arch)["DEFAULT"]
    spec = torchvision_video.input_of(published)
    frames = np.random.default_rng(0).integers(0, 256, (2, height // 15, width // 15, 3), dtype=np.uint8)
    frames = frames.repeat(15, axis=1).repeat(15, axis=2)
    mean, std = (torch.tensor(value)[:, None, None, None] for value in (spec.mean, spec.std))
    ours = (to_input(frames, spec) / 255 - mean) / std
    theirs = published.transforms()(torch.from_numpy(frames).permute(0, 3, 1, 2))
    # One level of a byte: the two resize with other roundings.
    assert float(((ours - theirs) * std).abs().max()) < 1.01 / 255


def test_torchvision_random():
    model = build_model(resolve("model", "torchvision:mc3_18,weights=random"), "none", CLASSES)
    # Building it has already asked for logits (1, 3) of a clip of this shape.
    assert "untrained" in model.card["note"] and model.classes == 3 and (model.input.frames, model.input.size) == (16, 112)


def test_torchvision_auto_never_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        InputError, match=r"download https://download.pytorch.org/models/mc3_18-a90a0ba3.pth and give weights=FILE"
    ):
        build_model(resolve("model", "torchvision:mc3_18"), "none", CLASSES)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mc3_18-a90a0ba3.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match="its hash differs"):
        build_model(resolve("model", "torchvision:mc3_18"), "none", CLASSES)


def test_torchvision_file_and_classes(tmp_path):
    made = build_model(resolve("model", "torchvision:mc3_18,weights=random-3"), "none", CLASSES)
    torch.save(made.net.state_dict(), tmp_path / "mine.pth")
    spec = resolve("model", f"torchvision:mc3_18,weights={tmp_path}/mine.pth")
    read = build_model(spec, "none", CLASSES).net.state_dict()
    assert all(torch.equal(value, read[key]) for key, value in made.net.state_dict().items())
    with pytest.raises(InputError, match="the checkpoint has 3 classes, the data set has 4"):
        build_model(spec, "none", "abcd")


def test_published_weights_need_the_published_classes():
    published = ("abseiling", "air drumming", "answering questions")
    torchvision_video.check_classes(("Abseiling", "air_drumming", "AnsweringQuestions"), published, "weights")
    with pytest.raises(InputError, match="torchvision's weights know 3 classes, the data set has 2"):
        torchvision_video.check_classes(("abseiling", "air drumming"), published, "weights")
    with pytest.raises(InputError, match="class 1 is 'answering questions' in the data set and 'air drumming'"):
        torchvision_video.check_classes(("abseiling", "answering questions", "air drumming"), published, "weights")
