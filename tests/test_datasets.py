"""Manifests, class folders, selection: what a user writes, what comes out, and what a slip is told."""

from dataclasses import replace

import pytest
from PIL import Image
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.data.folder import Folder
from robustvideo.benchmark.data.manifest import Manifest
from robustvideo.benchmark.data.selection import balanced, default_split, manifest_sha256, missing


@pytest.fixture
def write(tmp_path):
    def put(text, name="list.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return put


def test_a_manifest_of_indices(write, tmp_path):
    path = write(
        "path,label,group,split,id,class\na/1.mp4,0,g1,train,one,run\nb.mp4,2,g1,test,two,jump\n/x/c.mp4,2,,test,three,\n"
    )
    data = resolve("dataset", f"manifest:{path}").create()
    assert data.classes == ("run", "1", "jump")
    assert data.records("train") == [ClipRecord("one", tmp_path / "a/1.mp4", 0, "g1")]
    assert [(r.id, str(r.path), r.label, r.group) for r in data.records("test")] == [
        ("two", str(tmp_path / "b.mp4"), 2, "g1"),
        ("three", "/x/c.mp4", 2, "three"),
    ]


def test_a_manifest_of_names_a_root_and_no_split(write, tmp_path):
    path = write('\ufefflabel,path\nwalk,"a,1.mp4"\nrun,../b.mp4\n')
    data = Manifest(path, root="/videos")
    assert data.classes == ("run", "walk")
    assert [(r.id, str(r.path), r.label) for r in data.records("test")] == [
        ("a,1.mp4", "/videos/a,1.mp4", 1),
        ("../b.mp4", "/videos/../b.mp4", 0),
    ]


def test_a_manifest_of_parts_of_videos(write, tmp_path):
    path = write("path,label,id,start,stop,template\na.mp4,0,one,,,\na.mp4,1,two,5,9,\nb,1,three,2,,img_%05d.jpg\n")
    video, folder = tmp_path / "a.mp4", tmp_path / "b"
    assert Manifest(path).records("test") == [
        ClipRecord("one", video, 0, "one"),
        ClipRecord("two", video, 1, "two", 5, 9),
        ClipRecord("three", folder, 1, "three", 2, None, "img_%05d.jpg"),
    ]


def test_a_names_file_gives_the_label_order(write):
    names = write("walk\njump\nrun\n", "names.txt")
    assert Manifest(write("path,label\na,run\n"), names=names).records("test")[0].label == 2
    data = Manifest(write("path,label\na,1\n"), names=names)
    assert data.classes == ("walk", "jump", "run") and data.records("test")[0].label == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1", "'path'", "path,label"]),
        ("path,class\na,b\n", ["line 1", "'label'", "path, class"]),
        ("path,label\n", ["lists no videos"]),
        ("path,label\na,0\n,1\n", ["line 3", "path is empty"]),
        ("path,label\na,0\nb,\n", ["line 3", "label is empty"]),
        ("path,label\na,0\nb,-1\n", ["line 3", "'-1'", "indices from 0"]),
        ("path,label\na,0\nb,1.5\n", ["line 3", "'1.5'"]),
        ("path,label\na,run\nb,1\n", ["line 2", "'run'", "in every line"]),
        ("path,label\na,9999999999\n", ["line 2", "too large"]),
        ("path,label\na,0\nb,1\na,1\n", ["line 4", "'a'", "line 2 too"]),
        ("path,label,id\na,0,x\nb,1,x\n", ["line 3", "'x'"]),
        ("path,label\na,0,5\n", ["line 2", "more or fewer cells"]),
        ("path,label\na\n", ["line 2", "more or fewer cells"]),
        ("path,label,class\na,0,run\nb,0,walk\n", ["line 3", "'walk'", "'run'"]),
        ("path,label,split\na,0,\n", ["line 2", "split is empty"]),
        ('path,label\n"a,0\n', ["cannot be read"]),
        ("path,label,start\na,0,-1\n", ["line 2", "start '-1'", "count from 0"]),
        ("path,label,start,stop\na,0,7,7\n", ["line 2", "stops at frame 7"]),
    ],
)
def test_a_slip_in_a_manifest_is_named(write, text, words):
    path = write(text)
    with pytest.raises(InputError) as caught:
        Manifest(path).records("test")
    message = str(caught.value)
    assert path in message and "; " in message and all(word in message for word in words), message


def test_a_manifest_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.csv").write_bytes(b"path,label\n\xe9.mp4,0\n")
    for name in ("latin.csv", "nowhere.csv", "."):
        with pytest.raises(InputError, match="cannot be read"):
            Manifest(str(tmp_path / name)).records("test")


def test_an_unknown_split_is_told_those_there_are(write):
    data = Manifest(write("path,label,split\na,0,val\nb,0,dev\n"))
    with pytest.raises(InputError, match=r"no split 'test'; there is dev, val"):
        data.records("test")


@pytest.mark.parametrize(
    ("names", "label", "words"),
    [
        ("run\nwalk\n", "rum", ["line 2", "'rum'", "did you mean run"]),
        ("run\nwalk\n", "2", ["line 2", "label 2"]),
        ("run\n\nwalk\n", "run", ["line 2 is empty"]),
        ("run\nwalk\nrun\n", "run", ["lines 1 and 3"]),
        ("", "run", ["is empty"]),
    ],
)
def test_names_that_do_not_fit(write, names, label, words):
    with pytest.raises(InputError) as caught:
        Manifest(write(f"path,label\na,{label}\n"), names=write(names, "names.txt")).records("test")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.fixture
def tree(tmp_path):
    def put(*files):
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return str(tmp_path)

    return put


def test_class_folders(tree, tmp_path):
    root = tree("walk/v10.mp4", "walk/v2.AVI", "walk/.hidden.mp4", "walk/notes.txt", "run/clip/1.jpg", "read.me", ".git/x.mp4")
    data = resolve("dataset", f"folder:root={root}").create()
    assert data.classes == ("run", "walk")
    assert data.records("test") == [
        ClipRecord("run/clip", tmp_path / "run/clip", 0, "run/clip"),
        ClipRecord("walk/v2.AVI", tmp_path / "walk/v2.AVI", 1, "walk/v2.AVI"),
        ClipRecord("walk/v10.mp4", tmp_path / "walk/v10.mp4", 1, "walk/v10.mp4"),
    ]
    with pytest.raises(InputError, match="no split 'train'; there is test"):
        data.records("train")


def test_split_folders_share_their_labels(tree):
    data = Folder(tree("train/a/1.mp4", "train/b/2.mp4", "test/b/3.mp4", "annotations/x.mp4"))
    assert data.classes == ("a", "b")
    assert [(r.id, r.label) for r in data.records("test")] == [("test/b/3.mp4", 1)]
    assert [(r.id, r.label) for r in data.records("train")] == [("train/a/1.mp4", 0), ("train/b/2.mp4", 1)]
    with pytest.raises(InputError, match="there is train, test"):
        data.records("val")


def test_a_names_file_orders_class_folders(tree, write):
    root = tree("HammerThrow/1.mp4", "Hammering/1.mp4")
    names = write("Hammering\nHammerThrow\nOther\n", "names.txt")
    assert [(r.id, r.label) for r in Folder(root, names).records("test")] == [("HammerThrow/1.mp4", 1), ("Hammering/1.mp4", 0)]
    with pytest.raises(InputError, match=r"lacks the folder 'HammerThrow'"):
        Folder(root, write("Hammering\n", "short.txt")).records("test")


def test_folders_without_videos(tree, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        Folder(str(tmp_path / "nowhere")).records("test")
    with pytest.raises(InputError, match="no class folders"):
        Folder(str(tmp_path)).records("test")
    with pytest.raises(InputError, match="holds no videos"):
        Folder(tree("run/notes.txt")).records("test")


@pytest.fixture
def many(tmp_path):
    counts = {0: 50, 1: 10, 2: 3}
    return [ClipRecord(f"{label}-{i}", tmp_path / f"{label}-{i}", label, "g") for label, n in counts.items() for i in range(n)]


def test_a_limit_is_balanced_stable_and_deaf_to_order(many):
    full = balanced(many)
    assert sorted(r.id for r in full) == sorted(r.id for r in many)
    assert [r.label for r in full[:13]] == [0, 1, 2] * 3 + [0, 1] * 2
    for limit in (1, 10, 20, 63, 1000):
        assert balanced(many[::-1], limit) == full[:limit]
    assert [r.id for r in full[:6]] != [r.id for r in many[:6]]
    with pytest.raises(InputError, match="limit"):
        balanced(many, 0)


def test_the_order_is_frozen(many):
    # Results of a limit are only comparable while this order stands.
    assert [r.id for r in balanced(many, 6)] == ["0-14", "1-4", "2-0", "0-20", "1-9", "2-2"]


def test_a_manifest_has_one_name(tmp_path, many):
    first = manifest_sha256(many)
    assert first == manifest_sha256(many[::-1]) and len(first) == 64
    moved = [ClipRecord(r.id, tmp_path / "elsewhere" / r.id, r.label, r.group) for r in many]
    assert manifest_sha256(moved) == first
    names = {first, manifest_sha256(many[1:]), manifest_sha256([ClipRecord("x", *_rest(many[0])), *many[1:]])}
    names.add(manifest_sha256([ClipRecord(many[0].id, many[0].path, 5, "g"), *many[1:]]))
    names.add(manifest_sha256([ClipRecord(many[0].id, many[0].path, 0, "h"), *many[1:]]))
    many[0].path.write_bytes(b"12")
    names.add(manifest_sha256(many))
    many[0].path.write_bytes(b"123")
    names.add(manifest_sha256(many))
    many[1].path.mkdir()
    Image.new("L", (2, 2)).save(many[1].path / "1.png")
    names.add(manifest_sha256(many))
    part = many[2]
    for change in ({"start": 3}, {"stop": 9}, {"template": "%d.jpg"}):
        names.add(manifest_sha256([*many[:2], replace(part, **change), *many[3:]]))
    assert len(names) == 11


def test_missing_files_are_found_and_data_sets_have_a_split_of_their_own(tree, tmp_path):
    root = tree("a/1.mp4", "a/2/1.jpg")
    there = Folder(root).records("test")
    gone = ClipRecord("x", tmp_path / "x.mp4", 0, "x")
    assert missing([gone, *there]) == [gone]
    assert default_split(Folder(root)) == default_split(object()) == "test"


def _rest(record):
    return record.path, record.label, record.group
