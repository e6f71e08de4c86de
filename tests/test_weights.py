"""Checkpoints: data only, strict, and errors that say what is wrong."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models import zoo
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.tsm import R50, TSMNet
from robustvideo.benchmark.models.weights import load_state
from safetensors.torch import save_file

CLASSES = ("a", "b", "c")


def tiny_state(classes=3):
    torch.manual_seed(1)
    return build_model(resolve("model", "tsm:weights=random-1"), "none", "abcdefgh"[:classes]).net.state_dict()


def contiguous(state):
    return {key: value.contiguous() for key, value in state.items()}


def build(path, preset="tiny"):
    return build_model(resolve("model", f"tsm:preset={preset},weights={path}"), "none", CLASSES)


def same(model, state):
    return all(torch.equal(value, state[key]) for key, value in model.net.state_dict().items())


class Evil:
    """Pickles as a call that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path, protocol, wrapped, zipped):
    trace = tmp_path / "trace"
    content = {"state_dict": tiny_state(), "meta": Evil(trace)} if wrapped else Evil(trace)
    torch.save(content, tmp_path / "evil.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    # torch's safe reader knows protocol 2 only, so it does not get as far as the call in later ones.
    with pytest.raises(InputError, match="mkdir to be read, and code in .* never run" if protocol == 2 else "damaged") as caught:
        build(tmp_path / "evil.pth")
    assert not trace.exists() and "\n" not in str(caught.value)


def test_the_evil_pickle_would_have_run(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "trace")))
    pickle.loads((tmp_path / "evil.pkl").read_bytes())
    assert (tmp_path / "trace").exists()


def write_bad(kind, path):
    if kind == "text":
        path.write_text("these are not the weights you are looking for")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(path.with_name("trace"))))
    elif kind == "truncated":
        torch.save(tiny_state(), path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "numbers":
        torch.save({"state_dict": {"fc.weight": 3}}, path)
    elif kind == "no weights":
        torch.save({}, path)


BAD = ("text", "empty", "folder", "bare pickle", "truncated", "tensor", "numbers", "no weights", "missing")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", BAD)
def test_no_checkpoint_is_one_clear_line(tmp_path, kind, suffix):
    path = tmp_path / f"file{suffix}"
    write_bad(kind, path)
    with pytest.raises(InputError, match="model tsm: weights: ") as caught:
        build(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "trace").exists()


def test_truncated_safetensors(tmp_path):
    save_file(contiguous(tiny_state()), tmp_path / "tiny.safetensors")
    content = (tmp_path / "tiny.safetensors").read_bytes()
    for size in (4, 300, len(content) - 1):
        (tmp_path / "cut.safetensors").write_bytes(content[:size])
        with pytest.raises(InputError, match="damaged"):
            build(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes(tmp_path, wrapper, prefix):
    state = tiny_state()
    named = {f"{prefix}{key}": value for key, value in state.items()}
    torch.save({wrapper: named, "epoch": 3, "best": 0.5} if wrapper else named, tmp_path / "file.pth")
    assert set(load_state(tmp_path / "file.pth")) == set(state)
    assert same(build(tmp_path / "file.pth"), state)


def test_batch_counters_may_be_missing_and_half_precision_is_read(tmp_path):
    state = tiny_state()
    kept = {key: value.half() for key, value in contiguous(state).items() if "num_batches" not in key}
    save_file(kept, tmp_path / "half.safetensors")
    model = build(tmp_path / "half.safetensors")
    assert torch.equal(model.net.fc.weight, state["fc.weight"].half().float())


def failure(state, path, preset="tiny"):
    torch.save(state, path)
    with pytest.raises(InputError) as caught:
        build(path, preset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_number_of_classes(tmp_path):
    assert "the checkpoint has 5 classes, the data set has 3" in failure(tiny_state(5), tmp_path / "five.pth")


def test_another_preset_is_recognised(tmp_path):
    message = failure(TSMNet(174, layers=R50).state_dict(), tmp_path / "r50.pth")
    assert "looks like a ResNet-50" in message and "use tsm:preset=r50" in message
    message = failure(tiny_state(), tmp_path / "tiny.pth", "r50")
    assert "looks like a tiny ResNet" in message and "use tsm:preset=tiny" in message


def test_missing_unexpected_and_misshapen_keys_are_named(tmp_path):
    state = tiny_state()
    less = {key: value for key, value in state.items() if not key.startswith("layer2")}
    message = failure(less, tmp_path / "less.pth")
    assert "missing (layer2.0.conv1.weight, layer2.0.bn1.weight, layer2.0.bn1.bias, ...)" in message
    assert "1 unexpected (aux.weight)" in failure(state | {"aux.weight": torch.zeros(1)}, tmp_path / "more.pth")
    message = failure(state | {"conv1.weight": torch.zeros(2, 2)}, tmp_path / "shape.pth")
    assert "1 of another shape (conv1.weight)" in message
    assert "fc.bias" in failure(state | {"fc.bias": torch.zeros(())}, tmp_path / "scalar.pth")
    assert "2 classes" in failure(state | {"fc.bias": torch.zeros(2)}, tmp_path / "bias.pth")


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    state = tiny_state()
    state["fc.bias"][0] = torch.nan
    assert "not finite" in failure(state, tmp_path / "nan.pth")


def test_auto_without_a_shipped_file():
    with pytest.raises(InputError, match="tsm has no shipped weights for data set nowhere; give weights=FILE"):
        build_model(resolve("model", "tsm"), "nowhere", CLASSES)


def test_auto_takes_the_shipped_file_and_checks_its_hash(tmp_path, monkeypatch):
    from robustvideo.benchmark.training.recipe import write_checkpoint

    trained = build_model(resolve("model", "tsm:weights=random-7"), "toy", CLASSES)
    path = tmp_path / zoo.file_name("tsm", "tiny", "toy")
    write_checkpoint(trained.net, {"seed": 7}, path)
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    model = build_model(resolve("model", "tsm"), "toy", CLASSES)
    assert same(model, trained.net.state_dict())
    assert model.card["seed"] == 7 and model.weights_sha256 == model.card["sha256"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is not the file"):
        build_model(resolve("model", "tsm"), "toy", CLASSES)
    zoo.card_path(path).write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        build_model(resolve("model", "tsm"), "toy", CLASSES)


def test_random_is_deterministic_and_leaves_the_global_state():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (
        build_model(resolve("model", f"tsm:weights={weights}"), "none", CLASSES) for weights in ("random", "random-0", "random-1")
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_what_training_scripts_put_beside_the_weights(tmp_path):
    """Optimizer state and best accuracies, which NumPy may have counted, are left aside; nothing of NumPy is called."""
    net = TSMNet(3, 8, (1, 1, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net.eval()(torch.rand(1, 4, 3, 32, 32)).sum().backward()
    optimizer.step()
    told = {"epoch": 45, "arch": "resnet50", "best_prec1": torch.tensor(61.2), "optimizer": optimizer.state_dict()}
    scalars = {"best": np.float64(61.2), "top5": np.float32(85.0), "steps": np.int64(7), "done": np.bool_(True)}
    for number, zipped in enumerate((True, False)):
        path = tmp_path / f"{number}.pth.tar"
        torch.save({"state_dict": net.state_dict()} | told | scalars, path, _use_new_zipfile_serialization=zipped)
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in load_state(path).items())


def test_numpy_before_and_after_its_second_version(tmp_path):
    """Files say numpy.core or numpy._core, as the NumPy that wrote them; either is read, whichever is here."""
    torch.save({"state_dict": tiny_state(), "best": np.float64(1.5)}, tmp_path / "new.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "new.pth").read_bytes()
    assert b"numpy._core.multiarray" in content or b"numpy.core.multiarray" in content
    for there, name in ((b"numpy._core.multiarray", "old"), (b"numpy.core.multiarray", "newer")):
        other = b"numpy.core.multiarray" if there.startswith(b"numpy._") else b"numpy._core.multiarray"
        (tmp_path / f"{name}.pth").write_bytes(content.replace(there + b"\n", other + b"\n"))
        assert set(load_state(tmp_path / f"{name}.pth")) == set(tiny_state())


def test_the_stand_in_for_numpy_opens_no_door(tmp_path):
    """Arrays, which NumPy would have to rebuild from the file's own description, are still refused."""
    torch.save({"state_dict": tiny_state(), "curve": np.zeros(3)}, tmp_path / "array.pth")
    with pytest.raises(InputError, match=r"needs numpy\.\w+\.multiarray\._reconstruct to be read, and code"):
        load_state(tmp_path / "array.pth")
    assert not any("numpy" in str(allowed) for allowed in torch.serialization.get_safe_globals())


class HistoryBuffer:
    """As mmengine's, which unpublished checkpoints of mmaction2 hold."""


@pytest.mark.parametrize(
    "value", [argparse.Namespace(lr=0.1), HistoryBuffer(), Path("a")], ids=lambda value: type(value).__name__
)
def test_objects_are_refused_with_the_way_out(tmp_path, value):
    torch.save({"state_dict": tiny_state(), "args": value}, tmp_path / "file.pth")
    with pytest.raises(
        InputError, match=rf"file.pth needs [\w.]*{type(value).__name__} to be read, and code in .* never run"
    ) as caught:
        load_state(tmp_path / "file.pth")
    for hint in ("weights_only=False", "container", "save_file"):
        assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", ["<!DOCTYPE html>", "\n  <html lang='en'>"])
def test_a_page_saved_under_the_name_of_a_checkpoint(tmp_path, start):
    (tmp_path / "drive.pth").write_text(f"{start}<title>Google Drive - Virus scan warning</title>")
    with pytest.raises(InputError, match="drive.pth is an HTML page, no checkpoint.*download it by hand"):
        load_state(tmp_path / "drive.pth")


def test_an_archive_around_a_checkpoint(tmp_path):
    torch.save(tiny_state(), tmp_path / "inner.pth")
    with zipfile.ZipFile(tmp_path / "all.pth", "w") as archive:
        archive.write(tmp_path / "inner.pth", "weights/inner.pth")
    with pytest.raises(InputError, match="is a zip archive of weights/inner.pth, none that torch.save wrote; unpack it"):
        load_state(tmp_path / "all.pth")


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_half_a_download(tmp_path, part, zipped):
    torch.save({"state_dict": tiny_state()}, tmp_path / "cut.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="cut.pth is damaged or no checkpoint"):
        load_state(tmp_path / "cut.pth")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def denied(path, *words):
        raise PermissionError(13, "Permission denied")

    torch.save(tiny_state(), tmp_path / "file.pth")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match="file.pth cannot be read: Permission denied"):
        load_state(tmp_path / "file.pth")
