"""Model cards say what the code does, and every published checkpoint they name can be asked for."""

import importlib
import re
from dataclasses import asdict, fields, replace
from urllib.parse import urlsplit

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.core.registry import entries
from robustvideo.benchmark.models import cards
from robustvideo.benchmark.models.family import Family
from torch.utils.flop_counter import FlopCounterMode

CHECKPOINTS = [one for model in cards.models() for one in cards.card(model).checkpoints]
PRESETS = [(model, name) for model in cards.models() for name in cards.card(model).presets]
NAMED = [":".join(pair) for pair in PRESETS]
FULL_SIZE = {model: next(name for name in cards.card(model).presets if "tiny" not in name) for model in cards.models()}
INPUT_FIELDS = {field.name for field in fields(InputSpec)}


def family(model):
    module = importlib.import_module(entries("model")[model].module)
    return next(value for value in vars(module).values() if isinstance(value, Family) and value.name == model)


def choices(model):
    return next(field.choices for field in entries("model")[model].fields if field.name == "preset")


def test_every_architecture_with_presets_has_a_card():
    with_presets = {name for name, entry in entries("model").items() if any(field.name == "preset" for field in entry.fields)}
    assert set(cards.models()) == with_presets


@pytest.mark.parametrize("model", cards.models())
def test_a_card_covers_every_preset(model):
    card = cards.card(model)
    assert list(card.presets) == list(choices(model)) == list(family(model).presets)
    assert card.fusion and 1990 < card.paper.year < 2030
    # Surnames and year stand in the code too; titles may be long.
    assert card.paper.authors.split(",")[0] in family(model).paper and str(card.paper.year) in family(model).paper


def test_an_unknown_model_has_no_card():
    with pytest.raises(InputError, match="'tms' has no card; did you mean tsm"):
        cards.card("tms")


@pytest.mark.parametrize(("model", "preset"), PRESETS, ids=NAMED)
def test_the_input_is_the_codes(model, preset):
    stated, real = cards.card(model).presets[preset].input, asdict(family(model).presets[preset].input)
    assert {"frames", "size", "short_side", "sampler", "resize", "mean", "std"} <= set(stated) <= INPUT_FIELDS
    for name, value in asdict(InputSpec(**stated)).items():
        # The card rounds means and deviations to seven digits.
        assert value == (pytest.approx(real[name], abs=1e-7) if isinstance(value, (float, list)) else real[name]), name


@pytest.mark.parametrize(("model", "preset"), PRESETS, ids=NAMED)
def test_parameters_and_macs_are_the_networks(model, preset):
    """Convolutions and matrix products of the definition: in eval mode some networks compute the same by other means.

    The deepest networks take seconds to build even without weights; for the others of a model only parameters are counted.
    """
    card, code = cards.card(model).presets[preset], family(model)
    spec = code.presets[preset].input
    with torch.device("meta"):
        net = code.presets[preset].make(card.classes).train()
        clips = torch.empty(1, 3, spec.frames, spec.size, spec.size)
    assert sum(value.numel() for value in net.parameters()) == card.parameters
    assert net.get_submodule(card.cam_layer)
    if card.gmacs > 1 and preset != FULL_SIZE[model]:
        return
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(clips.transpose(1, 2) if code.layout == "NTCHW" else clips)
    assert counter.get_total_flops() / 2e9 == pytest.approx(card.gmacs, rel=0.003)


@pytest.mark.parametrize("model", cards.models())
def test_the_layer_of_activation_maps_is_run(model):
    """A hook on it sees maps through which the score's gradient flows."""
    code, seen = family(model), []
    net, spec = code.presets["tiny"].make(2).eval(), code.presets["tiny"].input
    layer = net.get_submodule(cards.card(model).presets["tiny"].cam_layer)
    layer.register_forward_hook(lambda module, given, out: seen.append(out))
    clips = torch.rand(1, 3, spec.frames, spec.size, spec.size)
    score = net(clips.transpose(1, 2) if code.layout == "NTCHW" else clips)[0, 0]
    maps = seen[-1] if isinstance(seen[-1], torch.Tensor) else seen[-1][0]
    assert torch.autograd.grad(score, maps)[0].abs().sum() > 0


@pytest.mark.parametrize("one", CHECKPOINTS, ids=lambda one: f"{one.model}-{one.name}")
def test_a_checkpoint_is_described_in_full(one):
    preset = cards.card(one.model).presets[one.preset]
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", one.name) and not re.fullmatch(r"auto|random(-\d+)?", one.name)
    assert one.dataset in cards.DATASETS and one.labels in cards.LABELS
    assert one.dataset in entries("dataset")
    assert one.frames >= 0 and one.frames != preset.input["frames"], "0 stands for the preset's frames"
    assert set(one.input) <= INPUT_FIELDS - {"frames", "size", "short_side"}
    replace(InputSpec(**preset.input), **one.input)
    assert re.fullmatch(r"|[0-9a-f]{8}|[0-9a-f]{64}", one.sha256)
    assert one.code and one.licence and one.published
    assert one.url or one.page
    for address in filter(None, (one.url, one.page)):
        assert urlsplit(address).scheme == "https" and not re.search(r"[,\s@]|\.\.", address)
    if one.url and "openmmlab" in one.url:
        assert one.url.endswith(f"-{one.sha256}.pth") and one.sha256
    assert not one.verified, "nobody has run it with data yet"


def test_names_and_files_are_not_given_twice():
    for model in cards.models():
        names = [one.name for one in cards.card(model).checkpoints]
        assert len(names) == len(set(names))
    urls = [one.url for one in CHECKPOINTS if one.url]
    assert len(urls) == len(set(urls)) > 80


def test_files_that_a_layout_does_not_know_are_not_offered():
    """A code base may be bound to presets: then its files are listed for these only."""
    told = {"mmaction2": "mmaction2", "pytorchvideo": "pytorchvideo", "decisionforce/TPN": "decisionforce/TPN"}
    checked = 0
    for one in CHECKPOINTS:
        code = next((name for start, name in told.items() if one.code.startswith(start)), None)
        known = [layout for layout in family(one.model).layouts if code and layout.name == code]
        if known:
            checked += 1
            assert any(not layout.presets or one.preset in layout.presets for layout in known), f"{one.model} {one.name}"
    assert checked > 60


def test_what_the_field_fell_for_is_stated():
    """Facts that cost others their accuracy: class orders, channel orders, means that belong to a file."""
    found = {(one.model, one.name): one for one in CHECKPOINTS}
    assert {one.labels for one in CHECKPOINTS if one.name.startswith("mit-ssv1")} == {"sorted"}
    assert {one.labels for one in CHECKPOINTS if one.name.startswith(("mm-ssv1", "mm0-ssv1"))} == {"official"}
    assert found["timesformer", "fb-ssv2"].input["channels"] == "BGR" and not found["timesformer", "fb-k400"].input
    assert found["timesformer", "fb-ssv2"].input["sampler"] == "midpoints"
    assert found["ircsn", "vmz-k400-r152"].input["mean"][0] == pytest.approx(110.2008 / 255, abs=1e-6)
    assert found["tsm", "mit-k400-8f-dense"].input == {"sampler": "dense", "interval": 8}
    assert found["tsm", "mm0-ucf101-8f"].sha256 == "1fae312b" and found["tsm", "mm0-ucf101-8f"].dataset == "ucf101"


def test_measured_costs_agree_with_published_ones():
    """Parameters in millions and GMACs of one clip as the publishers and fvcore give them (mmaction2 with 174 classes)."""
    wanted = {
        ("x3d", "m"): (3.79, 4.73),
        ("x3d", "l"): (6.15, 18.37),
        ("slowfast", "8x8"): (34.57, 50.58),
        ("ircsn", "r152"): (29.70, 74.76),
        ("i3d", "r50"): (28.04, 33.27),
        ("i3d", "r50-nl-embedded"): (35.40, 44.49),
        ("r2plus1d", "r18"): (31.51, 40.64),
        ("timesformer", "base"): (121.57, 196.05),
        ("tpn", "tsm-r50"): (63.67, 41.41),
        ("tsm", "r50-nl-embedded"): (31.68, 61.30),
    }
    for (model, preset), (parameters, gmacs) in wanted.items():
        card = cards.card(model).presets[preset]
        assert card.parameters / 1e6 == pytest.approx(parameters, abs=0.006)
        assert card.gmacs == pytest.approx(gmacs, rel=0.015)
