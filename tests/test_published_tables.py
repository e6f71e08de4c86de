"""The transcribed tables of the papers: their size, arithmetic that the papers print, values typed a second time."""

import csv
import io
import math
from pathlib import Path

import pytest
from robustvideo.benchmark.core.errors import InputError
from robustvideo.leaderboard import papers
from robustvideo.leaderboard.measured import printed_spots
from robustvideo.leaderboard.papers import COLUMNS, claims, published, tables
from robustvideo.leaderboard.verdicts import printed

# Rows, columns and cells, counted in the papers.
SIZES = {
    "at-fig2": (3, 3, 4),
    "at-table1": (6, 5, 30),
    "at-table2": (5, 5, 25),
    "at-table3": (5, 5, 25),
    "at-table4": (5, 6, 30),
    "rose-table1": (4, 1, 4),
    "rose-table2": (20, 1, 20),
    "rose-table3": (4, 1, 4),
    "rose-table4": (3, 1, 3),
    "rose-table5": (5, 1, 5),
    "rose-table6": (6, 1, 6),
    "rose-text": (5, 2, 5),
    "shuffling-fig10": (4, 4, 16),
    "shuffling-table1": (4, 1, 4),
    "shuffling-table2": (4, 3, 12),
    "shuffling-table3": (4, 2, 8),
    "shuffling-table4": (8, 3, 24),
    "shuffling-table5": (24, 5, 120),
    "taf-table1": (30, 4, 88),  # 15 pairs; two gains in top-5 are not printed
    "taf-table2a": (4, 2, 7),
    "taf-table2b": (5, 2, 10),
    "taf-table2c": (5, 2, 10),
    "taf-table3": (4, 16, 64),
    "taf-table4": (7, 1, 7),
    "taf-table5": (35, 1, 35),
    "taf-table6a": (4, 2, 8),
    "taf-table6b": (4, 2, 8),
    "taf-table7": (2, 16, 32),
}

TYPED = [
    ("shuffling-table1", "ir-CSN", "Uniformized", 62.3),
    ("shuffling-table2", "X3D", "Case 1", 8.3),
    ("shuffling-table3", "I3D", "Attacked & uniformized", 61.1),
    ("shuffling-table4", "X3D / Attacked", "K=100", 37.3),
    ("shuffling-table5", "I3D / Ours+RS", "EOT", 97.4),
    ("shuffling-table5", "SlowFast / Denoise", "OFA", 74.8),
    ("shuffling-table5", "ir-CSN / Ours", "Flickering", 71.2),
    ("shuffling-table5", "X3D / Ours", "I-FGSM", 37.6),
    ("shuffling-table5", "X3D / Ours+D", "EOT", 74.6),
    ("shuffling-fig10", "ir-CSN / best", "h1", 16),
    ("at-table1", "AT(eps=8, alpha=opt/2)", "eps=0", 72.9),
    ("at-table1", "AT(eps=12, alpha=eps)", "eps=15", 12.1),
    ("at-table2", "CAT(eps=12->0, alpha=eps)", "eps=12", 6.61),
    ("at-table3", "GAT(eps=8, alpha=8)", "eps=15", 51.3),
    ("at-table4", "GAT(eps=auto, alpha=eps)", "Masked PGD", 81.9),
    ("at-table4", "Video Compression", "Flickering", 40.3),
    ("taf-table1", "SSV1 / GST / 16 frames", "Top-1", 48.4),
    ("taf-table1", "D48 / TPN+TAF / 8 frames", "Top-5", 98.0),
    ("taf-table2a", "AdvProp", "Top-1 gain", -1.1),
    ("taf-table2c", "eps=6, K=3", "Top-5", 74.6),
    ("taf-table3", "TPN+TAF", "Snow", 15.1),
    ("taf-table3", "TSM", "Bright (top-5)", 36.2),
    ("taf-table5", "84", "Top-1 gain", 3.2),
    ("taf-table7", "TSM+TAF", "Zoom blur (top-5)", 49.8),
    ("rose-table1", "TimeSformer", "Accuracy", 89.94),
    ("rose-table6", "interval 12, length 9", "Top-1", 97.88),
]


def value(table: str, row: str, column: str) -> float:
    found = published(table)
    cells = found[(found["row"] == row) & (found["column"] == column)]["value"]
    assert len(cells) == 1, (table, row, column)
    return float(cells.iloc[0])


def test_every_table_is_counted():
    assert set(tables()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_table_has_its_size_and_every_cell_once(name: str):
    table = published(name)
    assert (table["row"].nunique(), table["column"].nunique(), len(table)) == SIZES[name]
    assert not table.duplicated(["row", "column"]).any()
    assert (table["source"].str.len() > 20).all()


@pytest.mark.parametrize("name", SIZES)
def test_shares_are_per_cent_and_only_a_list_of_names_lacks_numbers(name: str):
    table = published(name)
    shares = table[table["unit"] == "%"]["value"]
    assert shares.between(0, 100).all()
    assert table["value"].isna().all() if name == "rose-table2" else table["value"].notna().all()


@pytest.mark.parametrize("name", SIZES)
def test_python_reads_the_same_file(name: str):
    text = (Path(papers.__file__).parent / "published" / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == COLUMNS
    assert [row["row"] for row in rows] == published(name)["row"].tolist()
    assert all(
        math.isnan(one) if not row["value"] else one == float(row["value"])
        for row, one in zip(rows, published(name)["value"], strict=True)
    )


@pytest.mark.parametrize(("table", "row", "column", "printed"), TYPED)
def test_values_typed_a_second_time(table: str, row: str, column: str, printed: float):
    assert value(table, row, column) == printed


@pytest.mark.parametrize("top", ["Top-1", "Top-5"])
def test_taf_gains_are_the_differences_of_their_rows(top: str):
    table = published("taf-table1")
    gains = table[table["column"] == f"{top} gain"]
    assert len(gains) == {"Top-1": 15, "Top-5": 13}[top]
    for row, gain in zip(gains["row"], gains["value"], strict=True):
        assert value("taf-table1", row, top) - value("taf-table1", row.replace("+TAF", ""), top) == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("row", ["AdvProp", "CE-based", "TAF"])
def test_taf_ablation_gains_are_over_the_baseline(row: str):
    gap = value("taf-table2a", row, "Top-1") - value("taf-table2a", "baseline", "Top-1")
    assert gap == pytest.approx(value("taf-table2a", row, "Top-1 gain"))


def test_taf_tables_share_their_baseline_and_their_best():
    for name, best in (("2b", "alpha=0.7"), ("2c", "eps=64, K=1"), ("6a", "N=8"), ("6b", "-C, +W"), ("4", "TAF"), ("2a", "TAF")):
        assert value(f"taf-table{name}", "baseline", "Top-1") == value("taf-table1", "SSV1 / TSM / 8 frames", "Top-1")
        assert value(f"taf-table{name}", best, "Top-1") == value("taf-table1", "SSV1 / TSM+TAF / 8 frames", "Top-1")


def test_taf_says_that_26_of_35_long_term_motions_gain():
    gains = published("taf-table5")["value"]
    assert (int((gains > 0).sum()), len(gains)) == (26, 35)
    assert gains.is_monotonic_decreasing
    assert not published("taf-table5")["note"].duplicated().any()


def test_taf_corruption_gains_are_about_what_its_text_says():
    snow = value("taf-table3", "TPN+TAF", "Snow") - value("taf-table3", "TPN", "Snow")
    bright = value("taf-table3", "TPN+TAF", "Bright") - value("taf-table3", "TPN", "Bright")
    assert (snow + bright) / 2 == pytest.approx(1.4, abs=0.1)  # "1.5 %"
    assert value("taf-table7", "TSM+TAF", "Speckle noise") - value("taf-table7", "TSM", "Speckle noise") == pytest.approx(3.3)


def test_shuffling_tables_repeat_each_other():
    for model in ("I3D", "SlowFast", "ir-CSN", "X3D"):
        attacked = value("shuffling-table5", f"{model} / No", "I-FGSM")
        assert attacked == value("shuffling-table2", model, "Default") == value("shuffling-table3", model, "Attacked")
        assert value("shuffling-table5", f"{model} / Ours", "Clean") == value("shuffling-table4", f"{model} / Clean", "K=10")
        assert value("shuffling-table5", f"{model} / Ours", "I-FGSM") == value("shuffling-table4", f"{model} / Attacked", "K=10")
        assert value("shuffling-table4", f"{model} / Attacked", "K=100") == value("shuffling-fig10", f"{model} / best", "I-FGSM")


def test_adversarial_training_tables_repeat_each_other():
    for eps in (0, 4, 8, 12, 15):
        column = f"eps={eps}"
        assert len({value(f"at-table{number}", "Benign", column) for number in (1, 2, 3)}) == 1
        first = value("at-table1", "AT(eps=8, alpha=eps)", column)
        assert first == value("at-table2", "AT(eps=8, alpha=8)", column) == value("at-table3", "AT(eps=8, alpha=8)", column)
        rising = "CAT(eps=0->12, alpha=eps)"
        assert value("at-table2", rising, column) == value("at-table3", rising, column)


def test_the_line_of_step_sizes_goes_through_what_the_text_prints():
    slope, intercept = value("at-fig2", "fit", "slope"), value("at-fig2", "fit", "intercept")
    assert slope * 4 + intercept == pytest.approx(value("at-fig2", "eps=4", "alpha"), abs=0.05)
    assert slope * 8 + intercept == pytest.approx(value("at-fig2", "eps=8", "alpha"), abs=0.05)


def test_rose_tables_repeat_each_other():
    assert value("rose-table3", "rate 50%", "Top-1") == value("rose-table4", "severity 2", "Top-1")
    assert value("rose-table5", "interval 8", "Top-1") == value("rose-table6", "interval 8, length 12", "Top-1")
    assert value("rose-table6", "ensemble of five", "Top-1") == value("rose-text", "HMDB-51P", "Top-1")
    assert len(set(published("rose-table2")["row"])) == 20


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.id)
def test_the_papers_own_numbers_bear_their_claims_out(claim: papers.Claim):
    held, whole = printed(claim, printed_spots(published(claim.table)))
    assert claim.says.endswith(".")
    if claim.id in ("shuffling-tradeoff", "at-step-grows", "at-step-slope", "rose-tta"):  # the papers print no numbers for these
        assert whole == 0
    else:
        assert whole > 0
        assert held == whole if claim.need == "all" else 2 * held > whole


def test_claims_are_named_once_and_cover_all_papers():
    names = [claim.id for claim in claims()]
    assert len(set(names)) == len(names)
    assert {claim.paper for claim in claims()} == set(papers.papers())
    assert {claim.table for claim in claims()} <= set(tables())


def test_an_unknown_table_is_one_line_with_a_guess():
    with pytest.raises(InputError, match="shuffling-table5"):
        published("shuffling-table55")
