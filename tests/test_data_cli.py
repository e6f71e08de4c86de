"""`vbench data check` and what a run says of missing files, on small copies with something wrong in each."""

import json
import shutil
import sys

import pytest
from miniature import clip, edited, frames, packed, turned, write
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core.interfaces import ClipRecord
from robustvideo.benchmark.data.check import check
from robustvideo.benchmark.data.diving48 import Diving48
from robustvideo.benchmark.data.folder import Folder
from robustvideo.benchmark.data.probe import probe
from robustvideo.benchmark.data.ssv1 import SomethingV1
from robustvideo.benchmark.data.ucf101 import Ucf101
from test_cli import MODEL
from test_video import IRREGULAR, SHARED, needs_videos
from test_video import write as numbered_video

PLACES = ("Hammering/v_Hammering_g01_c01.avi", "HammerThrow/v_HammerThrow_g02_c01.avi", "JumpRope/v_JumpRope_g03_c01.avi")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ucf(tmp_path):
    root = tmp_path / "ucf"
    write(root / "ucfTrainTestlist" / "classInd.txt", "1 Hammering\n2 HammerThrow\n3 JumpRope\n")
    write(root / "ucfTrainTestlist" / "testlist01.txt", "".join(f"{place}\n" for place in PLACES))
    for place in PLACES:
        clip(root / "UCF-101" / place)
    return root


def run(*words, monkeypatch, capsys):
    """Exit code, stdout and stderr of the program, in this process."""
    monkeypatch.setattr(sys, "argv", ["vbench", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def texts(report, kind):
    return [text for one, text in report.findings if one == kind]


def test_a_sound_folder_is_fine(tmp_path, monkeypatch, capsys):
    for number in range(3):
        clip(tmp_path / "videos" / "run" / f"{number}.mp4")
    code, out, err = run(
        "data", "check", "--dataset", "folder", "--root", tmp_path / "videos", monkeypatch=monkeypatch, capsys=capsys
    )
    assert code == 0 and err == ""
    assert "3 of 3 clips of split test are there" in out and "3 of 3 decoded clips are sound" in out and "problem" not in out


def test_what_is_wrong_is_said_and_exit_code_1(ucf, monkeypatch, capsys):
    (ucf / "UCF-101" / PLACES[0]).write_bytes(b"no video")
    (ucf / "UCF-101" / PLACES[1]).unlink()
    (ucf / "UCF-101" / "JumpRope").rename(ucf / "UCF-101" / "jumprope")
    clip(ucf / "UCF-101" / "Hammering" / "v_Hammering_g09_c01.avi")
    clip(ucf / "UCF-101" / "Yodeling" / "v_Yodeling_g01_c01.avi")
    code, out, _ = run(
        "data",
        "check",
        "--dataset",
        "ucf101",
        "--root",
        ucf,
        "--split",
        "1",
        "--decode",
        "all",
        monkeypatch=monkeypatch,
        capsys=capsys,
    )
    assert code == 1
    for words in (
        f"2 of 3 clips of split 1 are there; missing: {ucf}/UCF-101/{PLACES[1]}",
        "3 clips are listed; the official split 1 has 3,783",
        "3 classes are named; ucf101 has 101",
        "1 class folders are spelt otherwise than the class, which is no harm: jumprope",
        "1 folders are no class: Yodeling",
        f"1 files or folders are in no list: {ucf}/UCF-101/Hammering/v_Hammering_g09_c01.avi",
        "1 of 2 decoded clips are sound",
        "v_Hammering_g01_c01.avi: cannot be decoded",
        "HandstandPushups: the folder is the class",
    ):
        assert words in out, out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "ucf101"], "root is missing"),
        (["--dataset", "ufc101", "--root", "."], "did you mean ucf101"),
        (["--dataset", "ucf101", "--root", "nowhere"], "there is no folder nowhere"),
        (["--dataset", "ucf101", "--root", "."], "found: nothing"),
        (["--dataset", "shapes", "--split", "moon"], "no split 'moon'"),
        (["--dataset", "shapes", "--decode", "some"], "'some' is no number of clips"),
        (["--dataset", "shapes", "--root", "."], "no parameter 'root'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "x" / "y").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x" / "y")
    code, out, err = run("data", "check", *words, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1, err


def test_the_splits_together_leave_nothing_over(ucf):
    write(ucf / "ucfTrainTestlist" / "testlist01.txt", f"{PLACES[0]}\n")
    report = check(Ucf101(str(ucf)), "1", 0)
    assert any("2 files or folders are in no list" in text for text in texts(report, "note"))
    write(ucf / "ucfTrainTestlist" / "trainlist01.txt", f"{PLACES[1]} 2\n{PLACES[2]} 3\n")
    report = check(Ucf101(str(ucf)), "1", 0)
    assert not any("in no list" in text for text in texts(report, "note"))
    assert "2 of 2 clips of split 1-train are there" in texts(report, "fine")
    shutil.rmtree(ucf / "UCF-101" / "JumpRope")
    assert "1 classes have no folder: JumpRope" in texts(check(Ucf101(str(ucf)), "1", 0), "problem")


def test_a_copy_without_class_folders_is_told_so(ucf):
    for place in PLACES:
        (ucf / "UCF-101" / place).rename(ucf / "UCF-101" / place.split("/")[1])
        (ucf / "UCF-101" / place).parent.rmdir()
    report = check(Ucf101(str(ucf)), "1", None)
    assert any("there are no class folders" in text for text in texts(report, "note"))
    assert "3 of 3 decoded clips are sound" in texts(report, "fine")


def test_frame_folders_are_counted(tmp_path):
    for number, count in (("1", 6), ("2", 5), ("3", 6)):
        frames(tmp_path / "copy" / number, count)
    names = str(write(tmp_path / "names.txt", "a\nb\n"))
    listed = write(tmp_path / "list.txt", "1 6 0\n2 6 1\n3 6 1\n")
    report = check(SomethingV1(str(tmp_path / "copy"), list=str(listed), names=names), "val", 0)
    assert "1 frame folders have another number of frames than listed: 2 (6 listed, 5 there)" in texts(report, "problem")
    ranges = write(tmp_path / "ranges.txt", "1 1 4 0\n2 2 6 1\n")
    report = check(SomethingV1(str(tmp_path / "copy"), list=str(ranges), names=names), "val", 0)
    assert "1 frame folders have another number of frames than listed: 2 (6 listed, 5 there)" in texts(report, "problem")


def test_a_video_that_ends_early_is_noted(tmp_path):
    clip(tmp_path / "rgb" / "a_00000.mp4", frames=6)
    write(tmp_path / "Diving48_vocab.json", [["Back"], ["Reverse"]])
    for end, count in ((6, 0), (9, 1)):
        write(tmp_path / "Diving48_V2_test.json", [{"vid_name": "a_00000", "label": 1, "start_frame": 0, "end_frame": end}])
        notes = texts(check(Diving48(str(tmp_path)), "test", 1), "note")
        assert sum("ends before the annotation says" in text for text in notes) == count


TRAPS = {
    "plain.mp4": set(),
    "plain.avi": set(),
    "edited.mp4": {"header counts other frames than decode (handled)"},
    "turned.mp4": {"rotated by metadata (handled)"},
    "packed.avi": {"packed B-frames (handled)"},
    "uncounted.mkv": {"header does not count the frames (handled)"},
    "irregular.mp4": {"variable frame rate (handled)"},
    "short.mp4": {"fewer than three frames"},
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_named(tmp_path, name):
    path = tmp_path / name
    if name == "packed.avi":
        packed(numbered_video(tmp_path / "plain.avi", 20, codec="mpeg4", b_frames=1), path)
    elif name == "irregular.mp4":
        numbered_video(path, len(IRREGULAR), times=IRREGULAR)
    else:
        codec = "mpeg4" if path.suffix == ".avi" else "libx264"
        numbered_video(path, 2 if name == "short.mp4" else 20, codec=codec)
    {"edited.mp4": lambda: edited(path, 5, 10), "turned.mp4": lambda: turned(path)}.get(name, lambda: None)()
    assert set(probe(ClipRecord(name, path, 0, name))) == TRAPS[name]


@needs_videos
def test_real_videos_with_their_traps(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "all").symlink_to(SHARED)
    report = check(Folder(str(tmp_path / "videos")), "test", None)
    assert "9 of 10 decoded clips are sound" in texts(report, "problem")
    assert any("decord_corrupted.mp4: cannot be decoded" in text for text in texts(report, "problem"))
    notes = texts(report, "note")
    assert "3 of them: rotated by metadata (handled)" in notes
    assert "2 of them: header counts other frames than decode (handled)" in notes


def test_a_run_counts_missing_files_in_one_line(tmp_path, monkeypatch, capsys):
    """The default split of the data set is taken, missing clips fail, and their number is in the row."""
    root = tmp_path / "ucf"
    write(root / "ucfTrainTestlist" / "classInd.txt", "1 Hammering\n2 HammerThrow\n")
    write(root / "ucfTrainTestlist" / "testlist01.txt", "".join(f"{place}\n" for place in PLACES[:2]))
    clip(root / "UCF-101" / PLACES[0])
    write(tmp_path / "model.py", MODEL)
    monkeypatch.chdir(tmp_path)
    words = ("run", "--model", "model.py:build", "--dataset", "ucf101", "--root", root, "--json", "--store", tmp_path / "store")
    code, out, err = run(*words, monkeypatch=monkeypatch, capsys=capsys)
    (row,) = json.loads(out)
    assert code == 0 and (row["split"], row["n"], row["failed"]) == ("1", 1, 1)
    line = f"ucf101 1: 1 found of 2 listed; missing ones fail, the first: {root}/UCF-101/{PLACES[1]}"
    assert line in err.splitlines()
    code, _, err = run(*words, "--quiet", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0 and err == ""


def test_a_data_set_without_a_split_of_its_own_keeps_test(tmp_path, monkeypatch, capsys):
    write(tmp_path / "model.py", MODEL)
    clip(tmp_path / "videos" / "a" / "1.mp4")
    clip(tmp_path / "videos" / "b" / "1.mp4")
    monkeypatch.chdir(tmp_path)
    words = ("run", "--model", "model.py:build", "--dataset", "folder", "--root", "videos", "--json", "--quiet")
    code, out, _ = run(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0 and json.loads(out)[0]["split"] == "test"
    assert len(Folder("videos").records("test")) == 2
