"""From a name, a URL or a file to a model with the right weights, input and class order."""

import hashlib
import subprocess
import sys

import pytest
import torch
from conftest_published import toy_world
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.models import download as downloads
from robustvideo.benchmark.models import published
from robustvideo.benchmark.models.build import build_model
from robustvideo.benchmark.models.published import locate, resolve_model


@pytest.fixture
def toys(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    with toy_world(tmp_path, monkeypatch) as site:
        yield site


def build(text, dataset="none", classes="abc"):
    return build_model(resolve_model(text), dataset, list(classes))


def refused(match, call, *values):
    with pytest.raises(InputError, match=match) as caught:
        call(*values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_is_downloaded_once_and_brings_its_own_input(toys, tmp_path, capsys):
    model = build("tsm:weights=checked", "hmdb51")
    assert all(torch.equal(value, toys.state[key]) for key, value in model.net.state_dict().items())
    assert (model.input.frames, model.input.sampler, model.input.channels) == (16, "midpoints", "BGR")
    assert tuple(model.input.mean) == (0.1, 0.2, 0.3) and model.weights_sha256 == toys.sha256
    assert model.card["checkpoint"]["licence"] == "toy licence" and not model.card["checkpoint"]["verified"]
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("downloading checked of tsm, licence toy licence, ")
    assert f"from {toys.url}toy.pth" in shown.err
    build("tsm:weights=checked", "hmdb51")
    assert len(toys.asked) == 1 and capsys.readouterr().err == ""
    (path,) = (tmp_path / "cache" / "weights").rglob("*.pth")
    assert locate("checked", "tsm").path == path


def test_what_nobody_hashed_is_downloaded_with_a_warning(toys, capsys):
    build("tsm:weights=unchecked")
    assert f"not checked, for no sha256 of it is published: {locate('unchecked', 'tsm').path}" in capsys.readouterr().err
    assert toys.sha256 == hashlib.sha256(locate("unchecked", "tsm").path.read_bytes()).hexdigest()


def test_another_file_than_the_card_promises(toys, tmp_path):
    refused("begins with .*, not 00000000", locate, "wrong", "tsm")
    assert not list((tmp_path / "cache").rglob("*.pth*"))


def test_a_cached_file_that_rotted_is_found_out(toys):
    path = locate("checked", "tsm").path
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert "delete it" in refused("is not checked: its sha256 begins with", locate, "checked", "tsm")


def test_a_name_with_a_file_of_ones_own(toys, tmp_path):
    model = build(f"tsm:weights=by-hand@{toys.file}")
    assert model.input.channels == "BGR" and model.input.frames == 16
    assert toys.asked == []
    (tmp_path / "other.pth").write_bytes(b"other")
    refused(f"other.pth is not checked: .* not {toys.sha256[:8]}", locate, f"checked@{tmp_path / 'other.pth'}", "tsm")
    refused("there is no file", build, f"tsm:weights=checked@{tmp_path / 'none.pth'}")
    plain = build(f"tsm:weights={toys.file}")
    assert plain.input.channels == "RGB" and "checkpoint" not in plain.card


def test_downloads_by_hand_say_where_and_how(toys):
    message = refused("must be downloaded by hand from https://example.org/toys", locate, "by-hand", "tsm")
    assert "toy licence" in message and message.endswith("then write weights=by-hand@FILE")


def test_offline(toys, monkeypatch):
    monkeypatch.setenv("VBENCH_OFFLINE", "1")
    refused("VBENCH_OFFLINE forbids downloads", locate, "checked", "tsm")
    monkeypatch.delenv("VBENCH_OFFLINE")
    path = locate("checked", "tsm").path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert locate("checked", "tsm").path == path


def test_near_misses(toys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean checked" in refused("no published checkpoint 'cheked'", locate, "cheked", "tsm")
    assert "vbench weights list --model tsm" in refused("no published checkpoint 'zzz'", locate, "zzz", "tsm")
    assert "did you mean checked" in refused("no published checkpoint 'chcked'", locate, "chcked@some.pth", "tsm")
    (tmp_path / "cheked").write_bytes(b"")
    assert locate("cheked", "tsm").path.is_file()


def test_urls(toys, capsys):
    path = locate(f"{toys.url}net.pth#sha256={toys.sha256}", "tsm").path
    assert path.read_bytes() == toys.content and "not checked" not in capsys.readouterr().err
    name = f"net-{toys.sha256[:8]}.pth"
    assert locate(f"{toys.url}{name}", "tsm").path.name == name
    assert "not checked" not in capsys.readouterr().err
    refused("begins with", locate, f"{toys.url}net-00000000.pth", "tsm")
    refused("is not .*: its sha256 begins with", locate, f"{toys.url}net.pth#sha256={'0' * 64}", "tsm")
    assert locate(f"{toys.url}a/net-20210630.pth?raw=1", "tsm").path.name == "net-20210630.pth"  # a date is no hash
    assert f"sha256 {toys.sha256}" in capsys.readouterr().err
    refused("'md5=1' is no hash", locate, f"{toys.url}net.pth#md5=1", "tsm")
    refused("is no address", locate, "https://[::1/net.pth", "tsm")
    assert build(f"tsm:weights={toys.url}net.pth").input.channels == "RGB"


def test_files_of_one_name_from_two_places_are_kept_apart(toys):
    first, second = (locate(f"{toys.url}{folder}/net.pth", "tsm").path for folder in ("kinetics", "ssv2"))
    assert first != second and first.name == second.name


def test_classes_sorted_by_the_checkpoint_come_out_in_the_data_sets_order(toys):
    clips = torch.rand(2, 3, 16, 64, 64)
    classes = ("zebra", "apple", "Mango")  # by code point: Mango, apple, zebra
    theirs, ours = (build(f"tsm:weights={name}", "hmdb51", classes)(clips) for name in ("checked", "sorted"))
    torch.testing.assert_close(ours, theirs[:, [2, 1, 0]])


def test_a_checkpoint_of_other_classes_is_refused_before_it_is_downloaded(toys):
    message = refused("knows the classes of hmdb51, the data set is ucf101", build, "tsm:weights=checked", "ucf101")
    assert "vbench weights list --model tsm" in message
    refused("the data set is shapes", build, "tsm:weights=checked", "shapes")
    assert toys.asked == []
    build("tsm:weights=checked", "folder")
    refused("has 3 classes, the data set has 2", build, "tsm:weights=checked", "folder", "ab")


def test_the_checkpoint_sets_what_the_user_left_open(toys):
    assert resolve_model("tsm:weights=checked").text == "tsm:preset=tiny,frames=16,size=none"
    assert resolve_model("tsm", weights="big").text == "tsm:preset=r50,frames=16,size=none"
    assert resolve_model("tsm:preset=r50,size=128", weights="big").text == "tsm:preset=r50,frames=16,size=128"
    assert resolve_model("tsm:frames=8,weights=checked").values["frames"] == 8
    assert resolve_model("tsm:weights=unchecked").values["frames"] is None
    assert resolve_model("tsm:weights=big@/some/file.pth").values["preset"] == "r50"
    for text in ("tsm", "tsm:weights=random", "tsm:weights=/a/file.pth", "torchvision:r3d_18"):
        assert str(resolve_model(text)) == str(resolve("model", text))


def test_another_preset_than_the_checkpoints_is_refused(toys):
    message = refused("preset: it is tiny, and checkpoint big is for r50", resolve_model, "tsm:preset=tiny,weights=big")
    assert "leave preset out" in message
    refused("'huge' is unknown", resolve_model, "tsm:preset=huge,weights=big")


def test_requests_python_and_transfer_sources_take_names(toys):
    assert Request(model=["tsm"], weights="big").models()[0].values["preset"] == "r50"
    assert Request(model=["tsm:weights=checked", "tsm"]).models()[0].values["frames"] == 16
    clips, labels = torch.rand(2, 3, 16, 64, 64), torch.tensor([0, 2])
    attacks, threats = ["pgd:eps=2/255,steps=1"], ["transfer:tsm:weights=checked"]
    table = evaluate("tsm:weights=checked", (clips, labels, 3), attacks, threats=threats)
    assert set(table["status"]) == {"ok"} and set(table["model"]) == {"tsm:preset=tiny,frames=16,size=none"}
    assert "transfer:tsm:preset=tiny,frames=16,size=none" in set(table["threat"])
    assert set(table["weights_sha256"]) == {toys.sha256}


def test_the_checkpoints_input_is_part_of_a_cells_identity(toys, tmp_path):
    clips, labels = torch.rand(2, 3, 16, 64, 64), torch.tensor([0, 2])
    for weights in ("checked", f"{toys.file},frames=16"):
        evaluate(f"tsm:weights={weights}", (clips, labels, 3), store=tmp_path / "store")
    assert len(list((tmp_path / "store").rglob("*.json"))) == 2


def test_prefetch_downloads_what_a_run_will_need(toys):
    published.prefetch(resolve_model("tsm"), "shapes")
    published.prefetch(resolve_model("torchvision:r3d_18"), "shapes")
    published.prefetch(resolve_model("tsm:weights=/no/file.pth"), "shapes")
    assert toys.asked == []
    published.prefetch(resolve_model("tsm:weights=checked"), "hmdb51")
    assert len(toys.asked) == 1
    refused("classes of hmdb51", published.prefetch, resolve_model("tsm:weights=checked"), "ssv2")


def test_published_checkpoints_are_known_without_torch():
    code = "import sys; from robustvideo.benchmark.models.published import checkpoints; assert checkpoints('tsm'); "
    code += "assert not {'torch', 'urllib.request', 'numpy'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_torchvisions_models_take_a_url(toys):
    net = build("torchvision:mc3_18,weights=random").net
    torch.save(net.state_dict(), toys.file)
    toys.content = toys.file.read_bytes()
    model = build(f"torchvision:mc3_18,weights={toys.url}mc3.pth")
    assert model.weights_sha256 == hashlib.sha256(toys.content).hexdigest()
