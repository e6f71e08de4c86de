"""What every architecture must keep; a new model file is tested the moment it exists."""

import importlib

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.family import TINY_INPUT

ENTRIES = {name: entry for name, entry in registry.entries("model").items() if "preset" in {field.name for field in entry.fields}}
PRESETS = {
    name: next(field.choices for field in entry.fields if field.name == "preset") for name, entry in sorted(ENTRIES.items())
}
EVERY = [(name, preset) for name, presets in PRESETS.items() for preset in presets]
TINY = [(name, preset) for name, preset in EVERY if preset.startswith("tiny")]


def family(name):
    module = importlib.import_module(ENTRIES[name].module)
    return next(one for one in vars(module).values() if getattr(one, "name", None) == name and hasattr(one, "presets"))


def tiny(name, preset, **values):
    text = ",".join(f"{key}={value}" for key, value in values.items())
    return build_model(
        registry.resolve("model", f"{name}:preset={preset},weights=random{',' + text if text else ''}"), "none", "abcde"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_the_choices_are_the_presets_and_tiny_is_the_default(name):
    assert set(PRESETS[name]) == set(family(name).presets)
    assert next(field.default for field in ENTRIES[name].fields if field.name == "preset") == "tiny"


@pytest.mark.parametrize(("name", "preset"), TINY)
def test_tiny_presets_share_an_input_and_stay_small(name, preset):
    model = tiny(name, preset)
    assert model.input == TINY_INPUT
    assert sum(value.numel() * value.element_size() for value in model.net.state_dict().values()) < 2_000_000


@pytest.mark.parametrize(("name", "preset"), TINY)
def test_the_gradient_is_exact_and_reaches_every_frame(name, preset):
    model = tiny(name, preset).double()
    seeded = torch.Generator().manual_seed(3)
    clips = torch.rand(1, 3, 8, 64, 64, dtype=torch.float64, generator=seeded).requires_grad_()
    (grad,) = torch.autograd.grad(model(clips)[:, 1].sum(), clips)
    assert (grad.abs().amax(dim=(1, 3, 4)) > 0).all()
    direction = torch.randn(clips.shape, generator=seeded, dtype=torch.float64)
    with torch.inference_mode():
        ahead, back = (float(model(clips + sign * 1e-9 * direction)[0, 1]) for sign in (1, -1))
    assert (ahead - back) / 2e-9 == pytest.approx(float((grad * direction).sum()), rel=1e-3)


@pytest.mark.parametrize(("name", "preset"), TINY)
def test_clips_of_a_batch_do_not_mix_and_the_order_of_frames_matters(name, preset):
    model, clips = tiny(name, preset), torch.rand(3, 3, 8, 64, 64)
    with torch.inference_mode():
        together, alone = model(clips), model(clips[1:2])
        turned = model(clips.flip(2))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, turned, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "preset"), TINY)
@pytest.mark.parametrize("shape", [(2, 3, 9, 64, 64), (2, 4, 8, 64, 64), (2, 3, 8, 63, 64), (3, 8, 64, 64)])
def test_clips_of_another_shape_are_refused_in_one_line(name, preset, shape):
    with pytest.raises(InputError, match=r"must be \(N, 3, 8, 64, 64\)"):
        tiny(name, preset)(torch.rand(shape))


@pytest.mark.parametrize(("name", "preset"), TINY)
def test_other_frames_and_sizes_work_or_are_refused_in_one_line(name, preset):
    chosen = family(name).presets[preset]
    if chosen.fixed:
        with pytest.raises(InputError, match="takes 8 frames of 64 pixels"):
            tiny(name, preset, frames=16, size=96)
        return
    model = tiny(name, preset, frames=16, size=96)
    assert model(torch.rand(1, 3, 16, 96, 96)).shape == (1, 5)
    if chosen.frames_step > 1:
        with pytest.raises(InputError, match=f"frames: 9 is not a multiple of {chosen.frames_step}"):
            tiny(name, preset, frames=9)


@pytest.mark.parametrize(("name", "preset"), EVERY)
def test_every_preset_can_be_built_and_ends_in_its_classifier(name, preset):
    one = family(name)
    with torch.device("meta"):
        state = one.presets[preset].make(7).state_dict()
    head = [key for key in state if key.startswith(f"{one.head}.")]
    assert head and all(state[key].shape[0] == 7 for key in head)
    assert not any(layout.matches(state) for layout in one.layouts), "our own names look like a foreign layout"


@pytest.mark.parametrize("name", PRESETS)
def test_a_checkpoint_of_another_architecture_is_refused(name, tmp_path):
    torch.save({"classifier.weight": torch.zeros(5, 3), "blocks.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not fit"):
        build_model(registry.resolve("model", f"{name}:weights={tmp_path}/other.pth"), "none", "abcde")


@pytest.mark.parametrize("name", PRESETS)
def test_a_checkpoint_with_other_classes_says_both_numbers(name, tmp_path):
    with torch.device("meta"):
        state = family(name).presets["tiny"].make(7).state_dict()
    torch.save({key: torch.zeros(value.shape, dtype=value.dtype) for key, value in state.items()}, tmp_path / "seven.pth")
    with pytest.raises(InputError, match="has 7 classes, the data set has 5"):
        build_model(registry.resolve("model", f"{name}:weights={tmp_path}/seven.pth"), "none", "abcde")
