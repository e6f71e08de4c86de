"""A board as markdown, CSV and LaTeX: what stands in it, read back by other people's parsers, whatever it is called."""

import csv
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest
from robustvideo.leaderboard.latex import escaped, latex
from robustvideo.leaderboard.markdown import markdown, plain
from robustvideo.leaderboard.results import PLACE
from robustvideo.leaderboard.rows import Board, Column, Row, Section, Value
from robustvideo.leaderboard.wide import LONG, long, wide
from robustvideo.leaderboard.wide import csv as as_csv

HOSTILE = [
    "<script>alert(1)</script>",
    "a,b;c\"d'e",
    "a|b",
    "two\nlines\r\nthree\rfour",
    "x" * 200,
    "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe",
    "=1+1",
    "@SUM(A1)",
    "-2+3",
    "'quoted",
    "&amp; & % _ # $ ~ ^ { }",
    "back\\slash \\\\ \\input{/etc/passwd}",
    "`tick` ``",
    "*bold* _it_ ~~no~~ snake_case",
    "![x](http://evil.example/a.png) [a](b) www.evil.example",
    "$x^2$ ^^41 \u00e9\u00d0 \u4e2d\u6587",
    "-- --- ,, ?` !`",
    "\x1b[31mred\x00",
    "# heading",
    "- item",
    "12. item",
    "> quote",
]
CLEAN = Column("clean", "clean", "clean", "Accuracy without attack.")
PGD = Column("pgd:eps=8/255 (full knowledge)", "pgd", "attack", "Accuracy under PGD.")
WORST = Column("worst", "worst", "worst", "Mean over clips of the attack that is worst for each.")
MCE = Column("mce", "mCE", "corruption", "Error over the baseline's.")
COST = Column("cost", "time", "cost", "Wall time of the attacks.", "s")
PLACES = {"dataset": "shapes", "split": "test", "limit": None, "manifest_sha256": "29982f58", "seed": 0}
PLACES |= {"threat_model": "frames kept"}


def row(model, values, rank=(1, 1), tie="a", **other):
    place = PLACES | {"model": model, "weights_sha256": "w", "defense": "none", "defense_sha256": ""}
    named = {"model": model, "defense": "none", "model_title": model, "defense_title": "none", "clips": 8, "flags": ()}
    return Row(**(named | {"values": values, "rank": rank, "tie": tie, "hash": "abc123", "place": place, "date": "2026"} | other))


def board(rows, columns=(CLEAN, PGD, WORST), **other):
    return Board("Leaderboard", "About it.", (Section("shapes, test", tuple(columns), tuple(rows), PLACES),), **other)


@pytest.fixture
def plain_board():
    first = {"clean": Value(0.92, 0.88, 0.952, cells=("c1",)), PGD.key: Value(0.5, 0.4, 0.6, cells=("c2",))}
    first |= {"worst": Value(0.5, 0.4, 0.6, cells=("c1", "c2")), "cost": Value(1234.5)}
    second = {"clean": Value(0.9, 0.85, 0.95), PGD.key: Value(failed="out of memory\nat layer 3"), "mce": Value(0.7)}
    rows = [row("tsm", first, (1, 3)), row("i3d", second, None, "", flags=("failed:pgd", "missing:x"))]
    return board(rows, (CLEAN, PGD, WORST, MCE, COST), refused=("r3d <b> is not listed; run it",))


@pytest.fixture
def hostile_board():
    value = {"clean": Value(0.5, 0.4, 0.6), PGD.key: Value(failed="|".join(HOSTILE))}
    rows = [row(name, value, flags=(name,), defense=name, defense_title=name, tie=name, hash=name) for name in HOSTILE]
    column = Column(PGD.key, HOSTILE[0] + "|" + HOSTILE[12], "attack", HOSTILE[14])
    return board(rows, (CLEAN, column, Column("worst", HOSTILE[2], "worst", HOSTILE[10])), refused=tuple(HOSTILE))


def parsed(text):
    """The markdown's HTML, as tokens, by markdown-it."""
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return reader.parse(text)


def tables(text):
    """Texts of the cells of each row, and the kinds of inline marks that were found."""
    rows, marks = [], set()
    for token in parsed(text):
        if token.type == "tr_open":
            rows.append([])
        for child in token.children or ():
            marks.add(child.type)
        if token.type == "inline" and rows and token.level == 4 + (token.level > 4):
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows, marks


def test_markdown_says_it_all(plain_board):
    rows, _ = tables(markdown(plain_board))
    head = ["rank", "tie", "model", "defense", "clips", "clean", "pgd", "worst", "mCE", "time (s)", "flags", "hash"]
    one = ["1-3", "a", "tsm", "none", "8", "92.0 [88.0, 95.2]", "50.0 [40.0, 60.0]", "50.0 [40.0, 60.0]", "-", "1,234"]
    two = ["-", "", "i3d", "none", "8", "90.0 [85.0, 95.0]", "! (1)", "-", "70.0", "-"]
    assert rows == [head, [*one, "", "abc123"], [*two, "failed:pgd missing:x", "abc123"]]
    text = markdown(plain_board)
    assert "- (1) out of memory at layer 3" in text, "why it failed stands below"
    assert "**worst**. Mean over clips" in text and "- **mCE**: Error over the baseline's." in text
    assert text.endswith("## Not listed\n\n- r3d &lt;b&gt; is not listed; run it\n")


def test_hostile_names_stay_text_in_markdown(hostile_board):
    text = markdown(hostile_board)
    rows, marks = tables(text)
    assert len(rows) == 1 + len(HOSTILE) and {len(one) for one in rows} == {10}, "none breaks out of its cell"
    for name, found in zip(HOSTILE, rows[1:], strict=True):
        assert found[2] == found[3] == found[1] == found[8] == plain(name), "and each is shown as it is"
    assert marks <= {"text", "strong_open", "strong_close", "code_inline"}, "no link, picture, emphasis or HTML"
    codes = [child.content for token in parsed(text) for child in token.children or () if child.type == "code_inline"]
    assert codes == ["-", "!"] and "html_block" not in {token.type for token in parsed(text)}, "only the legend's own"
    assert all(one not in text for one in ("\x1b", "\x00", "\u202e", "<script"))
    assert "http://" not in text and "www.evil" not in text, "bare addresses become links on some hosts"


def test_hostile_lines_begin_nothing(hostile_board):
    tokens = parsed(markdown(hostile_board))
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2"]
    starts = [
        token.type for token in tokens if token.type.endswith("_open") and token.type.startswith(("ordered", "quote", "bl"))
    ]
    assert starts == [] and [token.type for token in tokens].count("list_item_open") == 1 + len(HOSTILE)
    last = [token.children for token in tokens if token.type == "inline"][-len(HOSTILE) :]
    assert ["".join(child.content for child in children) for children in last] == [plain(name) for name in HOSTILE]


def test_a_lone_surrogate_can_be_encoded():
    assert markdown(board([row("a\ud800b", {})])).encode()


def test_wide_has_a_row_per_row_and_every_number(plain_board):
    table = wide(plain_board)
    ends = [f"{key}{end}" for key in ("clean", PGD.key, "worst", "mce", "cost") for end in ("", "_low", "_high")]
    assert list(table) == [*PLACE, "clips", "rank_low", "rank_high", "tie", *ends, "flags", "failed", "hash", "date"]
    first, second = table.to_dict("records")
    assert (first["clean"], first["clean_low"], first["worst_high"], first["rank_high"]) == (0.92, 0.88, 0.6, 3)
    assert pd.isna(second["rank_low"]) and pd.isna(second["worst"]) and second["flags"] == "failed:pgd missing:x"
    assert second["failed"] == f"{PGD.key}: out of memory\nat layer 3"
    back = pd.read_csv(io.StringIO(as_csv(table)))
    assert back[ends].astype(float).equals(table[ends].astype(float)), "every digit survives"
    assert back["rank_high"].tolist()[0] == 3 and ",1,3," in as_csv(table), "a rank is no fraction"


def test_wide_of_several_sections_and_of_none():
    other = Section("x", (WORST, Column("fgsm", "fgsm", "attack", "")), (row("b", {"fgsm": Value(0.1)}),), PLACES | {"seed": 1})
    both = Board("", "", (*board([row("a", {"clean": Value(0.3)})]).sections, other))
    table = wide(both)
    assert [name for name in table if name in ("clean", PGD.key, "fgsm", "worst")] == ["clean", PGD.key, "fgsm", "worst"]
    assert table["seed"].tolist() == [0, 0], "the row's own place counts" and table["fgsm"].tolist()[1] == 0.1
    empty = wide(Board("", "", ()))
    assert empty.empty and {"clean", "worst", "flags"} <= set(empty) and long(Board("", "", ())).empty


def test_long_has_a_row_per_number(plain_board):
    table = long(plain_board)
    assert list(table) == LONG and len(table) == 7, "4 + 2 numbers and a failed cell; what was not measured has no row"
    worst = table.query("column == 'worst'").iloc[0]
    assert (worst["kind"], worst["mean"], worst["low"], worst["high"], worst["cells"]) == ("worst", 0.5, 0.4, 0.6, "c1 c2")
    failed = table[table["failed"] != ""].iloc[0]
    assert failed["model"] == "i3d" and pd.isna(failed["mean"]) and failed["failed"].startswith("out of memory")
    assert table.query("column == 'cost'")["unit"].tolist() == ["s"]


@pytest.mark.parametrize("make", [wide, long])
def test_hostile_names_come_back_from_csv(hostile_board, make):
    text = as_csv(make(hostile_board))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    frame = pd.read_csv(io.StringIO(text.replace("\x00", "")), dtype=str, keep_default_na=False)
    count = 2 if make is long else 1
    wanted = [name.replace("\r\n", "\n").replace("\r", "\n") for name in HOSTILE for _ in range(count)]
    assert [one["model"].removeprefix("'") for one in rows] == wanted
    assert [one.removeprefix("'") for one in frame["model"]] == [name.replace("\x00", "") for name in wanted]
    for one in rows:
        for name, cell in one.items():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), f"{name} would be computed: {cell!r}"


def test_numbers_and_columns_in_csv():
    table = pd.DataFrame({"=1+1": [-0.5], "text": ["-0.5"]})
    assert as_csv(table) == "'=1+1,text\n-0.5,'-0.5\n", "numbers keep their sign, texts and names are held"


SPECIAL = r"\\textbackslash\{\}|\\text[a-z]+\{\}|\\[&%#$_{}]|-\{\}|,\{\}"


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_latex_would_run_is_left(name):
    rest = re.sub(SPECIAL, "", escaped(name))
    assert not re.search(r"[\\{}$&#%_~^<>|`']|--|,,|\n", rest) and rest.isascii() == ("\u00e9" not in rest)


def test_every_special_character_is_escaped():
    ours = escaped("a&b%c$d#e_f{g}h~i^j\\k")
    assert ours == r"a\&b\%c\$d\#e\_f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"


def amounts(text):
    """How many cells each row of each table has, by a count of ampersands that are no text."""
    return [len(re.sub(SPECIAL, "", one).split("&")) for one in text.split("\n") if one.endswith(" \\\\") and "&" in one]


@pytest.mark.parametrize("count", [1, 3])
def test_latex_tables_are_whole(hostile_board, count):
    many = Board("", "", tuple(Section("s_1 & co", one.columns, one.rows * count, PLACES) for one in hostile_board.sections) * 2)
    text = latex(many)
    bare = re.sub(r"\\.", "", text, flags=re.DOTALL)  # control symbols, a double backslash before a brace too
    depth = 0
    for one in bare:
        depth += (one == "{") - (one == "}")
        assert depth >= 0
    assert depth == 0
    heads = 2 if count == 3 else 1
    assert amounts(text) == [8] * (2 * (heads + count * len(HOSTILE)))
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:leaderboard-1-shapes", "tab:leaderboard-2-shapes"]
    form = {1: ["table", "tabular"], 3: ["longtable"]}[count]
    assert re.findall(r"\\begin\{(\w+)\}", text) == form * 2 and re.findall(r"\\end\{(\w+)\}", text) == form[::-1] * 2


def test_bold_may_be_the_best():
    values = [(0.9, 0.8, 0.95), (0.85, 0.7, 0.92), (0.5, 0.4, 0.6)]
    rows = [row(str(n), {"clean": Value(*v), "worst": Value(*v), "mce": Value(v[0])}, (n + 1, 3)) for n, v in enumerate(values)]
    rows[1] = row("1", rows[1].values, (1, 2))
    text = latex(board(rows, (CLEAN, WORST, MCE)))
    bold = [[cell.strip().startswith("\\textbf") for cell in one.split("&")] for one in text.split("\n") if "scriptsize" in one]
    assert [one[5] for one in bold] == [True, True, False], "its interval reaches the best"
    assert [one[6] for one in bold] == [True, True, False], "its first possible place is 1"
    assert not any(one[7] for one in bold), "of some corruption metrics less is better"
    alone = latex(board(rows[:1]))
    assert "textbf" not in alone, "the only row is not the best of any"


def test_wide_sections_are_several_tables():
    columns = [CLEAN, *(Column(f"k{n}", f"attack {n}, eps=[{n}] (full knowledge)", "attack", "") for n in range(12)), WORST]
    text = latex(board([row("m", {one.key: Value(n / 100) for n, one in enumerate(columns)})], columns))
    assert re.findall(r"table (\d) of (\d)", text) == [("1", "2"), ("2", "2")]
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:leaderboard-1-shapes-1", "tab:leaderboard-1-shapes-2"]
    rows = [re.findall(r"& (\d+\.\d)", one) for one in text.split("\n") if one.startswith("1 &")]
    assert rows == [["0.0", "13.0", "1.0", "2.0", "3.0", "4.0", "5.0"], ["6.0", "7.0", "8.0", "9.0", "10.0", "11.0", "12.0"]]
    assert "\\shortstack[r]{attack 0,\\\\{}eps=[0] (full\\\\{}knowledge)}" in text, "long headings are broken"


def test_the_caption_says_what_it_shows(plain_board):
    text = latex(plain_board)
    assert "95\\,\\% intervals" in text and "Headline, best first: worst. Mean over clips" in text
    assert "!: failed. (1) out of memory at layer 3." in text and "& ! (1) &" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX engine")
def test_latex_compiles_and_prints_the_names(hostile_board, tmp_path):
    wider = Board("", "", (*hostile_board.sections, Section("l", (CLEAN,), hostile_board.sections[0].rows * 3, PLACES)))
    frame = "\\documentclass{article}\n\\usepackage{booktabs,longtable,graphicx}\n\\begin{document}\n%s\n\\end{document}\n"
    (tmp_path / "a.tex").write_text(frame % latex(wider))
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0 and (tmp_path / "a.pdf").stat().st_size > 1000, done.stdout[-1500:]
    if shutil.which("pdftotext"):
        page = subprocess.run(
            ["pdftotext", "-raw", "a.pdf", "-"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        ).stdout
        for shown in ("<script>alert(1)</script>", "a|b", "=1+1", "[U+4E2D][U+6587]", "\\input{/etc/passwd}"):
            assert shown in page
