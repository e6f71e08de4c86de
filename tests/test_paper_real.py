"""The papers' tables on the papers' data sets: every published number has a cell of the right data set and model, or a reason."""

import re
import tomllib

import pytest
from miniature import clip, write
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.evaluation.studies import grids
from robustvideo.benchmark.evaluation.studies.grids import find_grid
from robustvideo.benchmark.evaluation.studies.places import Setting
from robustvideo.benchmark.evaluation.studies.sift import as_cell
from robustvideo.benchmark.evaluation.studies.tables import published
from robustvideo.benchmark.models import cards
from typer.testing import CliRunner

DATA = {"shuffling": ["kinetics400"], "at": ["ucf101"], "rose": ["hmdb51"], "taf": ["ssv1", "ssv2", "diving48"]}
CASES = [
    (name, data) for name in grids.names() for data in DATA[name.partition("-")[0]] if (name, data) != ("taf-table3", "ssv2")
]
TOY = re.compile(r"tiny|toy|embedded|shapes|shipped|64 pixels|stand", re.IGNORECASE)
MODELS = {
    "I3D": ("i3d", "r50"),
    "SlowFast": ("slowfast", "8x8"),
    "ir-CSN": ("ircsn", "r152"),
    "X3D": ("x3d", "m"),
    "TSM": ("tsm", "r50"),
    "GST": ("gst", "r50"),
    "GST-L": ("gst-large", "r50"),
    "TAM": ("tam", "r50"),
    "TPN": ("tpn", "tsm-r50-inplace"),
    "R(2+1)D": ("r2plus1d", "r34"),
    "TimeSformer": ("timesformer", "base"),
}
HOMES = {"SSV1": "ssv1", "SSV2": "ssv2", "D48": "diving48"}


def network(table, row):
    """Name and preset of the network that a row of a paper is about, and its frames."""
    if table.startswith("at-"):
        return ("resnext3d", "r101"), 16
    interval = re.match(r"interval (\d+)(?:, length (\d+))?", row)
    if interval:
        frames = int(interval[2] or 12)
        return ("timesformer", f"{frames}x{interval[1]}"), frames
    if table in ("rose-table2", "rose-table3", "rose-table4"):
        return MODELS["TimeSformer"], 8
    word = next(part for part in row.split(" / ") if part not in HOMES).removesuffix("+TAF")
    frames = re.search(r"(\d+) frames", row)
    own = {"kinetics400": {"X3D": 16}.get(word, 32)}.get(DATA[table.partition("-")[0]][0])
    return MODELS[word], int(frames[1]) if frames else own


def frames_of(model):
    found = InputSpec(**cards.card(model.entry.name).presets[model.values["preset"]].input).frames
    return model.values["frames"] or found


def judged(grid):
    """The places of the published numbers, those made of others left out."""
    places = {(place.row, place.column): place for place in grid.places}
    made = {"best_steps": {"alpha", "slope", "intercept"}, "gains": {"Top-1 gain", "Top-5 gain"}}.get(grid.derive, set())
    for row, column in published(grid.published):
        if (row, column) in places:
            yield places[row, column]
        else:
            assert column in made or row.endswith(" / best"), f"{row}, {column} is published and has no place"


@pytest.mark.parametrize(("name", "home"), CASES)
def test_every_published_number_has_its_cell_or_a_reason(name, home, tmp_path):
    grid = find_grid(name, Setting(f"{home}:root={tmp_path}"))
    judged_places = list(judged(grid)) or list(grid.places)
    assert any(place.wants for place in judged_places)
    for place in judged_places:
        of_row = HOMES.get(place.row.partition(" / ")[0], home)
        assert not TOY.search(place.skip + place.differs), (place.row, place.skip)
        assert bool(place.wants) != bool(place.skip)
        if of_row != home:
            assert place.skip == f"of {of_row}: run the table with --dataset {of_row}:root=DIR"
            continue
        for want in place.wants:
            (model, preset), frames = network(name, place.row)
            assert (want.dataset.entry.name, want.limit) == (home, None)
            assert (want.model.entry.name, want.model.values["preset"]) == (model, preset)
            assert frames_of(want.model) == frames or frames is None
            as_cell(want)
            for part in filter(None, (want.attack, want.corruption, *want.defense)):
                assert "tiny" not in part.text
                part.create()
    assert grid.differs and not any(TOY.search(line) for line in grid.differs)


def test_few_numbers_are_skipped_of_the_own_data_set(tmp_path):
    skipped = {
        (name, place.row)
        for name, home in CASES
        for place in find_grid(name, Setting(f"{home}:root={tmp_path}")).places
        if place.skip and not place.skip.startswith("of ")
    }
    assert skipped == {
        ("rose-table2", "CropToFixedSize"),
        ("rose-table2", "RandomResizedCrop"),
        ("rose-table4", "severity 2 or 3"),
        ("rose-table6", "ensemble of five"),
    }


def test_tables_without_a_grid_say_why_and_not_that_the_world_is_small():
    assert not [entry["name"] for entry in grids.index() if re.search(r"tiny|embedded", entry.get("why", ""))]


def test_published_numbers_are_of_the_data_set_that_is_given(tmp_path):
    files = {home: find_grid("taf-table3", Setting(f"{home}:root={tmp_path}")).published for home in ("ssv1", "diving48")}
    assert files == {"ssv1": "taf-table3.csv", "diving48": "taf-table7.csv"}
    rows = {place.row: place.skip for place in find_grid("taf-table3", Setting(f"diving48:root={tmp_path}")).places}
    assert not rows["TSM"] and "of ssv1" in rows["TPN"]
    for name in grids.names():
        found = tomllib.loads((grids.FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
        assert set(found["real"]) == {home for table, home in CASES if table == name}


@pytest.mark.parametrize(
    ("name", "dataset", "words"),
    [
        ("at-table1", "hmdb51:root=.", "no numbers of at-table1 on hmdb51; choose ucf101"),
        ("taf-table1", "folder:root=.", "no numbers of taf-table1 on folder; choose ssv1 or ssv2 or diving48"),
        ("rose-table1", "hmbd51:root=.", "did you mean hmdb51"),
    ],
)
def test_a_data_set_that_the_table_does_not_know(name, dataset, words, tmp_path):
    result = CliRunner().invoke(app, ["paper", name, "--dataset", dataset, "--store", str(tmp_path / "s")])
    assert isinstance(result.exception, InputError) and words in str(result.exception)
    assert "\n" not in str(result.exception) and not (tmp_path / "s").exists()


def test_checkpoints_reach_the_cells_that_they_are_of(tmp_path):
    given = {"tsm": "a.pth", "tsm-16": "b.pth", "tsm+taf": "c.safetensors", "tsm-16+taf": "d.safetensors"}
    grid = find_grid("taf-table1", Setting(f"ssv2:root={tmp_path}", 8, given))
    found = {}
    for place in grid.places:
        for want in place.wants:
            found[place.row] = [part.values["weights"] for part in (want.model, *want.defense)]
    assert found["SSV2 / TSM / 8 frames"] == ["a.pth"] and found["SSV2 / TSM / 16 frames"] == ["b.pth"]
    assert found["SSV2 / TSM+TAF / 8 frames"] == ["a.pth", "c.safetensors"]
    assert found["SSV2 / TSM+TAF / 16 frames"] == ["b.pth", "d.safetensors"]
    assert any("8 clips of split val" in line for line in grid.differs)
    assert set(grid.checkpoints) == {*given, "gst", "gst+taf", "tpn", "tpn+taf"}
    with pytest.raises(InputError, match=r"taf-table1 has no model 'tam' on ssv2"):
        find_grid("taf-table1", Setting(f"ssv2:root={tmp_path}", None, {"tam": "x.pth"}))
    keys = find_grid("at-table1", Setting(f"ucf101:root={tmp_path}")).checkpoints
    assert set(keys) == {"resnext3d", *(f"resnext3d+at{end}" for end in ("", "-rule-optimal", "-rule-half", "-eps-4of255"))} | {
        "resnext3d+at-eps-12of255"
    }
    assert "i3d+denoise" in find_grid("shuffling-table5", Setting(f"kinetics400:root={tmp_path}")).checkpoints


def test_the_verb_on_a_copy_of_ucf101(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_CACHE", str(tmp_path / "cache"))
    place = "Archery/v_Archery_g01_c01.avi"
    write(tmp_path / "ucf" / "ucfTrainTestlist" / "classInd.txt", "1 Archery\n2 Biking\n")
    write(tmp_path / "ucf" / "ucfTrainTestlist" / "testlist01.txt", f"{place}\n")
    write(tmp_path / "ucf" / "ucfTrainTestlist" / "trainlist01.txt", "Biking/v_Biking_g08_c01.avi 2\n")
    clip(tmp_path / "ucf" / "UCF-101" / place)
    words = ["paper", "at-table1", "--dataset", f"ucf101:root={tmp_path / 'ucf'}", "--store", str(tmp_path / "s")]
    words += [
        "--checkpoint",
        "resnext3d=resnext3d:preset=tiny,frames=4,size=32,weights=random",
        "--device",
        "cpu",
        "--limit",
        "1",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "5 cells, 0 of them stored before" in result.stderr
    assert "resnext3d is resnext3d:frames=4,size=32; this table's is resnext3d:preset=r101." in shown
    assert "1 clips of split 1, the classes by turns" in shown and "Tiny" not in shown and "resnext3d+at-eps-4of255" in shown
    none = CliRunner().invoke(app, [*words[:6], "--device", "cpu"])
    assert none.exit_code == 0 and "0 cells" in none.stderr
    assert "resnext3d:preset=r101 has no shipped weights for data set ucf101" in " ".join(none.stdout.split())
    wrong = CliRunner().invoke(app, [*words[:6], "--device", "cpu", "--checkpoint", "resnext3d=nowhere/x.pth"])
    assert isinstance(wrong.exception, InputError) and "nowhere/x.pth" in str(wrong.exception)
