"""A world with one made-up card, whose checkpoints lie on a local server."""

import hashlib
from contextlib import contextmanager

import torch
from download_server import serving
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models import cards
from robustvideo.benchmark.models.build import build_model

CARD = """
fusion = "mean"
[paper]
title = "T"
authors = "A"
venue = "V"
year = 2019
[presets.tiny]
input = {{ frames = 8, size = 64, short_side = 64, sampler = "uniform", resize = "antialias", mean = [0.5], std = [0.2] }}
classes = 8
parameters = 1
gmacs = 0.1
cam_layer = "layer3.0"
[presets.r50]
input = {{ frames = 8, size = 224, short_side = 256, sampler = "uniform", resize = "antialias", mean = [0.5], std = [0.2] }}
classes = 8
parameters = 1
gmacs = 0.1
cam_layer = "layer4.2"
"""
CHECKPOINT = """
[[checkpoints]]
name = "{name}"
preset = "{preset}"
frames = {frames}
dataset = "hmdb51"
labels = "{labels}"
input = {{ sampler = "midpoints", channels = "BGR", mean = [0.1, 0.2, 0.3] }}
code = "toy"
licence = "toy licence"
published = "99.9: 1 clip"
url = "{url}"
page = "https://example.org/toys"
sha256 = "{sha256}"
verified = false
"""


@contextmanager
def toy_world(tmp_path, monkeypatch):
    """Checkpoints of the tiny TSM for three classes: checked, unchecked, sorted, of a wrong hash, by hand, and of a ResNet-50."""
    for name in ("VBENCH_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    state = build_model(resolve("model", "tsm:weights=random-3"), "none", "abc").net.state_dict()
    torch.save({"state_dict": state}, tmp_path / "toy.pth")
    with serving((tmp_path / "toy.pth").read_bytes()) as site:
        site.state, site.file = state, tmp_path / "toy.pth"
        site.sha256 = hashlib.sha256(site.content).hexdigest()
        common = {"preset": "tiny", "frames": 16, "labels": "official", "sha256": site.sha256[:8]}
        kinds = {
            "checked": {"url": f"{site.url}toy.pth"},
            "unchecked": {"url": f"{site.url}other.pth", "sha256": "", "frames": 0},
            "sorted": {"url": f"{site.url}toy.pth", "labels": "sorted"},
            "wrong": {"url": f"{site.url}wrong.pth", "sha256": "00000000"},
            "by-hand": {"url": ""},
            "big": {"url": f"{site.url}big.pth", "preset": "r50"},
        }
        text = CARD.format() + "".join(CHECKPOINT.format(**common | kind | {"name": name}) for name, kind in kinds.items())
        (tmp_path / "cards").mkdir()
        (tmp_path / "cards" / "tsm.toml").write_text(text)
        monkeypatch.setattr(cards, "FOLDER", tmp_path / "cards")
        cards.card.cache_clear()
        try:
            yield site
        finally:
            cards.card.cache_clear()
