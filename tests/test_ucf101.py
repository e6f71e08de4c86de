"""UCF101 and HMDB51 in small: official lists, the traps of names and order, other people's copies."""

import shutil

import pytest
from miniature import clip, frames, rows, write
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.data import written
from robustvideo.benchmark.data.hmdb51 import Hmdb51
from robustvideo.benchmark.data.loader import read_clip
from robustvideo.benchmark.data.selection import default_split, manifest_sha256, missing
from robustvideo.benchmark.data.ucf101 import Ucf101

# In official order, which ignores case: by ASCII, HammerThrow and JumpRope would come first of their pairs.
CLASSES = ("Hammering", "HammerThrow", "HandstandPushups", "JumpingJack", "JumpRope")
TEST = (
    "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    "Hammering/v_Hammering_g01_c02.avi",
    "HammerThrow/v_HammerThrow_g01_c01.avi",
)
WANTED = [
    ("v_HandStandPushups_g01_c01", f"UCF-101/{TEST[0]}", 2, "HandstandPushups/g01"),
    ("v_Hammering_g01_c02", f"UCF-101/{TEST[1]}", 0, "Hammering/g01"),
    ("v_HammerThrow_g01_c01", f"UCF-101/{TEST[2]}", 1, "HammerThrow/g01"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def lists(folder):
    write(folder / "classInd.txt", "".join(f"{number} {name} \r\n" for number, name in enumerate(CLASSES, start=1)))
    write(folder / "testlist01.txt", "".join(f"{place}\n" for place in TEST))
    write(folder / "trainlist01.txt", "JumpRope/v_JumpRope_g08_c01.avi 5\nHandstandPushups/v_HandStandPushups_g08_c02.avi 3\n")


@pytest.fixture
def root(tmp_path):
    lists(tmp_path / "ucf" / "ucfTrainTestlist")
    for place in (*TEST, "JumpRope/v_JumpRope_g08_c01.avi"):
        clip(tmp_path / "ucf" / "UCF-101" / place)
    return tmp_path / "ucf"


def test_official_lists_order_groups_and_splits(root):
    data = resolve("dataset", "ucf101", root=str(root)).create()
    assert data.classes == CLASSES and default_split(data) == "1"
    assert rows(data.records("1"), root) == WANTED
    train = data.records("1-train")
    assert [(r.id, r.label) for r in train] == [("v_JumpRope_g08_c01", 4), ("v_HandStandPushups_g08_c02", 2)]
    assert missing(train) == [train[1]] and train[1].path.name == "v_HandStandPushups_g08_c02.avi"
    assert read_clip(data.records("1")[0], InputSpec(4, 16, 16)).shape == (3, 4, 16, 16)
    with pytest.raises(InputError, match=r"no split 'test'; there is 1, 2, 3, 1-train"):
        data.records("test")


def test_the_class_is_the_folder_s_and_case_is_no_matter(root):
    (root / "UCF-101" / "HandstandPushups").rename(root / "UCF-101" / "HandStandPushups")
    records = Ucf101(str(root)).records("1")
    assert records[0].label == 2 and records[0].group == "HandstandPushups/g01" and not missing(records)


@pytest.mark.parametrize("layout", ["class folders", "beside", "mmaction", "mp4", "flat", "frames"])
def test_copies_of_other_layouts_are_the_same_clips(root, tmp_path, layout):
    other = tmp_path / "other"
    if layout == "class folders":
        shutil.copytree(root / "UCF-101", other)
        lists(other)
    elif layout == "beside":
        shutil.copytree(root, other)
        other = other / "UCF-101"
    elif layout == "mmaction":
        shutil.copytree(root / "UCF-101", other / "videos")
        lists(other / "annotations")
    elif layout == "mp4":
        lists(other / "ucfTrainTestlist")
        for place in TEST:
            clip((other / "UCF-101" / place).with_suffix(".mp4"))
    elif layout == "flat":
        lists(other / "annotations")
        for place in TEST:
            clip(other / "videos" / place.split("/")[1])
    else:
        lists(other / "annotations")
        for place in TEST:
            frames((other / "rawframes" / place).with_suffix(""), template="img_%05d.jpg")
    records = Ucf101(str(other)).records("1")
    assert [(r.id, r.label, r.group) for r in records] == [(name, label, group) for name, _, label, group in WANTED]
    assert not missing(records) and all(read_clip(r, InputSpec(2, 8, 8)).shape == (3, 2, 8, 8) for r in records)


def test_frames_and_flow_in_one_folder_are_told_apart(root, tmp_path):
    shutil.rmtree(root / "UCF-101")
    for place in TEST:
        folder = (root / "rawframes" / place).with_suffix("")
        frames(folder, template="img_%05d.jpg")
        frames(folder, template="flow_x_%05d.jpg", level=0)
    with pytest.raises(InputError, match=r"several series of images: flow_x_, img_"):
        read_clip(Ucf101(str(root)).records("1")[0], InputSpec(2, 8, 8))
    for template in ("img_%05d.jpg", "img_{:05d}.jpg", "img_{:05}.jpg"):
        chosen = Ucf101(str(root), template=template).records("1")
        read = read_clip(chosen[0], InputSpec(2, 8, 8))
        assert abs(int(read[0, 0, 0, 0]) - 100) <= 2 and abs(int(read[0, 1, 0, 0]) - 130) <= 2
    assert manifest_sha256(chosen) != manifest_sha256(Ucf101(str(root)).records("1"))
    with pytest.raises(InputError, match="does not have one number"):
        Ucf101(str(root), template="img.jpg").records("1")


def test_a_manifest_is_written_once_and_made_anew_when_something_changed(root, cache, monkeypatch):
    first = Ucf101(str(root)).records("1")
    (file,) = cache.iterdir()
    assert file.name.startswith("ucf101-1-") and file.read_text().count("\n") == 4
    made = []
    join = written.join
    monkeypatch.setattr(written, "join", lambda *words: made.append(words) or join(*words))
    assert Ucf101(str(root)).records("1") == first and not made
    clip(root / "UCF-101" / "JumpRope" / "v_JumpRope_g02_c01.avi")  # a folder changed
    assert Ucf101(str(root)).records("1") == first and len(made) == 1
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as stream:  # the annotation changed
        stream.write("JumpRope/v_JumpRope_g02_c01.avi\n")
    assert len(Ucf101(str(root)).records("1")) == 4 and len(made) == 2
    (file,) = cache.iterdir()
    file.write_text("nonsense")
    assert len(Ucf101(str(root)).records("1")) == 4 and len(made) == 3
    assert len(Ucf101(str(root)).records("1")) == 4 and len(made) == 3


def test_a_cache_that_cannot_be_written_is_no_harm(root, cache):
    cache.parent.mkdir()
    cache.write_text("a file stands in the way")
    assert rows(Ucf101(str(root)).records("1"), root) == WANTED


def test_a_root_of_another_layout_is_told_what_was_expected_and_found(root, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = {
        "nowhere": ["there is no folder", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"],
        "empty": ["has no testlist01.txt", "found: nothing", "annotations=DIR", "list=FILE"],
        "ucf/UCF-101/Hammering": ["has no testlist01.txt", "found: v_Hammering_g01_c02.avi"],
    }
    for place, words in cases.items():
        with pytest.raises(InputError) as caught:
            Ucf101(str(tmp_path / place)).records("1")
        assert all(word in str(caught.value) for word in ("dataset ucf101: root", *words)), caught.value
    (root / "UCF-101").rename(root / "clips")
    with pytest.raises(
        InputError, match=r"none of the 3 clips of split 1 is there; .* holds clips/, ucfTrainTestlist/; expected"
    ):
        Ucf101(str(root)).records("1")
    with pytest.raises(InputError, match=r"annotations: .* has no testlist01.txt; found: Hammer.*"):
        Ucf101(str(root), annotations=str(root / "clips")).records("1")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "testlist01.txt",
            "HandstandPushups/a.avi\nHamering/b.avi\n",
            ["testlist01.txt line 2", "'Hamering'", "did you mean Hammering"],
        ),
        ("testlist01.txt", "v_Hammering_g01_c01.avi\n", ["line 1", "a line is"]),
        ("testlist01.txt", "\n", ["is empty"]),
        ("classInd.txt", "1 Hammering\nHammerThrow\n", ["classInd.txt line 2", "1 ApplyEyeMakeup"]),
        ("classInd.txt", "1 Hammering\n3 HammerThrow\n", ["does not number its 2 classes"]),
    ],
)
def test_a_slip_in_an_annotation_is_named(root, file, text, words):
    write(root / "ucfTrainTestlist" / file, text)
    with pytest.raises(InputError) as caught:
        Ucf101(str(root)).records("1")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value


HMDB = {
    "brush_hair": ["April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1", "April_09_brush_hair_u_nm_np1_ba_goo_1.avi 2"],
    "ride_bike": ["Bike_Ride_(easy)_ride_bike_f_cm_np1_le_med_0.avi 0", "April_09_ride_bike_f_cm_np1_le_med_12.avi 2"],
}


@pytest.mark.parametrize("official", [True, False])
def test_hmdb51(tmp_path, official):
    for kind, lines in HMDB.items():
        if official:
            write(tmp_path / "testTrainMulti_7030_splits" / f"{kind}_test_split1.txt", "".join(f"{line} \n" for line in lines))
        for line in lines:
            clip(tmp_path / "hmdb51_org" / kind / line[:-2])
    names = ""
    if not official:
        tests = [f"{kind}/{line[:-2]}" for kind, lines in HMDB.items() for line in lines if line.endswith("2")]
        write(tmp_path / "annotations" / "testlist01.txt", "\n".join(tests))
        write(tmp_path / "annotations" / "trainlist01.txt", f"brush_hair/{HMDB['brush_hair'][0][:-2]} 0\n")
        names = str(write(tmp_path / "names.txt", "brush_hair\nride_bike\n"))
    data = Hmdb51(str(tmp_path), names=names)
    assert data.classes == ("brush_hair", "ride_bike") and default_split(data) == "1"
    stem = "April_09_brush_hair_u_nm_np1_ba_goo_1"
    assert rows(data.records("1"), tmp_path) == [
        (f"brush_hair/{stem}", f"hmdb51_org/brush_hair/{stem}.avi", 0, "April_09"),
        (
            "ride_bike/April_09_ride_bike_f_cm_np1_le_med_12",
            "hmdb51_org/ride_bike/April_09_ride_bike_f_cm_np1_le_med_12.avi",
            1,
            "April_09",
        ),
    ]
    assert [r.id for r in data.records("1-train")] == ["brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0"]
    assert not missing(data.records("1"))


def test_hmdb51_slips(tmp_path):
    clip(tmp_path / "wave" / "a_wave_u_nm_np1_ba_goo_0.avi")
    write(tmp_path / "splits" / "wave_test_split1.txt", "a_wave_u_nm_np1_ba_goo_0.avi 3\n")
    with pytest.raises(InputError, match=r"wave_test_split1.txt line 1 .* 0, 1 or 2"):
        Hmdb51(str(tmp_path)).records("1")
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(InputError, match=r"root: .*y has no testlist01.txt or \*_test_split1.txt; found: nothing; expected"):
        Hmdb51(str(tmp_path / "x" / "y")).records("1")
