"""Kinetics and Mini-Kinetics in small: official CSV files, class folders, partial copies, subsets."""

import pytest
from miniature import clip, rows, write
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.data.kinetics_editions import Kinetics400, Kinetics600, MiniKinetics
from robustvideo.benchmark.data.selection import default_split, missing
from robustvideo.benchmark.data.tree import fold

HEAD = "label,youtube_id,time_start,time_end,split,is_cc\n"
LINES = (
    "air drumming,--PyMoD3_eg,20,30,val,0\n"
    "massaging person's head,0wR5jVB-WPk,417,427,val,0\n"
    '"passing American football (in game)",_1AYxSTCkWA,3,13,val,0\n'
    "air drumming,gone_gone_g,0,10,val,0\n"
)
IDS = ["--PyMoD3_eg_000020_000030", "0wR5jVB-WPk_000417_000427", "_1AYxSTCkWA_000003_000013", "gone_gone_g_000000_000010"]
FOLDERS = ["air_drumming", "massaging_person's_head", "passing_American_football_(in_game)"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    for folder, name in zip(FOLDERS, IDS, strict=False):
        clip(tmp_path / "k400" / "val" / folder / f"{name}.mp4")
    write(tmp_path / "k400" / "annotations" / "val.csv", HEAD + LINES)
    return tmp_path / "k400"


def test_the_official_file_and_a_partial_copy(root):
    data = resolve("dataset", "kinetics400", root=str(root)).create()
    records = data.records("val")
    assert default_split(data) == "val" and len(data.classes) == 400
    # Alphabetical, quotes and case aside; published checkpoints carry the names in this order.
    assert list(data.classes) == sorted(data.classes, key=fold) and data.classes[1] == "air drumming"
    labels = [
        data.classes.index(name) for name in ("air drumming", "massaging person's head", "passing American football (in game)")
    ]
    assert [(r.id, r.label, r.group) for r in records] == [
        (name, label, name[:11]) for name, label in zip(IDS, [*labels, labels[0]], strict=True)
    ]
    assert missing(records) == records[3:] and records[0].path == root / "val" / FOLDERS[0] / f"{IDS[0]}.mp4"


@pytest.mark.parametrize("layout", ["spaces", "flat", "mmaction", "ids", "split as root", "rescaled"])
def test_copies_of_other_layouts_are_the_same_clips(root, tmp_path, layout):
    wanted = [(r.id, r.label, r.group) for r in Kinetics400(str(root)).records("val")]
    other = tmp_path / "x" / "other"
    annotations = ""
    for folder, name in zip(FOLDERS, IDS, strict=False):
        place = {
            "spaces": f"validate/{folder.replace('_', ' ')}/{name}.mp4",
            "flat": f"val/{name}.mp4",
            "mmaction": f"videos_val/{folder}/{name}.mp4",
            "ids": f"val/{folder}/{name[:11]}.mp4",
            "split as root": f"{folder}/{name}.mp4",
            "rescaled": f"val_256/{folder}/{name}.mp4",
        }[layout]
        clip(other / place)
    if layout == "mmaction":
        write(other / "annotations" / "kinetics_val.csv", HEAD + LINES)
    elif layout == "split as root":
        annotations = str(write(tmp_path / "x" / "validate.csv", HEAD + LINES))
    else:
        write(other / "all.csv", HEAD + LINES + "yoga,AAAAAAAAAAA,0,10,train,0\n")
    records = Kinetics400(str(other), annotations=annotations).records("val")
    assert [(r.id, r.label, r.group) for r in records] == wanted and missing(records) == records[3:]


def test_without_a_csv_the_class_folders_must_do(root):
    (root / "annotations" / "val.csv").rename(root / "annotations" / "val.bak")
    records = Kinetics400(str(root)).records("val")
    assert sorted(r.id for r in records) == sorted(IDS[:3]) and {r.group for r in records} == {name[:11] for name in IDS[:3]}
    with pytest.raises(InputError, match="names no 600 classes, .*; found: annotations/, val/; give names=FILE"):
        Kinetics600(str(root)).records("val")


def test_the_other_editions_take_their_names_from_the_file(root):
    data = Kinetics600(str(root))
    assert data.classes == ("air drumming", "massaging person's head", "passing American football (in game)")
    assert [r.label for r in data.records("val")] == [0, 1, 2, 0]


def test_a_list_named_val_csv_is_not_the_official_file(root):
    write(root / "val.csv", f"val/{FOLDERS[0]}/{IDS[0]}.mp4,1\n")
    assert len(Kinetics400(str(root)).records("val")) == 4
    listed = Kinetics400(str(root), list=str(root / "val.csv")).records("val")
    assert rows(listed, root) == [(IDS[0], f"val/{FOLDERS[0]}/{IDS[0]}.mp4", 1, IDS[0][:11])]


@pytest.mark.parametrize("form", ["ids", "clips", "names"])
def test_mini_kinetics_in_both_forms(root, tmp_path, form):
    text = {
        "ids": f"{IDS[1][:11]}\n{IDS[0][:11]}\n",
        "clips": f"{IDS[1]}.mp4\n{IDS[0]}\n",
        "names": f"{FOLDERS[1]}\n{FOLDERS[0]}\n",
    }
    subset = str(write(tmp_path / "subset.txt", text[form]))
    mini, full = MiniKinetics(str(root), subset=subset), Kinetics400(str(root), subset=subset)
    found = IDS[:2] if form != "names" else [IDS[0], IDS[1], IDS[3]]
    assert [r.id for r in full.records("val")] == found == [r.id for r in mini.records("val")]
    assert [full.classes[r.label] for r in full.records("val")][:2] == ["air drumming", "massaging person's head"]
    # Ids: by the alphabet. Names: in the order of the file.
    assert [mini.classes[r.label].replace("_", " ") for r in mini.records("val")][:2] == [
        "air drumming",
        "massaging person's head",
    ]
    assert [r.label for r in mini.records("val")] == ([0, 1] if form != "names" else [1, 0, 1])


def test_mini_kinetics_needs_its_list(root):
    with pytest.raises(InputError, match="subset: is missing"):
        MiniKinetics(str(root)).records("val")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "air drumming,--PyMoD3_eg,20,,val,0\n", ["val.csv line 2 is incomplete"]),
        (HEAD + "air druming,--PyMoD3_eg,20,30,val,0\n", ["'air druming'", "did you mean air drumming"]),
        ("youtube_id,time_start,time_end\n--PyMoD3_eg,20,30\n", ["youtube_id, time_start, time_end", "expected label"]),
        (HEAD + "air drumming,AAAAAAAAAAA,20,30,val,0\n", ["none of the 1 clips", "is there", "air_drumming/", "expected"]),
        (HEAD + "air drumming,AAAAAAAAAAA,20,30,train,0\n", ["split val lists no clips"]),
        (HEAD + LINES + LINES.replace("air drumming", "yoga"), ["is listed with labels", IDS[0]]),
    ],
)
def test_a_slip_in_the_file_is_named(root, text, words):
    write(root / "annotations" / "val.csv", text)
    with pytest.raises(InputError) as caught:
        Kinetics400(str(root)).records("val")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value
