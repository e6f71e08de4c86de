"""Hugging Face classifiers against transformers' own networks and preprocessors, on tiny folders that the tests write."""

import json

import numpy as np
import pytest
import torch
import transformers
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.hf_input import KINDS
from safetensors.torch import load_file, save_file
from transformers.utils import logging
from upstream import answers

CLASSES = ("jump", "run", "sit down")
NAMES = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: index for index, name in enumerate(CLASSES)}}
SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
CONFIGS = {
    "videomae": dict(image_size=32, patch_size=16, num_frames=4, **SMALL),
    "vivit": dict(image_size=32, tubelet_size=[2, 16, 16], num_frames=4, **SMALL),
    "timesformer": dict(image_size=32, patch_size=16, num_frames=4, **SMALL),
    "vjepa2": dict(
        crop_size=32,
        frames_per_clip=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_pooler_layers=1,
        pred_hidden_size=24,
        pred_num_hidden_layers=1,
        pred_num_attention_heads=2,
    ),
}
CROP = dict(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
PROCESSORS = {
    "videomae": transformers.VideoMAEImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4], **CROP),
    "vivit": transformers.VivitImageProcessor(**CROP),
    "timesformer": transformers.VideoMAEImageProcessor(image_mean=[0.45] * 3, image_std=[0.225] * 3, **CROP),
    "vjepa2": transformers.VJEPA2VideoProcessor(crop_size={"height": 32, "width": 32}),
}


def write(folder, kind, names=NAMES, seed=1):
    """A folder as a user has it, with the network whose weights it holds."""
    torch.manual_seed(seed)
    config = getattr(transformers, KINDS[kind].config)(**CONFIGS[kind], **names)
    net = getattr(transformers, KINDS[kind].network)(config).eval()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.1 * torch.randn_like(value))
    net.save_pretrained(folder)
    PROCESSORS[kind].save_pretrained(folder)
    return net


def change(folder, name, **values):
    told = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(told | values))


def build(folder, values="", classes=CLASSES):
    return build_model(resolve("model", f"hf:{folder}{values}"), "none", classes)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_to_logits_are_transformers_own(tmp_path, kind):
    theirs = write(tmp_path, kind)
    model = build(tmp_path)
    video = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    prepared = PROCESSORS[kind](list(video) if kind != "vjepa2" else video, return_tensors="pt", do_resize=False)
    clips = torch.from_numpy(video).permute(3, 0, 1, 2)[None] / 255
    with torch.inference_mode():
        torch.testing.assert_close(model(clips), theirs(next(iter(prepared.values()))).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_transformers_own_and_reach_every_frame(tmp_path, kind):
    theirs = write(tmp_path, kind)
    clips = torch.randn(2, 4, 3, 32, 32)
    mine, literal = (answers(net, clips)[1] for net in (build(tmp_path).net, lambda clips: theirs(clips).logits))
    torch.testing.assert_close(mine, literal, rtol=1e-4, atol=1e-6)
    assert (mine.abs().amax(dim=(2, 3, 4)) > 0).all()


def test_inputs_are_those_of_the_architectures(tmp_path):
    inputs = {}
    for kind in KINDS:
        write(tmp_path / kind, kind)
        model = build(tmp_path / kind, ",weights=random")
        assert "unused" not in model.card
        inputs[kind] = model.input
    assert {kind: (spec.frames, spec.size, spec.short_side, spec.sampler, spec.rate) for kind, spec in inputs.items()} == {
        "videomae": (4, 32, 32, "dense", 0.0),
        "vivit": (4, 32, 32, "dense", 0.0),
        "timesformer": (4, 32, 32, "dense", 30.0),
        "vjepa2": (4, 32, 36, "dense", 0.0),
    }
    assert inputs["vivit"].mean == pytest.approx([0.75] * 3) and inputs["vivit"].std == pytest.approx([0.25] * 3)
    published = {kind: [KINDS[kind].interval(frames) for frames in (8, 16, 32, 64, 96)] for kind in KINDS}
    assert published["timesformer"][:2] == [32, 16] and published["timesformer"][4] == 4
    assert published["videomae"][1] == 4 and published["vivit"][2] == 2 and published["vjepa2"][1:4] == [4, 2, 1]


def test_sampler_and_interval(tmp_path):
    write(tmp_path, "videomae")
    assert build(tmp_path, ",sampler=linspace").input.sampler == "linspace"
    assert (build(tmp_path, ",interval=7").input.interval, build(tmp_path).input.interval) == (7, 4)
    something = [f"class {number}" for number in range(174)]
    assert build(tmp_path).input.sampler == "dense"
    write(tmp_path / "ssv2", "videomae", {"num_labels": 174})
    assert build(tmp_path / "ssv2", classes=something).input.sampler == "uniform"


def test_pickles_are_read_as_data_and_safetensors_come_first(tmp_path):
    theirs = write(tmp_path, "videomae")
    first = build(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    assert build(tmp_path).weights_sha256 == first.weights_sha256
    (tmp_path / "model.safetensors").unlink()
    second = build(tmp_path)
    state = first.net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in second.net.state_dict().items())
    assert second.weights_sha256 != first.weights_sha256
    torch.save({"classifier.weight": PROCESSORS}, tmp_path / "pytorch_model.bin")  # needs code to be read
    with pytest.raises(InputError, match="its weights cannot be read"):
        build(tmp_path)


def test_other_classes_are_refused(tmp_path):
    write(tmp_path / "named", "videomae")
    build(tmp_path / "named", classes=("Jump", "run", "sit_down"))
    with pytest.raises(InputError, match="class 2 is 'stand' in the data set and 'sit down' in its weights"):
        build(tmp_path / "named", classes=("jump", "run", "stand"))
    with pytest.raises(InputError, match="its weights know 3 classes, the data set has 2"):
        build(tmp_path / "named", classes=("jump", "run"))
    write(tmp_path / "bare", "videomae", {"num_labels": 3})
    build(tmp_path / "bare", classes="xyz")
    with pytest.raises(InputError, match="its weights know 3 classes, the data set has 4"):
        build(tmp_path / "bare", classes="wxyz")
    assert build(tmp_path / "bare", ",weights=random", classes="wxyz").classes == 4


def test_random_weights_repeat(tmp_path):
    write(tmp_path, "timesformer")
    (tmp_path / "model.safetensors").unlink()
    one, same, other = (build(tmp_path, f",weights=random-{seed}").weights_sha256 for seed in (1, 1, 2))
    assert one == same != other


def without_classifier(folder):
    state = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in state.items() if "classifier" not in key}, folder / "model.safetensors")


BREAK = {
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "damaged": lambda folder: (folder / "model.safetensors").write_bytes(b"1234567890"),
    "no classifier": without_classifier,
    "another shape": lambda folder: change(folder, "config.json", intermediate_size=48),
    "no preprocessor": lambda folder: (folder / "preprocessor_config.json").unlink(),
    "another crop": lambda folder: change(folder, "preprocessor_config.json", crop_size={"height": 48, "width": 48}),
    "small": lambda folder: change(folder, "preprocessor_config.json", size={"shortest_edge": 16}),
    "no mean": lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32})),
    "another kind": lambda folder: change(folder, "config.json", model_type="bert"),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "wrong value": lambda folder: change(folder, "config.json", hidden_size="many"),
}
BROKEN = {
    "no weights": "holds neither model.safetensors nor pytorch_model.bin",
    "damaged": "its weights cannot be read",
    "no classifier": r"do not fit VideoMAEForVideoClassification: 2 missing \(classifier.bias, classifier.weight\)",
    "another shape": "its weights",
    "no preprocessor": "holds no preprocessor_config.json",
    "another crop": "preprocessor_config.json: it crops to 48 pixels, the network takes 32",
    "small": "has no crop of 32 pixels",
    "no mean": "its image_mean is None; it must be three numbers",
    "another kind": "its architecture is 'bert'; it must be one of videomae, vivit, timesformer, vjepa2",
    "no JSON": "config.json is damaged, it holds no JSON object",
    "wrong value": "config.json is not valid",
}


def test_a_network_that_cannot_be_built_is_one_clear_line(tmp_path):
    write(tmp_path, "videomae")
    change(tmp_path, "config.json", num_attention_heads=5)
    for weights in ("auto", "random"):
        with pytest.raises(InputError, match="not a multiple of the number of attention"):
            build(tmp_path, f",weights={weights}")


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_one_clear_line(tmp_path, how):
    write(tmp_path, "videomae")
    BREAK[how](tmp_path)
    with pytest.raises(InputError, match=BROKEN[how]) as caught:
        build(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"model hf:{tmp_path}")


def test_the_hub_is_not_asked_unless_the_user_says_so(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(InputError, match="the local Hugging Face cache does not hold it; write download=true to fetch it"):
        build("nobody/no-such-model")
    with pytest.raises(InputError, match="there is no folder ./nothing/here"):
        build("./nothing/here")
    with pytest.raises(InputError, match="'best' is unknown; write auto, random or random-<seed>"):
        build("nobody/no-such-model", ",weights=best")


def test_a_cached_repository_is_found(tmp_path, monkeypatch):
    commit = "0" * 40
    home = tmp_path / "models--owner--name"
    write(home / "snapshots" / commit, "videomae")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert build("owner/name").card["model"] == "hf:owner/name"


def test_transformers_settings_are_left_as_they_were(tmp_path):
    write(tmp_path, "videomae")
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    build(tmp_path)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
