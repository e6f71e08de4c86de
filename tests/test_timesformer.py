"""TimeSformer against mmaction2's figures and transformers' own network."""

import re

import pytest
import torch
from oracles import check_oracle
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.timesformer import FAMILY
from transformers import TimesformerConfig, TimesformerForVideoClassification
from upstream import answers, save_zeros


@pytest.fixture(scope="module")
def tiny():
    return build_model(resolve("model", "timesformer:weights=random-2"), "none", "abc")


def test_published_code_gives_the_same_answers(tmp_path):
    model = check_oracle("timesformer-mmaction2", "timesformer:preset=base", tmp_path)
    assert (model.input.mean, model.input.std, model.input.rate) == ((0.5,) * 3, (0.5,) * 3, 0.0)


def test_transformers_own_network_gives_the_same_answers(tiny):
    theirs = TimesformerForVideoClassification(tiny.net.config).eval()
    theirs.load_state_dict(tiny.net.state_dict())
    clips = torch.randn(2, 8, 3, 64, 64)
    eager = answers(lambda clips: theirs(clips).logits, clips)
    for mine, literal in zip(answers(tiny.net, clips), eager, strict=True):
        torch.testing.assert_close(mine, literal, rtol=1e-4, atol=1e-5 * float(literal.abs().max()))


def authors(key):
    """One of transformers' keys as the authors name it (timesformer/models/vit.py)."""
    for theirs, ours in (
        ("cls_token", "timesformer.embeddings.cls_token"),
        ("pos_embed", "timesformer.embeddings.position_embeddings"),
        ("time_embed", "timesformer.embeddings.time_embeddings"),
        ("patch_embed.proj", "timesformer.embeddings.patch_embeddings.projection"),
        ("norm", "timesformer.layernorm"),
        ("head", "classifier"),
        ("temporal_attn.qkv", "temporal_attention.attention.qkv"),
        ("temporal_attn.proj", "temporal_attention.output.dense"),
        ("attn.qkv", "attention.attention.qkv"),
        ("attn.proj", "attention.output.dense"),
        ("temporal_fc", "temporal_dense"),
        ("temporal_norm1", "temporal_layernorm"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):
        key = key.replace(ours, theirs)
    return "model." + re.sub(r"^timesformer\.encoder\.layer\.", "blocks.", key)


def test_the_authors_names_are_read(tiny, tmp_path):
    state = {authors(key): value for key, value in tiny.net.state_dict().items()}
    expected = {"model.blocks.0.temporal_attn.qkv.weight", "model.blocks.1.norm2.bias", "model.blocks.1.mlp.fc1.weight"}
    assert expected | {"model.time_embed", "model.norm.weight", "model.blocks.0.temporal_norm1.weight"} <= set(state)
    torch.save({"model_state": state, "epoch": 15}, tmp_path / "tiny.pyth")
    read = build_model(resolve("model", f"timesformer:weights={tmp_path}/tiny.pyth"), "none", "abc")
    assert all(torch.equal(value, read.net.state_dict()[key]) for key, value in tiny.net.state_dict().items())
    assert read.input == tiny.input


def test_full_sizes_are_those_of_the_paper():
    published = TimesformerConfig(num_labels=400)
    with torch.device("meta"):
        nets = {name: FAMILY.presets[name].make(400) for name in ("base", "hr", "large", "large64", "9x12")}
        theirs = TimesformerForVideoClassification(published).state_dict()
    base = nets["base"].state_dict()
    assert {key: value.shape for key, value in base.items()} == {key: value.shape for key, value in theirs.items()}
    assert sum(value.numel() for value in base.values()) / 1e6 == pytest.approx(121.57, abs=0.005)
    shapes = {
        name: (net.timesformer.embeddings.time_embeddings.shape[1], net.timesformer.embeddings.position_embeddings.shape[1])
        for name, net in nets.items()
    }
    assert shapes == {"base": (8, 197), "hr": (16, 785), "large": (96, 197), "large64": (64, 197), "9x12": (9, 197)}
    spans = {name: FAMILY.presets[name].input.frames * FAMILY.presets[name].input.interval for name in nets}
    assert spans == {"base": 256, "hr": 256, "large": 384, "large64": 256, "9x12": 108}


def test_gradient_reaches_every_frame_and_order_matters(tiny):
    clips = torch.rand(2, 3, 8, 64, 64)
    logits, grad = answers(tiny, clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    with torch.inference_mode():
        assert not torch.allclose(tiny(clips.flip(2)), logits, rtol=1e-3, atol=0)


def test_frames_and_sizes_are_fixed_and_files_of_others_are_named(tmp_path):
    with pytest.raises(InputError, match="it takes 8 frames of 224 pixels, not 16 of 224; leave frames and size out"):
        build_model(resolve("model", "timesformer:preset=base,frames=16,weights=random"), "none", "abc")
    with torch.device("meta"):
        save_zeros(FAMILY.presets["hr"].make(3), tmp_path / "hr.pth")
    with pytest.raises(InputError, match="the checkpoint looks like a TimeSformer-HR; use timesformer:preset=hr"):
        build_model(resolve("model", f"timesformer:weights={tmp_path}/hr.pth"), "none", "abc")
