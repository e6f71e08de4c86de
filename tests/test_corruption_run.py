"""Corruptions through the whole pipeline: cells, rows, files and pictures."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core import registry
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.data.corrupted import Corrupted
from robustvideo.benchmark.data.loader import load, read_clip
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.evaluation.api import evaluate
from robustvideo.benchmark.evaluation.request import Request, severities
from skimage.metrics import peak_signal_noise_ratio

CLIPS = ["--dataset", "shapes", "--limit", "4", "--model", "tsm", "--quiet"]
SPEC = InputSpec(frames=8, size=64, short_side=64)


def vbench(monkeypatch, capsys, *words):
    """Exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["vbench", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def how(text, severity=3, **other):
    component = registry.resolve("corruption", text)
    return Corrupted(component.create(), severity, component.text, **other)


PARITY = """
import torch
from robustvideo.benchmark import InputSpec, Model
from torch import nn


class Even(nn.Module):
    def __init__(self, steady):
        super().__init__()
        self.steady = steady

    def forward(self, clips):
        level = clips[:, 0, 3].mean(dim=(1, 2))
        even = (level * 255 / 5).round() % 2 if not self.steady else torch.zeros(len(clips))
        return torch.stack([even, 1 - even], dim=1)


def build():
    return Model(Even(False), InputSpec(frames=8, size=32, short_side=32, mean=(0, 0, 0), std=(1, 1, 1)), 2)


def steady():
    return Model(Even(True), InputSpec(frames=8, size=32, short_side=32, mean=(0, 0, 0), std=(1, 1, 1)), 2)
"""

MINE = """
from dataclasses import dataclass
from robustvideo.benchmark.core.corruption import Corruption, Pixels


@dataclass(frozen=True)
class Fine(Pixels):
    tables = {"imagenet-c-224": (1, 2, 3, 4, 5)}

    def change(self, clips, setting, rng, rate):
        return clips.mul_(0)


class Wrong(Fine):
    def change(self, clips, setting, rng, rate):
        return clips.float()


class Four(Fine):
    tables = {"imagenet-c-224": (1, 2, 3, 4)}


class Bare(Corruption):
    tables = {"imagenet-c-224": (1, 2, 3, 4, 5)}

    def change(self, clips, setting, rng, rate):
        return clips
"""


def long_clip(folder):
    """Forty grey frames, each brighter than the one before, as pictures in a folder."""
    import cv2

    (folder / "clip").mkdir(parents=True, exist_ok=True)
    for number in range(40):
        level = np.full((32, 32, 3), 5 * number + 20, dtype=np.uint8)
        cv2.imwrite(str(folder / "clip" / f"{number:03d}.png"), level)
    return ClipRecord("long", folder / "clip", 0, "long")


@pytest.fixture(scope="module")
def record():
    return Shapes().records("test")[5]


def test_rows_say_all_dimensions(tmp_path, monkeypatch, capsys):
    spec = "gaussian_noise:table=tiny-64,temporal=static,storage=jpeg85,truncate=false"
    words = ("--corruption", spec, "--severity", "2,5", "--store", tmp_path, "--json")
    code, out, _ = vbench(monkeypatch, capsys, "run", *CLIPS, *words)
    table = pd.DataFrame(json.loads(out))
    assert code == 0 and table["kind"].tolist() == ["clean", "corruption", "corruption"]
    for row in table.iloc[1:].to_dict("records"):
        found = [row[name] for name in ("family", "table", "temporal", "stage", "size", "storage", "truncate")]
        assert found == ["noise", "tiny-64", "static", "frames", 64, "jpeg85", False]
    assert table["severity"].tolist()[1:] == [2, 5]
    assert pd.read_csv(tmp_path / "cells.csv")["corruption"].str.startswith("gaussian_noise:").sum() == 2
    code, _, err = vbench(monkeypatch, capsys, "run", *CLIPS[:-1], *words[:-1], "--reuse", "only-cache")
    assert code == 0 and "3 cells, 3 of them stored before" in err


def test_the_table_for_people_has_a_line_per_corruption(tmp_path, monkeypatch, capsys):
    words = ("--corruption", "contrast,jumble:table=rose2022", "--severity", "1-2", "--defense", "shuffle", "--store", tmp_path)
    code, out, _ = vbench(monkeypatch, capsys, "run", *CLIPS, *words)
    assert code == 0
    assert "top-1 % under corruption; clean 100.0 %" in out and "behind shuffle" in out
    assert out.count("contrast") >= 2 and "published-severities:inverted" in out.replace("\n", "")


def test_results_do_not_depend_on_the_batch_size():
    tables = [
        evaluate("tsm", corruptions=["gaussian_noise", "shake"], severities=[4], limit=5, batch_size=size) for size in (2, 5)
    ]
    assert tables[0]["cell"].tolist() == tables[1]["cell"].tolist()
    assert tables[0]["top1"].tolist() == tables[1]["top1"].tolist()


def test_a_corruption_behind_a_defence_and_with_shifts():
    table = evaluate("tsm", defenses="shuffle", corruptions="gaussian_noise", severities=[5], shifts=2, limit=4)
    assert len(table) == 4 and (table["status"] == "ok").all()
    assert table["flips"].between(0, 1).all()


def test_a_later_moment_shows_every_frame_later(tmp_path):
    """Of the same sampling, not of a shorter clip; beyond the end the last frame stands."""
    record = long_clip(tmp_path)
    for sampler in ("uniform", "dense", "linspace"):
        spec = InputSpec(frames=8, size=32, short_side=32, sampler=sampler, interval=2)
        order = [int(level) for level in read_clip(record, replace(spec, frames=40, sampler="linspace"))[0, :, 16, 16]]
        shown = [[order.index(int(level)) for level in read_clip(record, spec, moment)[0, :, 16, 16]] for moment in (0, 1, 3)]
        assert shown[1] == [min(index + 1, 39) for index in shown[0]]
        assert shown[2] == [min(index + 3, 39) for index in shown[0]]
        recoded = Corrupted(how("contrast:stage=file").corruption, 1, "", moment=3).read(record, spec)
        plain = Corrupted(how("contrast:size=32").corruption, 1, "").frames(read_clip(record, spec, 3)[None], ["a"], spec)[0]
        assert torch.equal(recoded, plain)


def test_flips_are_changes_of_the_decision_from_moment_to_moment(tmp_path):
    """A model that says whether the frame number is even changes its mind at every shift."""
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "b").mkdir()
    for label in "ab":
        long_clip(tmp_path / "videos" / label)
    (tmp_path / "model.py").write_text(PARITY)
    data = f"folder:root={tmp_path / 'videos'}"
    for name, share in (("build", 1.0), ("steady", 0.0)):
        table = evaluate(f"{tmp_path / 'model.py'}:{name}", data, corruptions="contrast:stage=file", severities=3, shifts=4)
        assert table["flips"].tolist() == [share, share], table["error"].tolist()


def test_drift_goes_on_between_sampled_frames(tmp_path):
    """What happens in a second of video happens, however few of its frames are looked at."""
    record = long_clip(tmp_path)
    dense, sparse = (InputSpec(frames=frames, size=32, short_side=32, sampler="linspace") for frames in (40, 14))
    for spec in ("fog:temporal=drift,stage=file", "contrast:stage=file,storage=mp4v"):
        whole, few = how(spec, 5).read(record, dense), how(spec, 5).read(record, sparse)
        assert torch.equal(whole[:, [index * 39 // 13 for index in range(14)]], few)


@pytest.mark.parametrize("spec", ["imgaug:imgcorruptlike.Fog", "gaussian_noise", "glass_blur", "h265_crf", "packet_loss"])
def test_files_are_corrupted_alike_on_any_number_of_threads(spec):
    records, corrupted = Shapes().records("test")[:8], how(f"{spec}:stage=file" if ":" not in spec else f"{spec},stage=file", 5)
    one, many = (torch.cat([batch.clips for batch, _ in load(records, SPEC, 4, workers, corrupted.read)]) for workers in (1, 4))
    assert torch.equal(one, many)


def test_models_that_differ_in_weights_have_tables_of_their_own(tmp_path, monkeypatch, capsys):
    words = ("--corruption", "contrast", "--severity", "1", "--store", tmp_path)
    code, out, _ = vbench(monkeypatch, capsys, "run", *CLIPS, "--model", "tsm:weights=random-1", *words)
    assert code == 0 and out.count("top-1 % under corruption") == 2


def test_another_person_s_corruption_has_the_base_s_parameters_and_is_checked(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    fine = registry.resolve("corruption", f"{tmp_path / 'mine.py'}:Fine:stage=file,storage=jpeg80")
    assert "stage=file" in fine.text and fine.create().storage == "jpeg80"
    table = evaluate("tsm", corruptions=[f"{tmp_path / 'mine.py'}:{name}" for name in ("Wrong", "Fine")], severities=[1], limit=2)
    assert table["status"].tolist() == ["ok", "ok", "error"] or table["status"].tolist() == ["ok", "error", "ok"]
    assert "it must give uint8" in " ".join(table["error"])
    for name, said in (("Four", "has not five settings"), ("Bare", "is no Pixels, Timeline or Stream")):
        with pytest.raises(InputError, match=said):
            evaluate("tsm", corruptions=f"{tmp_path / 'mine.py'}:{name}", severities=[1], limit=2)


def test_a_cell_that_fails_is_a_row(monkeypatch):
    """One severity does not work; the others are measured."""
    noise = registry.find("corruption", "gaussian_noise")
    component = registry._import(noise).GaussianNoise
    real = component.change

    def change(self, clips, setting, rng, rate):
        if setting == self.setting(2):
            raise InputError("corruption gaussian_noise", "cannot do this")
        return real(self, clips, setting, rng, rate)

    monkeypatch.setattr(component, "change", change)
    table = evaluate("tsm", corruptions="gaussian_noise", severities=[1, 2, 3], limit=2)
    assert table["status"].tolist() == ["ok", "ok", "error", "ok"]
    assert "cannot do this" in table["error"].tolist()[2]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--corruption", "fogg"), "corruption: 'fogg' is unknown; did you mean fog"),
        (("--corruption", "fog:table=mine"), "corruption fog: table: 'mine' is unknown; choose from"),
        (("--corruption", "fog", "--severity", "6"), "severity: '6' is unknown; it must be from 1 to 5"),
        (("--corruption", "fog", "--severity", "3-1"), "severity: '3-1' is unknown"),
        (("--corruption", "nothing/*"), "nothing matches 'nothing/*'; known: "),
        (("--corruption", "fog", "--attack", "pgd"), "corruption: no threat model says"),
        (("--corruption", ""), "corruption: is empty"),
        (("--shifts", "-1"), "shifts: -1 is less than 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, wrong, tmp_path, monkeypatch, capsys):
    code, out, err = vbench(monkeypatch, capsys, "run", *CLIPS, *words, "--store", tmp_path / "store")
    assert code == 2 and not out and err.startswith("vbench: ") and len(err.splitlines()) == 1
    assert wrong in err
    assert not (tmp_path / "store" / "cells.csv").exists()


def test_severities_and_patterns():
    assert severities("1-5") == (1, 2, 3, 4, 5) and severities("4,2") == (2, 4) and severities("1-2,5") == (1, 2, 5)
    every = Request(corruption=["all"]).corruptions()
    names = [one.entry.name for one in every]
    assert len(names) == len(set(names)) and "rose_mixture" not in names and "imgaug" not in names
    assert {"noise", "blur", "weather", "digital", "codec", "temporal", "camera"} == {one.entry.family for one in every}
    noise = Request(corruption=["noise/*:temporal=static", "noise/gaussian_noise"]).corruptions()
    assert {one.entry.family for one in noise} == {"noise"} and len({one.text for one in noise}) == len(noise)
    assert [one.entry.name for one in Request(corruption=["*_blur"]).corruptions()].count("temporal_blur") == 1


def test_the_source_is_reordered_before_frames_are_sampled(record):
    whole = replace(SPEC, frames=16)
    backwards = how("reverse", 5).read(record, whole)
    assert torch.equal(backwards, read_clip(record, whole).flip(1))


def test_frames_are_corrupted_at_the_canonical_size_in_the_model_s_own_view(record):
    spec = replace(SPEC, short_side=72)
    noise = how("gaussian_noise:table=tiny-64")
    assert noise.geometry(spec) == spec
    made = noise.frames(read_clip(record, spec)[None], [record.id], spec)[0]
    corrupted = noise.corruption.apply(read_clip(record, spec)[None], 3, noise.streams([record.id]))[0]
    assert torch.equal(made, corrupted)
    large = how("gaussian_noise").geometry(spec)
    assert (large.size, large.short_side) == (224, 252)
    # Less noise is left where it was added to more pixels.
    clean = read_clip(record, spec).numpy()
    mild = how("gaussian_noise").frames(read_clip(record, large)[None], [record.id], spec)[0]
    strong = how("gaussian_noise:size=64").frames(read_clip(record, spec)[None], [record.id], spec)[0]
    assert peak_signal_noise_ratio(clean, mild.numpy()) > peak_signal_noise_ratio(clean, strong.numpy()) + 3


def test_pixels_of_the_source_are_corrupted_at_its_own_size(record):
    made = how("contrast:stage=file").read(record, SPEC)
    plain = how("contrast:size=64")
    assert torch.equal(made, plain.frames(read_clip(record, SPEC)[None], [record.id], SPEC)[0])


def test_clips_in_memory_have_no_source(record):
    clips, labels = torch.stack([read_clip(record, SPEC)] * 2), torch.tensor([0, 1])
    table = evaluate("tsm:weights=random", (clips, labels, 8), corruptions=["contrast", "jumble"], severities=[1])
    assert dict(zip(table["family"].fillna("none"), table["status"], strict=True)) == {
        "none": "ok",
        "digital": "ok",
        "temporal": "error",
    }
    assert "no video that they were taken from" in " ".join(table["error"])


def test_the_streams_belong_to_clip_severity_and_moment():
    one = how("gaussian_noise").streams(["a"]).uniform((3,))
    assert torch.equal(one, how("gaussian_noise").streams(["a"]).uniform((3,)))
    others = [how("gaussian_noise", 4), how("gaussian_noise", seed=1), how("gaussian_noise", moment=1)]
    assert all(not torch.equal(one, other.streams(["a"]).uniform((3,))) for other in others)
    still = how("gaussian_noise:temporal=static")
    assert torch.equal(still.streams(["a"]).uniform((3,)), replace(still, moment=2).streams(["a"]).uniform((3,)))
    assert isinstance(still.streams(["a"]), ClipRandom)


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("spec", ["contrast", "reverse", "h264_crf"])
def test_corrupt_writes_a_file(spec, record, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "out.mp4"
    words = ("corrupt", record.path, out, "--corruption", spec, "--severity", 5, "--no-progress")
    code, said, _ = vbench(monkeypatch, capsys, *words)
    assert code == 0 and said.strip() == str(out)
    before, after = frames_of(record.path), frames_of(out)
    assert before.shape == after.shape
    assert peak_signal_noise_ratio(before, after) < 35
    if spec == "reverse":
        assert peak_signal_noise_ratio(before[::-1], after) > 35
    again = tmp_path / "again.mp4"
    assert vbench(monkeypatch, capsys, "corrupt", record.path, again, *words[3:])[0] == 0
    assert again.read_bytes() == out.read_bytes()


def test_corrupt_refuses_bad_input(record, tmp_path, monkeypatch, capsys):
    def refused(source, out, *words):
        code, said, err = vbench(monkeypatch, capsys, "corrupt", source, out, *(words or ("--corruption", "contrast")))
        assert code == 2 and not said and len(err.splitlines()) == 1
        return err

    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(Path(record.path).read_bytes()[:700])
    out = tmp_path / "out.mp4"
    assert "there is no file" in refused(tmp_path / "none.mp4", out)
    assert "cannot be decoded" in refused(damaged, out)
    assert "does not end in .mp4" in refused(record.path, tmp_path / "out.avi")
    assert "is the input" in refused(damaged, damaged)
    assert "it must be a whole number from 1 to 5" in refused(record.path, out, "--corruption", "contrast", "--severity", 0)
    assert not out.exists()


@pytest.mark.parametrize(("name", "shown"), [("jumble", "inverted"), ("imgaug", "severity table"), ("spatter", "drift")])
def test_show_prints_the_severity_tables(name, shown, monkeypatch, capsys):
    code, out, _ = vbench(monkeypatch, capsys, "show", name)
    assert code == 0 and shown in out and "s5" in out


def test_look_draws_five_severities(tmp_path, monkeypatch, capsys):
    out = tmp_path / "look.png"
    code, _, _ = vbench(monkeypatch, capsys, "look", "--corruption", "contrast", "--clip", 1, "--out", out)
    assert code == 0 and out.read_bytes().startswith(b"\x89PNG")
    code, _, err = vbench(monkeypatch, capsys, "look", "--corruption", "contrast", "--gif", tmp_path / "x.gif")
    assert code == 2 and "a corruption has none" in err
