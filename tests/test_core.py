"""Specs, registry, parameters, budgets, randomness, files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.budget import Ball, l2_norm, linf_norm
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.files import write_atomically
from robustvideo.benchmark.core.losses import cross_entropy, cw, dlr
from robustvideo.benchmark.core.params import pixel_text
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.core.specs import Spec, split_chain, split_list


@pytest.mark.parametrize(
    ("texts", "entries"),
    [
        (["pgd:eps=8/255,steps=50,flicker"], ["pgd:eps=8/255,steps=50", "flicker"]),
        (["a,b", "c"], ["a", "b", "c"]),
        (["torchvision:r3d_18,tsm:preset=r50,frames=16"], ["torchvision:r3d_18", "tsm:preset=r50,frames=16"]),
        (["a, b:x=1 , y=2"], ["a", "b:x=1,y=2"]),
        (["my/file.py:Patch:k=1,pgd"], ["my/file.py:Patch:k=1", "pgd"]),
    ],
)
def test_lists(texts, entries):
    assert split_list(texts) == entries


def test_chains():
    assert split_chain("shuffle+smoothing:sigma=1e+3+jpeg") == ["shuffle", "smoothing:sigma=1e+3", "jpeg"]
    with pytest.raises(InputError, match="empty link"):
        split_chain("+shuffle")


def test_specs():
    assert Spec.parse("x.py:Name:k=1", "attack") == Spec("x.py:Name", "", (("k", "1"),))
    assert Spec.parse("torchvision:r3d_18,weights=random", "model") == Spec("torchvision", "r3d_18", (("weights", "random"),))
    for text, message in {
        "pgd:eps=1,eps=2": "twice",
        ":a=1": "no name",
        "pgd:eps=1,steps": "key=value",
        "pgd:=3": "key=value",
    }.items():
        with pytest.raises(InputError, match=message):
            Spec.parse(text, "attack")


@pytest.mark.parametrize(
    ("value", "text"), [(8 / 255, "8/255"), (0.5 / 255, "0.5/255"), (0.2, "51/255"), (0.0, "0"), (1 / 3, "85/255")]
)
def test_pixel_fractions(value, text):
    assert pixel_text(value) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pdg", "did you mean pgd"),
        ("pgd:epz=1", "did you mean eps"),
        ("pgd:eps=abc", "not a number"),
        ("pgd:eps=nan", "not a number"),
        ("pgd:steps=0", "at least 1"),
        ("pgd:steps=2.5", "whole number"),
        ("pgd:norm=l7", "choose from linf, l2"),
        ("pgd:random_start=maybe", "true or false"),
        ("pgd:loss", "not key=value"),
        ("nowhere.py:X", "no file"),
    ],
)
def test_bad_specs_say_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message) as caught:
        registry.resolve("attack", text)
    assert "\n" not in str(caught.value)


def test_canonical_form_fills_in_defaults_and_leaves_paths_out_of_the_identity():
    pgd = registry.resolve("attack", "pgd:steps=7")
    assert str(pgd) == "pgd:norm=linf,eps=4/255,steps=7,step=none,rule=relative,random_start=true,restarts=1,loss=ce,target=none"
    model = registry.resolve("model", "tsm:weights=/tmp/x.pth")
    assert "weights=/tmp/x.pth" in str(model) and "weights" not in model.text


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar
from robustvideo.benchmark.core.params import PIXEL, param

@dataclass(frozen=True)
class Brighten:
    """Adds eps everywhere."""

    version: ClassVar[int] = 1
    eps: float = param(2 / 255, help="shift", unit=PIXEL)
    norm: str = param("linf", help="norm", choices=("linf",))

    def run(self, target, clips, labels, rng):
        return clips + self.eps
'''


def test_a_file_is_a_component(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    component = registry.resolve("attack", f"{file}:Brighten:eps=3/255")
    assert component.create().eps == pytest.approx(3 / 255)
    version = component.entry.version
    file.write_text(PLUGIN + "\n# changed")
    assert registry.resolve("attack", f"{file}:Brighten").entry.version != version
    with pytest.raises(InputError, match="did you mean Brighten"):
        registry.find("attack", f"{file}:Brighter")


def test_an_entry_point_is_a_component(tmp_path):
    """A distribution with an entry point, as another package would install it."""
    (tmp_path / "theirs.py").write_text(PLUGIN)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robustvideo.attacks]\nbrighten = theirs:Brighten\n")
    code = "from robustvideo.benchmark.core import registry; print(registry.resolve('attack', 'brighten').create().eps * 255)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert float(run.stdout) == pytest.approx(2), run.stderr


def test_a_name_is_registered_once(tmp_path, monkeypatch):
    folder = tmp_path / "attacks"
    folder.mkdir()
    text = '@register("attack", "same")\nclass A:\n    """A."""\n'
    (folder / "one.py").write_text(text)
    (folder / "two.py").write_text(text)
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    registry._folder.cache_clear()
    with pytest.raises(InputError, match="one.py and by .*two.py"):
        registry.entries("attack")
    monkeypatch.undo()
    registry._folder.cache_clear()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_the_nearest_point_and_keeps_the_ball(norm):
    clean = torch.rand(3, 3, 2, 4, 4)
    inside = (clean + 0.001).clamp(0, 1)
    torch.testing.assert_close(Ball(clean, norm, 0.5).project(inside.clone()), inside)
    far = Ball(clean, norm, 0.1).project(clean + torch.randn_like(clean))
    assert ((linf_norm if norm == "linf" else l2_norm)(far - clean) <= 0.1 + 1e-6).all()
    start = Ball(clean, norm, 0.1).random(ClipRandom.for_clips("abc", 0, "test"))
    assert ((linf_norm if norm == "linf" else l2_norm)(start - clean) <= 0.1 + 1e-6).all() and (start != clean).any()


def test_losses_by_hand():
    logits, labels = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), torch.tensor([0, 0])
    assert cw(logits, labels).tolist() == [-2.0, 2.0]
    torch.testing.assert_close(dlr(logits, labels), torch.tensor([-2.0 / 3.0, 2.0 / 2.0]))
    torch.testing.assert_close(cross_entropy(logits, labels), -logits.log_softmax(1)[:, 0])
    with pytest.raises(InputError, match="at least 3 classes"):
        dlr(logits[:, :2], labels)


def test_dlr_is_autoattacks(net, clips, labels):
    """The DLR that torchattacks' copy of APGD uses."""
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.APGD(net, loss="dlr").dlr_loss(net(clips), labels)
    torch.testing.assert_close(dlr(net(clips), labels), theirs)


def test_streams_belong_to_clips():
    whole = ClipRandom.for_clips(["a", "b", "c"], 0, "x")
    first, second = whole.uniform((2,)), whole[torch.tensor([2, 0])].uniform((2,))
    alone = ClipRandom.for_clips(["c"], 0, "x")
    torch.testing.assert_close(alone.uniform((2,)), first[2:])
    torch.testing.assert_close(alone.uniform((2,)), second[:1])
    assert not torch.equal(ClipRandom.for_clips(["a"], 1, "x").uniform((2,)), first[:1])
    assert not torch.equal(ClipRandom.for_clips(["a"], 0, "y").uniform((2,)), first[:1])


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "cell.json"
    write_atomically(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["cell.json"]
    assert isinstance(path, Path)
