"""Which clips a training uses: of the official splits of real data sets nothing is validated on what it is tested on."""

import errno
import json
import os

import pytest
import torch
from miniature import clip, write
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.training import splits
from robustvideo.benchmark.training.splits import parts, read_clips
from typer.testing import CliRunner

SPEC = InputSpec(2, 32, 32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ucf(tmp_path):
    """Dark and bright clips: two source videos to test on, twelve with two clips each to train on, of each class."""
    root, test, train = tmp_path / "ucf", [], []
    for number, name in enumerate(("Bowling", "Diving")):
        test += [f"{name}/v_{name}_g{group:02}_c01.avi" for group in (1, 2)]
        train += [(f"{name}/v_{name}_g{group:02}_c{part:02}.avi", number + 1) for group in range(8, 20) for part in (1, 2)]
        for place in (*test[-2:], *(place for place, label in train if label == number + 1)):
            clip(root / "UCF-101" / place, level=20 + 150 * number)
    lists = root / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 Bowling\n2 Diving\n")
    write(lists / "testlist01.txt", "".join(f"{place}\n" for place in test))
    write(lists / "trainlist01.txt", "".join(f"{place} {label}\n" for place, label in train))
    return root


def test_official_splits_hold_out_source_videos(ucf):
    data = resolve("dataset", "ucf101", root=str(ucf)).create()
    found = parts(data)
    assert [one.id for one in found["test"]] == [one.id for one in data.records("1")]
    assert len(found["train"]) == 44 and len(found["val"]) == 4  # two of 24 source videos
    assert sorted(one.id for part in ("train", "val") for one in found[part]) == sorted(one.id for one in data.records("1-train"))
    groups = {name: {one.group for one in part} for name, part in found.items()}
    assert not groups["train"] & groups["val"] and not groups["test"] & (groups["train"] | groups["val"])
    assert parts(resolve("dataset", "ucf101", root=str(ucf)).create()) == found


@pytest.mark.parametrize("defense", [[], ["--defense", "at:steps=1"]])
def test_a_model_and_a_defence_are_trained_on_an_official_data_set(defense, ucf, tmp_path):
    words = [
        "--model",
        "tsm:frames=2,size=32" + (",weights=random" if defense else ""),
        *defense,
        "--epochs",
        "3",
        "--lr",
        "3e-3",
    ]
    words += ["--dataset", f"ucf101:root={ucf}", "--out", str(tmp_path / "out"), "--batch-size", "8"]
    ran = CliRunner().invoke(app, ["train", *words])
    assert ran.exit_code == 0, ran.output
    card = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert card["clips"] == {"train": 44, "val": 4, "test": 4} and card["classes"] == ["Bowling", "Diving"]
    assert card["history"][-1]["loss"] < card["history"][0]["loss"]


class Made:
    """A data set of clips that never were files, by split."""

    def __init__(self, groups, default_split="test"):
        self.groups, self.classes, self.default_split = groups, ("a", "b"), default_split

    def records(self, split):
        if split not in self.groups:
            raise InputError("split", f"there is no {split}")
        return [ClipRecord(f"{split}-{number}", "x", 0, group) for number, group in enumerate(self.groups[split])]


def test_own_validation_clips_are_taken_unless_they_are_what_is_tested_on():
    groups = {"train": "abcdefghij", "val": "kl", "test": "mn"}
    assert [one.group for one in parts(Made(groups))["val"]] == ["k", "l"] and len(parts(Made(groups))["train"]) == 10
    tested = parts(Made(groups, "val"))
    assert [one.group for one in tested["test"]] == ["k", "l"]
    assert len(tested["val"]) == 1 and tested["val"][0].group in groups["train"] and len(tested["train"]) == 9


def test_what_cannot_be_trained_on_is_one_line(ucf, tmp_path):
    with pytest.raises(InputError, match=r"the training clips are of 1 video, so none can be held out; choose one"):
        parts(Made({"train": "aaa", "test": "b"}))
    for groups, lacks in (({"test": "b"}, "train"), ({"train": "ab"}, "test")):
        with pytest.raises(InputError, match=f"dataset: training needs clips .* there is no split '{lacks}'; add one: a folder"):
            parts(Made(groups))
    (ucf / "ucfTrainTestlist" / "trainlist01.txt").unlink()
    with pytest.raises(InputError, match=r"trainlist01\.txt"):
        parts(resolve("dataset", "ucf101", root=str(ucf)).create())


def test_a_clip_is_never_trained_on_and_tested_on(ucf, tmp_path):
    """A list is one split, whatever it is called."""
    listed = write(tmp_path / "list.txt", "".join(f"Bowling/v_Bowling_g{group:02}_c01.avi 0\n" for group in range(8, 20)))
    with pytest.raises(InputError, match=r"v_Bowling_g\d\d_c01 is a clip of (train|val) and of test; a clip has one split"):
        parts(resolve("dataset", "ucf101", root=str(ucf), list=str(listed)).create())


def test_a_split_that_is_there_and_broken_is_not_passed_over(tmp_path):
    for place in ("train/a/1", "train/b/2", "test/a/3", "test/b/4"):
        clip(tmp_path / f"{place}.mp4")
    assert len(parts(resolve("dataset", "folder", root=str(tmp_path)).create())["val"]) == 1
    (tmp_path / "val" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="val holds no videos"):
        parts(resolve("dataset", "folder", root=str(tmp_path)).create())


def test_many_clips_lie_in_a_file_that_nobody_sees(ucf, tmp_path, monkeypatch):
    records = resolve("dataset", "ucf101", root=str(ucf)).create().records("1-train")
    clips, labels = read_clips(records, SPEC, tmp_path)
    assert clips.shape == (48, 3, 2, 32, 32) and clips.dtype == torch.uint8 and labels.tolist() == [one.label for one in records]
    monkeypatch.setattr(splits, "IN_MEMORY", 0)
    folder = tmp_path / "large"
    folder.mkdir()
    again, same = read_clips(records, SPEC, folder)
    assert torch.equal(again, clips) and torch.equal(same, labels) and not list(folder.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match=r"has no room for 0 GiB of decoded clips: No space left on device; name a folder"):
        read_clips(records, SPEC, folder)


def test_a_video_that_cannot_be_read_stops_a_training(ucf, tmp_path):
    records = resolve("dataset", "ucf101", root=str(ucf)).create().records("1-train")
    records[1].path.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"1 videos cannot be read, the first: .*g08_c02"):
        read_clips(records, SPEC, tmp_path)
    with pytest.raises(InputError, match="a split has no clips"):
        read_clips([], SPEC, tmp_path)
