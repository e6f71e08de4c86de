"""The list files of other code bases: each format by its lines, then as a data set reads it."""

import pytest
from miniature import clip, frames, rows, write
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.data.hmdb51 import Hmdb51
from robustvideo.benchmark.data.lists import Line, read_list
from robustvideo.benchmark.data.loader import read_clip
from robustvideo.benchmark.data.selection import missing
from robustvideo.benchmark.data.ssv1 import SomethingV1
from robustvideo.benchmark.data.ssv2 import SomethingV2
from robustvideo.benchmark.data.ucf101 import Ucf101

FORMATS = {
    "mmaction2 videos": ("a/b.mp4 3\na/c.avi 12\n", [("a/b.mp4", 3), ("a/c.avi", 12)]),
    "pyslowfast with spaces in paths": (
        "/x/air drumming/b 1.mp4 3\n/x/c.mp4 0\n",
        [("/x/air drumming/b 1.mp4", 3), ("/x/c.mp4", 0)],
    ),
    "pyslowfast with commas": ("/x/b.mp4, 3\n/x/c,d.mp4,0\n", [("/x/b.mp4", 3), ("/x/c,d.mp4", 0)]),
    "ucf101 test list": ("A/b.avi\n\nA/c.avi\n", [("A/b.avi", None), ("A/c.avi", None)]),
    "mmaction2, TSM, VideoMAE frames": ("a/b 120 3\na/c 7 0\n", [("a/b", 3, 0, 0, 120), ("a/c", 0, 0, 0, 7)]),
    "GST with tabs": ("a b\t120\t3\nc\t7\t0\n", [("a b", 3, 0, 0, 120), ("c", 0, 0, 0, 7)]),
    "videos with a length": ("b.mp4 120 3\n", [("b.mp4", 3, 0, 0, 120)]),
    "IBM": ("a/b 1 120 3\nc 11 20 0\n", [("a/b", 3, 1, 120), ("c", 0, 11, 20)]),
    "IBM with semicolons": ("air drumming/b 2;1;120;3\nc;11;20;0\n", [("air drumming/b 2", 3, 1, 120), ("c", 0, 11, 20)]),
    "a folder that ends in numbers": ("dir 12 120 3\ne 7 1\n", [("dir 12", 3, 0, 0, 120), ("e", 1, 0, 0, 7)]),
    "a folder that is a number": ("78687 30 5\n1 45 100\n", [("78687", 5, 0, 0, 30), ("1", 100, 0, 0, 45)]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_told_by_its_lines(tmp_path, name):
    text, wanted = FORMATS[name]
    read = read_list(write(tmp_path / "list.txt", text), "val", "me")
    assert [line._replace(number=0) for line in read] == [Line(0, *words) for words in wanted]
    numbers = [number for number, line in enumerate(text.splitlines(), start=1) if line]
    assert [line.number for line in read] == numbers


HEAD = "original_vido_id video_id frame_id path labels\n"


@pytest.mark.parametrize(("labels", "wanted"), [('""', None), ("4", 4), ('"4"', 4)])
def test_a_line_per_frame(tmp_path, labels, wanted):
    images = [f"78687 0 {t} 78687/78687_{t:04d}.jpg {labels}\n" for t in range(3)] + [f"9 1 0 9/9_0001.jpg {labels}\n"]
    read = read_list(write(tmp_path / "val.csv", HEAD + "".join(images)), "val", "me")
    assert read == [Line(2, "78687", wanted, frames=3), Line(5, "9", wanted, frames=1)]


HARA = {
    "labels": ["jump", "run"],
    "database": {
        "v_a_g01_c01": {"subset": "validation", "annotations": {"label": "run"}},
        "v_b_g02_c01": {"subset": "training", "annotations": {"label": "jump"}},
    },
}


@pytest.mark.parametrize(
    ("split", "wanted"), [("1", "run/v_a_g01_c01"), ("val", "run/v_a_g01_c01"), ("1-train", "jump/v_b_g02_c01")]
)
def test_the_json_of_the_3d_resnets(tmp_path, split, wanted):
    read = read_list(write(tmp_path / "ucf101_01.json", HARA), split, "me")
    assert read == [Line(0, wanted, wanted.split("/")[0])]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.txt", "", ["is empty"]),
        ("l.txt", "a/b.mp4 1\nsome words\n", ["line 2", "some words", "other lines end in 1 numbers", "path label"]),
        ("l.txt", "clips/a.mp4 0 -1\nclips/b.mp4 0 -1\n", ["line 1", "pre-training"]),
        ("l.txt", "a/b 0 120\n", ["line 1", "no frame is number 0"]),
        ("l.txt", "a/b 5 3 1\n", ["it ends before it starts"]),
        ("l.csv", HEAD + '1 0 0 alone.jpg ""\n', ["line 2", "no frame in a folder"]),
        ("l.json", {"labels": []}, ["has no 'database'"]),
        ("l.json", {"database": {"a": {"subset": "testing"}}}, ["no subset for split 'train'", "it has testing"]),
        ("l.json", {"database": {"a": {"subset": "training"}}}, ["has no 'annotations'"]),
        ("l.json", "{", ["cannot be read"]),
    ],
)
def test_a_slip_in_a_list_is_named(tmp_path, name, text, words):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError) as caught:
        read_list(path, "train", "dataset me")
    assert all(word in str(caught.value) for word in ("dataset me", str(path), *words)), caught.value


@pytest.fixture
def ucf(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    for place in ("jump/v_jump_g01_c01", "run/v_run_g02_c03"):
        clip(tmp_path / "ucf" / "videos" / f"{place}.avi")
        frames(tmp_path / "ucf" / "rawframes" / place, template="img_%05d.jpg")
    names = write(tmp_path / "names.txt", "run\njump\n")
    return lambda text, name="list.txt": Ucf101(
        str(tmp_path / "ucf"), list=str(write(tmp_path / name, text)), names="" if name.endswith("json") else str(names)
    )


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("jump/v_jump_g01_c01.avi 1\nrun/v_run_g02_c03.avi 0\n", "videos"),
        ("jump/v_jump_g01_c01.avi 2\nrun/v_run_g02_c03.avi 1\n", "videos"),
        ("jump/v_jump_g01_c01.avi\nrun/v_run_g02_c03.avi\n", "videos"),
        ("/home/other/ucf/jump/v_jump_g01_c01.avi 1\n/home/other/ucf/run/v_run_g02_c03.avi 0\n", "videos"),
        ("v_jump_g01_c01.avi 1\nv_run_g02_c03.avi 0\n", "videos"),
        ("rawframes/jump/v_jump_g01_c01 6 1\nrawframes/run/v_run_g02_c03 6 0\n", "rawframes"),
    ],
)
def test_one_data_set_from_many_lists(ucf, tmp_path, text, home):
    data = ucf(text)
    end = ".avi" if home == "videos" else ""
    assert data.classes == ("run", "jump")
    found = [(r.id, r.path.relative_to(tmp_path / "ucf").as_posix(), r.label) for r in data.records("1")]
    assert [(name, label) for name, _, label in found] == [("v_jump_g01_c01", 1), ("v_run_g02_c03", 0)]
    assert [place for _, place, _ in found] == [f"{home}/jump/v_jump_g01_c01{end}", f"{home}/run/v_run_g02_c03{end}"]


def test_the_json_list_carries_its_names(ucf):
    database = {"v_jump_g01_c01": {"subset": "validation", "annotations": {"label": "jump"}}}
    data = ucf({"labels": ["run", "jump"], "database": database}, "ucf101_01.json")
    assert data.classes == ("run", "jump")
    assert [(r.id, r.label, r.group) for r in data.records("1")] == [("v_jump_g01_c01", 1, "jump/g01")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "jump/v_jump_g01_c01.avi 0\nrun/v_run_g02_c03.avi 1\n",
            ["line 1", "label 0", "folder is class 1", "another order", "names=FILE"],
        ),
        ("v_jump_g01_c01.avi 2\n", ["line 1", "label 2 has no class", "labels run from 0 to 1"]),
        (
            "jump/v_jump_g01_c01.avi 1\njump/v_jump_g01_c01.avi 1\nx/v_jump_g01_c01.avi 0\n",
            ["v_jump_g01_c01 is listed with labels 1 and 0"],
        ),
        ("jump/gone.avi 1\n", ["none of the 1 clips of split 1 is there", "jump/, run/"]),
    ],
)
def test_a_list_that_does_not_fit_is_named(ucf, text, words):
    with pytest.raises(InputError) as caught:
        ucf(text).records("1")
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_list_that_is_not_there(ucf, tmp_path):
    with pytest.raises(InputError, match="nowhere.txt cannot be read"):
        Ucf101(str(tmp_path / "ucf"), list="nowhere.txt", names=str(write(tmp_path / "names.txt", "run\n"))).records("1")
    with pytest.raises(InputError, match="nowhere.json cannot be read"):
        Hmdb51(str(tmp_path), list="nowhere.json").records("1")
    with pytest.raises(InputError, match="names no 101 classes, .*; found: rawframes/, videos/; give names=FILE"):
        Ucf101(str(tmp_path / "ucf"), list=str(write(tmp_path / "l.txt", "jump/v_jump_g01_c01.avi 1\n"))).records("1")


def test_parts_of_frame_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    frames(tmp_path / "copy" / "78687", count=12)
    listed = write(tmp_path / "val.txt", "78687 1 4 1\n78687 9 99 0\n")
    data = SomethingV1(str(tmp_path / "copy"), list=str(listed), names=str(write(tmp_path / "names.txt", "a\nb\n")))
    records = data.records("val")
    assert [(r.id, r.label, r.start, r.stop) for r in records] == [("78687:1-4", 1, 0, 4), ("78687:9-99", 0, 8, 99)]
    grey = [read_clip(record, InputSpec(4, 16, 16))[0, :, 8, 8].tolist() for record in records]
    assert grey == [[90, 100, 110, 120], [170, 180, 190, 200]]


def test_ssv2_frame_lists_take_their_labels_from_the_annotation(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "ssv2"
    write(root / "labels.json", {"Holding something": "0", "Moving something": "1"})
    write(root / "validation.json", [{"id": "78687", "template": "Moving [something]"}])
    frames(root / "frames" / "78687", count=3, template="78687_%06d.jpg")
    text = HEAD + "".join(f'78687 0 {t} 78687/78687_{t + 1:06d}.jpg ""\n' for t in range(3))
    data = SomethingV2(str(root), list=str(write(tmp_path / "val.csv", text)))
    assert rows(data.records("val"), root) == [("78687", "frames/78687", 1, "78687")] and not missing(data.records("val"))
    stranger = write(tmp_path / "other.csv", text.replace("78687", "1"))
    with pytest.raises(InputError, match="gives 1 no label; nor does the official annotation"):
        SomethingV2(str(root), list=str(stranger)).records("val")
