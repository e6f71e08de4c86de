"""Baseline files: every bit comes back, one line per cell, and every damage is one clear line."""

import json

import numpy as np
import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.gate import baseline
from robustvideo.leaderboard.gate.identity import names
from robustvideo.leaderboard.results import Results
from stores import PGD, made_cell, put_all

HOSTILE = ["<script>alert(1)</script>", "a,b|c\nd", "x" * 200, "\u202eabc", "=1+1", '"hash":"deadbeef"', "\u2028`\\%&_"]


def results(*cells):
    return Results(list(cells))


def written(folder, *cells):
    path = folder / "baseline.json"
    path.write_text(baseline.make(results(*cells)), encoding="utf-8")
    return path


def right(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2, count).tolist()


@pytest.mark.parametrize("clips", [1, 7, 8, 64, 1000])
@pytest.mark.parametrize("passes", [1, 2, 3, 10, 20])
def test_shares_of_passes_come_back_exactly(clips, passes):
    counts = np.random.default_rng(clips).integers(0, passes + 1, clips)
    shares = np.array([round(count / passes, 3) for count in counts.tolist()])
    took, packed = baseline.pack(shares)
    assert passes % took == 0
    assert np.array_equal(baseline.unpack(packed, clips, took), shares)


def test_bits_are_hexadecimal_digits_and_a_thousand_clips_take_250():
    assert baseline.pack(np.array([1.0, 0, 1, 0, 1, 1, 1, 1])) == (1, "af")
    assert len(baseline.pack(np.array(right(1000), float))[1]) == 250
    # Counts 3, 0, 1, 2 of three passes, two bits each: 11 00 01 10.
    assert baseline.pack(np.array([1.0, 0, 0.333, 0.667])) == (3, "c6")
    with pytest.raises(InputError, match="no thousandths"):
        baseline.pack(np.array([0.12345]))


def test_all_that_the_gate_needs_comes_back(tmp_path):
    cells = [
        made_cell(right(40), per_source=4),
        made_cell([0.3, 1.0] * 20, attack=PGD, defense="shuffle", per_source=4, defense_sha256=["ab" * 32]),
        made_cell(right(30, 1), corruption="gaussian_noise", severity=3),
    ]
    path = written(tmp_path, *cells)
    read = {cell.hash: cell for cell in baseline.read(path).cells}
    lines = path.read_text(encoding="utf-8").split("\n")
    for cell in cells:
        back, clips = read[cell["cell"]], cell["clips"]
        assert back.spec == cell["spec"]
        assert (list(back.ids), list(back.groups)) == (clips["id"], clips["group"])
        assert back.correct.tolist() == clips["correct"]
        assert f'"hash":"{back.hash}"' in lines[back.line - 1] and back.name in lines[back.line - 1]
    assert len(lines) < 20 and lines[-1] == ""


def test_another_order_of_cells_and_clips_is_the_same_file():
    one, two = made_cell(right(20)), made_cell(right(20, 1), attack=PGD)
    mixed = json.loads(json.dumps(one))
    mixed["clips"] = {key: values[::-1] for key, values in mixed["clips"].items()}
    assert baseline.make(results(one, two)) == baseline.make(results(two, mixed))


def test_one_more_cell_is_one_more_line():
    cells = [made_cell(right(20, k), attack=f"pgd:eps={k}/255", eps=k / 255) for k in range(1, 5)]
    before, after = (baseline.make(results(*some)).split("\n") for some in (cells[:-1], cells))
    added = [line for line in after if line not in before and line + "," not in before and line.rstrip(",") not in before]
    assert len(after) == len(before) + 1 and len(added) == 1


def test_failed_cells_are_left_out_and_named(tmp_path):
    failed = made_cell([], attack=PGD, error="out of memory\nagain")
    path = written(tmp_path, made_cell(right(9)), failed)
    assert [cell.name for cell in baseline.read(path).cells] == ["tsm|none|clean"]
    assert json.loads(path.read_text(encoding="utf-8"))["left_out"] == [{"hash": failed["cell"], "error": failed["error"]}]
    with pytest.raises(InputError, match="no cell that was measured"):
        baseline.make(results(failed))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_come_back_as_text(tmp_path, text):
    cell = made_cell(right(9), model=text, attack=f"a:{text}")
    cell["clips"]["id"][0] = text
    read = baseline.read(written(tmp_path, cell, made_cell(right(9)))).cells
    found = next(one for one in read if one.hash == cell["cell"])
    assert found.spec["model"] == text and text in found.ids and text in found.name
    lines = (tmp_path / "baseline.json").read_text(encoding="utf-8").split("\n")
    assert cell["cell"] in lines[found.line - 1]


def test_names_are_short_and_never_there_twice():
    pgd = made_cell([1], attack=PGD)["spec"]
    noise = made_cell([1], corruption="gaussian_noise", severity=5)["spec"]
    assert names([pgd, noise]) == ["tsm|none|pgd:eps=8/255|white-box", "tsm|none|gaussian_noise:5"]
    other = pgd | {"dataset": "shapes-motion", "limit": 32}
    transfer = pgd | {"threat": "transfer:tsm:preset=tiny,frames=none,size=none"}
    assert names([pgd, other, transfer]) == [
        "tsm|none|pgd:eps=8/255|white-box|shapes/test/seed 0",
        "tsm|none|pgd:eps=8/255|white-box|shapes-motion/test/first 32/seed 0",
        "tsm|none|pgd:eps=8/255|transfer:tsm",
    ]


def test_two_checkpoints_of_one_model_are_refused_and_both_named():
    one, two = made_cell(right(9), weights_sha256="a" * 64), made_cell(right(9), attack=PGD, weights_sha256="b" * 64)
    with pytest.raises(InputError, match=r"two checkpoints of tsm: aaaaaaaaaaaa and bbbbbbbbbbbb"):
        baseline.make(results(one, two))
    trained = [made_cell(right(9), attack=a, defense="at", defense_sha256=[s * 64]) for a, s in (("none", "c"), (PGD, "d"))]
    with pytest.raises(InputError, match=r"two checkpoints of at: cccccccccccc and dddddddddddd"):
        baseline.make(results(*trained))
    baseline.make(results(one, made_cell(right(9), model="r3d", weights_sha256="b" * 64)))


def test_one_cell_under_two_conditions_is_refused_and_of_two_strengths_the_full_one_counts(tmp_path):
    cells = [made_cell(right(9), attack=PGD, versions={"dataset": "1", "attack": version}) for version in "12"]
    with pytest.raises(InputError, match=r"twice \(version of attack: [12] -> [12]\)"):
        baseline.make(results(*cells))
    full, first = (made_cell(right(9), attack=PGD, strength=strength) for strength in ("full", "first-success"))
    for order in ((full, first), (first, full)):
        assert [cell.hash for cell in baseline.read(written(tmp_path, *order)).cells] == [full["cell"]]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "[]", "is no baseline"),
        (lambda text: text.replace('"schema":1', '"schema":2'), "of schema 2, and this version reads 1"),
        (lambda text: text.replace('"correct":"', '"correct":"00'), r"line 6: the clips of tsm\|none\|clean are damaged"),
        (lambda text: text.replace('"correct":"', '"correct":"zz'), r"are damaged"),
        (lambda text: text.replace('"passes":1', '"passes":0'), r"are damaged"),
        (lambda text: text.replace('"passes":1', '"passes":"1"'), r"are damaged"),
        (lambda text: text.replace('"model":', '"modle":'), r"lacks model"),
        (lambda text: text.replace('"clips":{', '"klips":{'), r"is damaged: KeyError 'clips'"),
        (lambda text: text.replace('"cells":[', '"cells":[3,'), r"is damaged"),
        (lambda text: text.replace("clip-0001", "clip-0000"), r"has a clip twice"),
        (lambda text: "[" * 100_000, r"is not JSON"),
    ],
)
def test_damage_is_one_line(tmp_path, damage, told):
    path = written(tmp_path, made_cell([1.0] * 8))
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=told) as raised:
        baseline.read(path)
    assert str(raised.value).startswith("baseline: ") and "\n" not in str(raised.value)


def test_what_cannot_be_read_is_one_line(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            baseline.read(path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        baseline.read(tmp_path / "bytes")


@pytest.mark.parametrize("broken", [{"correct": [1.0]}, {"correct": [2.0] * 9}, {"correct": ["x"] * 9}, {"id": ["a"] * 9}])
def test_a_cell_with_broken_clip_lists_is_refused(tmp_path, broken):
    cell = made_cell(right(9))
    cell["clips"] |= broken
    store = Results.read([put_all(tmp_path / "store", [cell])])
    with pytest.raises(InputError, match=f"cell {cell['cell']} has broken clip lists"):
        baseline.make(store)


def test_a_file_that_was_set_on_many_lines_still_tells_the_line(tmp_path):
    path = written(tmp_path, made_cell(right(9)), made_cell(right(9), attack=PGD))
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    assert all(cell.hash in lines[cell.line - 1] for cell in baseline.read(path).cells)
