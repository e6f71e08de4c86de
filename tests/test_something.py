"""Something-Something V1 and V2, Jester and Diving48 in small: official files, label order, parts of videos."""

import pytest
from miniature import clip, frames, rows, write
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.data.diving48 import Diving48
from robustvideo.benchmark.data.loader import read_clip
from robustvideo.benchmark.data.selection import default_split, manifest_sha256, missing
from robustvideo.benchmark.data.ssv1 import SomethingV1
from robustvideo.benchmark.data.ssv2 import SomethingV2

FIRST, SECOND = "Holding something", "Approaching something with your camera, slowly"
ANNOTATIONS = {"ssv1": "something-something-v1", "jester": "jester-v1"}
HOMES = {"ssv1": "20bn-something-something-v1", "jester": "20bn-jester-v1"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("inside", [True, False])
def test_frame_folders_with_semicolons(tmp_path, name, inside):
    home = tmp_path / "copy" / HOMES[name]
    for number in ("7", "100218"):
        frames(home / number)
    where = tmp_path / "copy" if inside else home
    write(where / f"{ANNOTATIONS[name]}-labels.csv", f"{FIRST}\n{SECOND}\n")  # not in the order of the alphabet
    write(where / f"{ANNOTATIONS[name]}-validation.csv", f"100218;{SECOND}\n7;{FIRST}\n9;{FIRST}\n")
    write(where / f"{ANNOTATIONS[name]}-train.csv", f"7;{FIRST}\n")
    data = resolve("dataset", name, root=str(tmp_path / "copy" if inside else home)).create()
    records = data.records("val")
    assert data.classes == (FIRST, SECOND) and default_split(data) == "val"
    assert rows(records, home) == [("100218", "100218", 1, "100218"), ("7", "7", 0, "7"), ("9", "9", 0, "9")]
    assert missing(records) == records[2:] and [r.id for r in data.records("train")] == ["7"]
    read = read_clip(records[0], InputSpec(3, 16, 16))
    # Frames 1, 3 and 5 of 0 to 5 are grey of 90 + 10 t.
    assert read.shape == (3, 3, 16, 16) and (read[0, :, 5, 5] - read.new_tensor([100, 120, 140])).abs().max() <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("7,Holding something\n", ["line 1", "id;label"]), ("7;Holding\n", ["'Holding'", "did you mean Holding something"])],
)
def test_slips_in_semicolon_files(tmp_path, text, words):
    frames(tmp_path / "7")
    write(tmp_path / "something-something-v1-labels.csv", f"{FIRST}\n{SECOND}\n")
    write(tmp_path / "something-something-v1-validation.csv", text)
    with pytest.raises(InputError) as caught:
        SomethingV1(str(tmp_path)).records("val")
    assert all(word in str(caught.value) for word in words), caught.value


V2 = [
    {"id": "78687", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]},
    {"id": "42326", "label": "approaching", "template": "Approaching [something] with your camera, slowly", "placeholders": []},
]


@pytest.fixture
def ssv2(tmp_path):
    home = tmp_path / "ssv2"
    write(home / "something-something-v2-labels.json", {SECOND: "1", FIRST: "0"})
    write(home / "something-something-v2-validation.json", V2)
    write(home / "something-something-v2-train.json", V2[:1])
    clip(home / "20bn-something-something-v2" / "78687.webm")
    return home


def test_ssv2(ssv2):
    data = SomethingV2(str(ssv2))
    records = data.records("val")
    place = "20bn-something-something-v2"
    assert data.classes == (FIRST, SECOND) and default_split(data) == "val"
    assert rows(records, ssv2) == [("78687", f"{place}/78687.webm", 0, "78687"), ("42326", f"{place}/42326.webm", 1, "42326")]
    assert missing(records) == records[1:] and read_clip(records[0], InputSpec(4, 16, 16)).shape == (3, 4, 16, 16)


def test_ssv2_as_today_s_download_names_it_and_as_frames(ssv2, tmp_path):
    other = tmp_path / "x" / "other"
    for old, new in (("labels", "labels"), ("validation", "validation")):
        write(other / "labels" / f"{new}.json", (ssv2 / f"something-something-v2-{old}.json").read_text())
    frames(other / "20bn-something-something-v2-frames" / "78687", template="%06d.jpg")
    records = SomethingV2(str(other)).records("val")
    assert [(r.id, r.label) for r in records] == [("78687", 0), ("42326", 1)] and not missing(records[:1])


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "validation",
            [{"id": "1", "template": "Holding [a cat]"}],
            ["clip 1", "'Holding a cat'", "did you mean Holding something"],
        ),
        ("validation", [{"id": "1"}], ["has no 'template'", "a str was expected"]),
        ("validation", {"id": "1"}, ["holds a dict of 1", "a list of clips was expected"]),
        ("validation", "[", ["cannot be read"]),
        ("labels", {FIRST: "0", SECOND: "2"}, ["does not number its 2 names"]),
    ],
)
def test_slips_in_ssv2_files(ssv2, file, content, words):
    write(ssv2 / f"something-something-v2-{file}.json", content)
    with pytest.raises(InputError) as caught:
        SomethingV2(str(ssv2)).records("val")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value


def diving(root, entries):
    write(root / "Diving48_vocab.json", [["Back", "15som", "05Twis", "FREE"], ["Reverse", "Dive", "NoTwis", "PIKE"]])
    write(root / "Diving48_V2_test.json", entries)
    return Diving48(str(root))


def test_diving48_and_parts_of_videos(tmp_path):
    clip(tmp_path / "rgb" / "_8Vy3dlHg2w_00000.mp4", frames=12)
    clip(tmp_path / "rgb" / "-mmq0PT-u8k_00155.mp4", frames=12)
    entries = [
        {"vid_name": "_8Vy3dlHg2w_00000", "label": 1, "start_frame": 0, "end_frame": 14},
        {"vid_name": "-mmq0PT-u8k_00155", "label": 0, "start_frame": 4, "end_frame": 8},
    ]
    data = diving(tmp_path, entries)
    records = data.records("test")
    assert data.classes == ("Back 15som 05Twis FREE", "Reverse Dive NoTwis PIKE") and default_split(data) == "test"
    assert [(r.id, r.label, r.group, r.start, r.stop) for r in records] == [
        ("_8Vy3dlHg2w_00000", 1, "_8Vy3dlHg2w", 0, 14),
        ("-mmq0PT-u8k_00155", 0, "-mmq0PT-u8k", 4, 8),
    ]
    assert data.records("test") == records == diving(tmp_path, entries).records("test"), "the manifest keeps the parts"
    grey = [read_clip(record, InputSpec(4, 16, 16))[0, :, 8, 8].int() for record in records]
    assert (grey[0] - grey[0].new_tensor([100, 130, 160, 190])).abs().max() <= 2, "an end beyond the file's is its end"
    assert (grey[1] - grey[1].new_tensor([130, 140, 150, 160])).abs().max() <= 2
    moved = diving(tmp_path, [entries[0], entries[1] | {"end_frame": 7}]).records("test")
    assert manifest_sha256(moved) != manifest_sha256(records)
    late = diving(tmp_path, [entries[0] | {"start_frame": 12}]).records("test")
    with pytest.raises(InputError, match="has 12 frames; the clip is to start at frame 12"):
        read_clip(late[0], InputSpec(4, 16, 16))


@pytest.mark.parametrize(
    "change", [{"label": 2}, {"label": -1}, {"end_frame": 0}, {"start_frame": "0"}, {"label": True}, {"vid_name": None}]
)
def test_slips_in_diving48(tmp_path, change):
    clip(tmp_path / "rgb" / "a_00000.mp4")
    entry = {"vid_name": "a_00000", "label": 1, "start_frame": 0, "end_frame": 6}
    assert len(diving(tmp_path, [entry]).records("test")) == 1
    with pytest.raises(InputError, match=r"Diving48_V2_test.json: (clip a_00000 has|the entry)"):
        diving(tmp_path, [entry | change]).records("test")


def test_the_labels_of_diving48_v1_are_not_taken(tmp_path):
    clip(tmp_path / "rgb" / "a_00000.mp4")
    write(tmp_path / "Diving48_test.json", [])
    with pytest.raises(InputError, match=r"has no Diving48_V2_test.json; found: Diving48_test.json"):
        Diving48(str(tmp_path)).records("test")
