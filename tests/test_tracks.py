"""Tracks: which cells count, which rows are whole, and what a wrong file is answered."""

import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.tracks import Track, shipped
from stores import PGD, made_cell

SHUFFLE = "shuffle:h1=none,h2=none,preset=auto,draws=10"
SQUARE = "square:norm=linf,eps=8/255,queries=5000,p_init=0.8"
FOG = "fog:table=imagenet-c-224,temporal=reference,stage=frames,size=none,storage=none,truncate=true"
I3D = "i3d:preset=tiny,frames=none,size=none"
WHOLE = """
title = "A title"
about = "What it shows."
dataset = "shapes"
split = "test"
attacks = ["pgd:steps=50,eps=8/255", "square:eps=8/255"]
threats = ["oblivious"]
"""


def right(count, of=20):
    return [1.0] * count + [0.0] * (of - count)


@pytest.fixture
def track(tmp_path):
    def read(text=WHOLE):
        (tmp_path / "mine.toml").write_text(text)
        return Track.read(tmp_path / "mine.toml")

    return read


def board_of(track, *cells):
    return build(Results(cells), track)


def undefended(model=I3D):
    return [
        made_cell(right(20), model=model),
        made_cell(right(6), model=model, attack=PGD),
        made_cell(right(9), model=model, attack=SQUARE),
    ]


def defended():
    found = [made_cell(right(20), defense=SHUFFLE)]
    for attack in (PGD, SQUARE):
        found += [made_cell(right(12), defense=SHUFFLE, attack=attack, threat=name) for name in ("oblivious", "adaptive:eot=1")]
    return found


def test_shipped_tracks_are_read():
    assert shipped() == ["kinetics400-linf", "shapes-corruptions", "shapes-linf"]
    for name in shipped():
        found = Track.read(name)
        assert found.name == name and found.title and found.about and (found.attacks or found.corruptions)
        assert all("," in one for one in (*found.attacks, *found.corruptions)), "specs are canonical"
        assert "adaptive" in found.threats


def test_cells_outside_of_the_track_do_not_count(track):
    others = [
        made_cell(right(0), model=I3D, attack=PGD.replace("8/255", "16/255"), eps=16 / 255),
        made_cell(right(0), model=I3D, attack=PGD, threat="transfer:x3d"),
        made_cell(right(0), model=I3D, attack=PGD, seed=1),
        made_cell(right(0), model=I3D, attack=PGD, limit=20),
        made_cell(right(0), model=I3D, attack=PGD, dataset="shapes-motion"),
        made_cell(right(0), model=I3D, corruption=FOG, severity=1),
    ]
    board = board_of(track(), *undefended(), *others)
    assert track().of(Results([*undefended(), *others])).cells == undefended(), "nor are they drawn"
    ((row,),) = [section.rows for section in board.sections]
    assert row.values["worst"].mean == 0.3 and row.rank == (1, 1) and (board.track, board.title) == ("mine", "A title")
    assert not any(flag.startswith("incomplete") for flag in row.flags)


def test_the_order_of_parameters_and_defaults_do_not_matter(track):
    """Cells of earlier versions lack parameters that have come since."""
    older = PGD.replace(",target=none", "")
    cells = undefended()[::2] + [made_cell(right(6), model=I3D, attack=older)]
    ((row,),) = [section.rows for section in board_of(track(), *cells).sections]
    assert row.rank == (1, 1) and not any(flag.startswith("incomplete") for flag in row.flags)


@pytest.mark.parametrize(
    ("lost", "what"),
    [
        (lambda cell: cell["spec"]["kind"] == "clean", "incomplete:clean"),
        (lambda cell: cell["spec"]["attack"] == PGD, "incomplete:pgd:eps=8/255(adaptive)"),
        (lambda cell: cell["spec"]["threat"] == "oblivious", "incomplete:square:eps=8/255(oblivious)"),
    ],
)
def test_a_row_that_lacks_a_cell_is_not_ranked(lost, what, track):
    cells = [cell for cell in defended() if not lost(cell)]
    (section,) = board_of(track(), *undefended(), *cells).sections
    whole, part = section.rows
    assert whole.model == I3D and whole.rank == (1, 1), "its worst case is lower, and whole"
    assert what in part.flags and part.rank is None and "worst" not in part.values
    complete = board_of(track(), *undefended(), *defended()).sections[0].rows
    assert [row.rank for row in complete] != [(1, 1), None] and complete[0].defense == SHUFFLE


def test_a_failed_cell_is_lacking(track):
    cells = [*undefended()[:2], made_cell(right(9), model=I3D, attack=SQUARE, error="RuntimeError: no")]
    ((row,),) = [section.rows for section in board_of(track(), *cells).sections]
    assert "incomplete:square:eps=8/255(white-box)" in row.flags and row.rank is None


def test_attacks_by_gradient_are_not_missed_where_no_gradient_passes(track):
    cells = defended()
    for cell in cells:
        cell["declared"]["gradient"] = "none"
        if cell["spec"]["attack"] == PGD and cell["spec"]["threat"].startswith("adaptive"):
            cell |= {"status": "error", "error": "InputError: the defence lets no gradient pass", "clips": {}, "evidence": {}}
        elif cell["spec"]["attack"] == SQUARE:
            cell["clips"]["gradients"] = [0] * 20
    ((row,),) = [section.rows for section in board_of(track(), *cells).sections]
    assert row.rank == (1, 1) and not any(flag.startswith("incomplete") for flag in row.flags)
    board = board_of(track(), *(cell for cell in cells if cell["spec"]["attack"] != SQUARE))
    assert not board.sections and "lets no gradient pass" in board.refused[0]


def test_corruptions_of_a_track(track):
    text = WHOLE.replace('attacks = ["pgd:steps=50,eps=8/255", "square:eps=8/255"]', 'corruptions = ["fog"]\nseverities = [1, 3]')
    cells = [made_cell(right(20)), *(made_cell(right(10), corruption=FOG, severity=level) for level in (1, 2))]
    ((row,),) = [section.rows for section in board_of(track(text), *cells).sections]
    assert [flag for flag in row.flags if flag.startswith("incomplete")] == ["incomplete:fog(severity=3)"]
    assert {cell for cell in row.values["mpc"].cells} == {cells[1]["cell"]}


def test_nothing_of_the_track(track):
    with pytest.raises(InputError, match="track mine: no cell of the store belongs to it; run vbench run --dataset shapes"):
        board_of(track(), made_cell(right(20), dataset="ucf101"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threats", "treats", "track mine: treats: there is no such key; did you mean threats"),
        ('"pgd:steps=50,eps=8/255"', '"pgd:stps=50"', "there is no parameter 'stps'; did you mean steps"),
        ('"pgd:steps=50,eps=8/255"', '"pgdd"', "attack: 'pgdd' is unknown; did you mean"),
        ('"pgd:steps=50,eps=8/255"', "3", "attacks: 3 is not a text"),
        ('"oblivious"', '"obvious"', "threats: 'obvious' is unknown; did you mean oblivious"),
        ('"oblivious"', '"white-box"', "threats: 'white-box' is unknown"),
        ('"oblivious"', '"oblivious:eot=3"', "only adaptive and transfer take parameters"),
        ('dataset = "shapes"', 'dataset = "shape"', "did you mean shapes"),
        ('split = "test"', "split = 3", "split: 3 is not a text"),
        ('split = "test"', "", "split: is missing"),
        ('split = "test"', 'split = "test"\nlimit = 0', "limit: 0 is less than 1"),
        ('split = "test"', 'split = "test"\nlimit = true', "limit: True is not a whole number"),
        ('split = "test"', 'split = "test"\nseverities = [6]', "not severities; choose from"),
        ('attacks = ["pgd:steps=50,eps=8/255", "square:eps=8/255"]', "", "neither attacks nor corruptions"),
        ('title = "A title"', "title = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(old, new, said, track):
    assert old in WHOLE
    with pytest.raises(InputError) as caught:
        track(WHOLE.replace(old, new, 1))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_track_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="'shapes-lin' is unknown; did you mean shapes-linf"):
        Track.read("shapes-lin")
    with pytest.raises(InputError, match="cannot read .*No such file"):
        Track.read(tmp_path / "none.toml")


def test_a_data_set_may_be_named_with_or_without_its_root(track):
    text = WHOLE.replace('"shapes"', '"kinetics400"')
    assert track(text).dataset == track(text.replace('"kinetics400"', '"kinetics400:elsewhere"')).dataset == "kinetics400"
