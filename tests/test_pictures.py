"""The pictures of a board: what is drawn is what the tables say, whatever the names are."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from robustvideo.leaderboard import pictures as module
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.curves import eps_curves, frame_curves, query_curves
from robustvideo.leaderboard.pictures import pictures
from robustvideo.leaderboard.plots import canvas, grids, lines, scatter
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.rows import Board, Column, Row, Section, Value
from scipy import stats
from stores import PGD, made_cell

HOSTILE = [
    "<script>alert(1)</script>",
    "a,b|c\nd",
    "x" * 200,
    "שלום \u202e abc",
    "=1+1",
    "$x^2$ & 100%_\\`",
    "\x00\x0b日本",
    "$\\frac{",
]
SVG = "{http://www.w3.org/2000/svg}"


def shares(right, count=40):
    return [1.0] * right + [0.0] * (count - right)


def swept(model="tsm:preset=tiny,frames=none,size=none", rights=(38, 25, 10), **changes):
    clean = {name: value for name, value in changes.items() if name != "threat"}
    cells = [made_cell(shares(rights[0]), model=model, **clean)]
    return cells + [
        made_cell(shares(right), model=model, attack=PGD.replace("8/255", f"{eps}/255"), eps=eps / 255, **changes)
        for eps, right in zip((4, 8), rights[1:], strict=True)
    ]


def corrupted(right, name, severity, family="noise", **changes):
    cell = made_cell(shares(right), corruption=name, severity=severity, **changes)
    cell["corruption"]["family"] = family
    return cell


def everything():
    """A cell or more for each kind of picture."""
    queried = made_cell(shares(10), attack="square:eps=8/255,queries=100")
    queried["reports"] = ["queries"]
    queried["clips"] |= {"solved": [*range(1, 31), *[-1] * 10], "gradients": [0] * 40, "queries": [100] * 40}
    framed = made_cell(shares(10), attack="one-frame:eps=8/255")
    framed["notes"] = {"fooled_by_frame": [[float(clip < 5 * frame) for frame in range(8)] for clip in range(40)]}
    return [*swept(), queried, framed, corrupted(30, "fog", 1, "weather"), corrupted(20, "fog", 5, "weather")]


def drawn(monkeypatch, make, *given):
    """The figures of pictures, to look into."""
    found = []
    kept = canvas.new_figure

    def watched(*arguments):
        found.append(kept(*arguments))
        return found[-1]

    for where in (lines, grids, scatter):
        monkeypatch.setattr(where, "new_figure", watched)
    return make(*given), found


def of(cells):
    results = Results(cells)
    return results, build(results)


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_parse_math"))]


def test_every_kind_of_picture():
    made = pictures(*of(everything()))
    kinds = {"tradeoff", "matrix", "eps-pgd-linf", "queries", "frames", "corruptions-no-defence"}
    assert {one.name for one in made} == kinds and len(made) == len(kinds)
    for one in made:
        picture = Image.open(io.BytesIO(one.png))
        assert picture.format == "PNG" and not picture.info.keys() & {"Software", "Creation Time", "Date"}
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert ElementTree.fromstring(one.svg).tag == f"{SVG}svg"
        assert "shapes, test split, all clips, manifest 29982f58, seed 0" in one.title
        assert any(letter.isdigit() for letter in one.alt) and one.alt != one.title


def test_nothing_makes_no_picture():
    assert pictures(Results([]), Board("", "", ())) == []
    section = Section("", (Column("clean", "clean", "clean", ""),), (), {})
    assert pictures(Results([made_cell(shares(3))]), Board("", "", (section,))) == []


def test_lines_are_the_tables_numbers(monkeypatch):
    cells = [*swept(), *swept(model="r3d_18", rights=(40, 31, 3))]
    _, (figure,) = drawn(monkeypatch, lines.eps_pictures, Results(cells))
    (axes,) = figure.axes
    table = eps_curves(cells)
    wanted = {model: (255 * rows["eps"], 100 * rows["accuracy"]) for model, rows in table.groupby("model")}
    found = {tuple(np.round(line.get_ydata(), 6)): line.get_xdata() for line in axes.lines}
    assert len(found) == 2
    for x, y in wanted.values():
        assert found[tuple(np.round(y, 6))] == pytest.approx(x.tolist())
    wilson = stats.binomtest(31, 40).proportion_ci(method="wilson")
    corners = np.concatenate([band.get_paths()[0].vertices for band in axes.collections])
    at = corners[np.isclose(corners[:, 0], 4), 1]
    assert np.isclose(at, 100 * wilson.low).any() and np.isclose(at, 100 * wilson.high).any()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["tsm", "r3d_18"]


def test_success_and_frames_are_the_tables_numbers(monkeypatch):
    cells = everything()
    for make, table, y in ((lines.query_pictures, query_curves, "success"), (lines.frame_pictures, frame_curves, "accuracy")):
        _, (figure,) = drawn(monkeypatch, make, Results(cells))
        (line,) = figure.axes[0].lines
        assert line.get_ydata() == pytest.approx((100 * table(cells)[y]).tolist())
    assert line.get_ydata() == pytest.approx([100 - 12.5 * frame for frame in range(8)])  # 5 of 40 clips more per frame


def test_panels_are_what_the_attacker_knows(monkeypatch):
    defended = {"defense": "shuffle", "rights": (36, 30, 20)}
    cells = [*swept(), *swept(**defended), *swept(**defended, threat="oblivious")[1:], *swept(threat="transfer:r3d_18")[1:]]
    (picture,), (figure,) = drawn(monkeypatch, lines.eps_pictures, Results(cells))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "full knowledge (white-box, adaptive)",
        "oblivious",
        "transfer",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 1]
    assert figure.axes[0].lines[0].get_color() == figure.axes[1].lines[0].get_color()  # the same defence
    assert "from r3d_18" in picture.alt


def test_of_many_lines_the_best_are_drawn(monkeypatch):
    cells = [cell for number in range(40) for cell in swept(model=f"net{number:02d}", rights=(40, number, 0))]
    (picture,), (figure,) = drawn(monkeypatch, lines.eps_pictures, Results(cells))
    (axes,) = figure.axes
    assert sorted(line.get_ydata()[1] for line in axes.lines) == pytest.approx([2.5 * number for number in range(28, 40)])
    assert "the 12 of 40 pipelines" in picture.title and "net39" in picture.alt and "net27" not in picture.alt
    looks = {(line.get_marker(), str(line.get_linestyle())) for line in axes.lines}
    assert len(looks) == 12  # without their colours


def test_lines_of_equal_names_are_told_apart(monkeypatch):
    cells = [*swept(), *swept(weights_sha256="abcdef" + "0" * 58, rights=(40, 12, 2))]
    _, (figure,) = drawn(monkeypatch, lines.eps_pictures, Results(cells))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(names)) == 2 and any("abcdef" in name for name in names)


def test_heat_map_has_the_tables_numbers_by_family(monkeypatch):
    cells = [corrupted(30, "fog", 1, "weather"), corrupted(20, "fog", 3, "weather"), corrupted(9, "shot_noise", 1)]
    failed = made_cell([], corruption="shot_noise", severity=3, error="broke")
    (picture,), (figure,) = drawn(monkeypatch, grids.corruption_pictures, Results([*cells, failed]))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["shot_noise", "fog"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3"]
    (mesh,) = [one for one in axes.collections if one.get_array() is not None]
    assert mesh.get_array().filled(-1).tolist() == [[22.5, -1], [75.0, 50.0]]
    said = [text.get_text() for text in axes.texts]
    assert said == ["22.5", "!", "75.0", "50.0", "noise", "weather"]
    assert "48.8 % at severity 1, 50.0 % at severity 3" in picture.alt  # (75 + 22.5) / 2


def test_numbers_only_where_there_is_room(monkeypatch):
    many = [
        corrupted(30, f"c{number}", severity) for number in range(90) for severity in range(1, 6) if (number, severity) != (7, 2)
    ]
    _, (figure,) = drawn(monkeypatch, grids.corruption_pictures, Results(many))
    assert [text.get_text() for text in figure.axes[0].texts] == ["-", "noise"]


def test_the_colours_rise_in_grey():
    from matplotlib import colormaps

    grey = colormaps[grids.COLOURS](np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) > 0).all()


def row(name, values, **changes):
    made = {"model": name, "defense": "none", "model_title": name, "defense_title": "none", "clips": 40, "values": values}
    made |= {"rank": None, "tie": "", "flags": (), "hash": name * 8, "place": {}, "date": ""}
    return Row(**(made | changes))


def board_of(*rows):
    columns = [Column("clean", "clean", "clean", ""), Column("a", "pgd", "attack", ""), Column("b", "square", "attack", "")]
    return Board("", "", (Section("these clips", (*columns, Column("worst", "worst", "worst", "")), rows, {}),))


def test_matrix_shows_numbers_gaps_and_failures(monkeypatch):
    board = board_of(row("one", {"a": Value(0.25), "b": Value(failed="it broke")}), row("two", {"b": Value(1.0)}))
    (picture,), (figure,) = drawn(monkeypatch, grids.matrix_pictures, board)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["25.0", "!", "-", "100.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["pgd", "square"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one, no defence", "two, no defence"]
    assert "these clips" in picture.title and "one, no defence: 25.0 to 25.0 %" in picture.alt


def test_tradeoff_has_points_and_intervals(monkeypatch):
    board = board_of(
        row("one", {"clean": Value(0.9, 0.8, 0.95), "worst": Value(0.3, 0.2, 0.5)}), row("two", {"clean": Value(1.0)})
    )
    _, (figure,) = drawn(monkeypatch, scatter.tradeoff_pictures, board)
    (container,) = figure.axes[0].containers
    point, caps, bars = container.lines
    assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx((90, 30))
    across, up = (bar.get_segments()[0] for bar in bars)
    assert across[:, 0] == pytest.approx([80, 95]) and up[:, 1] == pytest.approx([20, 50])


def test_names_do_not_overlap(monkeypatch):
    rows = [row(f"net{number:02d}", {"clean": Value(0.9, 0.8, 0.95), "worst": Value(0.0, 0.0, 0.1)}) for number in range(20)]
    (picture,), (figure,) = drawn(monkeypatch, scatter.tradeoff_pictures, board_of(*rows))
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 12 and "the 12 best of 20 are named" in picture.title
    above = sorted(boxes, key=lambda box: box.y0)
    # An annotation's box spans its line, too; the names' own heights are in the text.
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts)
    assert len(above) == 12 and min(np.diff(heights)) >= scatter.APART - 1e-9
    pixels = figure.axes[0].transData.transform([(0, 0), (0, scatter.APART)])
    assert pixels[1, 1] - pixels[0, 1] > figure.axes[0].texts[0].get_size() * figure.dpi / 72


@pytest.mark.parametrize("wanted", [[0.0] * 12, [100.0] * 12, [0, 1, 50, 51, 99, 100], [40.0], [0.0] * 18])
def test_heights_are_apart_and_near(wanted):
    found = scatter.spread([float(one) for one in wanted])
    assert min(found) >= 0 and max(found) <= 100 + 1e-9
    assert all(after - before >= scatter.APART - 1e-9 for before, after in zip(found, found[1:], strict=False))
    if len(wanted) == 1:
        assert found == pytest.approx(wanted)


def test_same_cells_same_bytes():
    first, again = (pictures(*of(everything())) for _ in range(2))
    assert [(one.name, one.png, one.svg, one.title, one.alt) for one in first] == [
        (one.name, one.png, one.svg, one.title, one.alt) for one in again
    ]


def test_settings_of_the_user_change_nothing(monkeypatch):
    import matplotlib

    plain = pictures(*of(swept()))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "none", "savefig.dpi": 40}):
        before = dict(matplotlib.rcParams)
        mine = pictures(*of(swept()))
        assert dict(matplotlib.rcParams) == before
    assert [(one.png, one.svg) for one in plain] == [(one.png, one.svg) for one in mine]


def test_hostile_names_are_text(monkeypatch):
    cells = []
    for name in HOSTILE:
        cells += swept(model=name, defense=name, dataset=HOSTILE[5], split=HOSTILE[0])
    cells += [made_cell(shares(4), model=HOSTILE[3], attack=f"{HOSTILE[0]}$_$:eps={eps}/255", eps=eps / 255) for eps in (4, 8)]
    cells += [corrupted(20, name, 1, family=name, model=HOSTILE[1]) for name in HOSTILE]
    made, figures = drawn(monkeypatch, module.pictures, *of(cells))
    assert len(made) == len(figures) and len({one.name for one in made}) == len(made)
    for figure in figures:
        with_names = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_parse_math")) if "$" in text.get_text()]
        assert not any(text.get_parse_math() for text in with_names)
    every = [text for figure in figures for text in texts(figure)]
    assert any("$x^2$ & 100%_\\`" in text for text in every) and any("<script>alert(1)</script>" in text for text in every)
    assert max(len(line) for text in every for line in text.splitlines() or [""]) <= 135
    for one in made:
        root = ElementTree.fromstring(one.svg)
        parts = [(part.tag.rpartition("}")[2].lower(), part) for part in root.iter()]
        assert not {"script", "foreignobject", "a"} & {name for name, _ in parts}
        images = [part.get("{http://www.w3.org/1999/xlink}href", "") for name, part in parts if name == "image"]
        assert all(href.startswith("data:image/png;") for href in images), "the colour scale alone is an image"
        assert "<script" not in one.svg and "<!--" not in one.svg
        assert set(one.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert (one.title + one.alt).isprintable()


def test_identifiers_are_of_one_picture():
    made = pictures(*of([*swept(), *swept(seed=1)]))
    ids = [part.get("id") for one in made for part in ElementTree.fromstring(one.svg).iter() if part.get("id")]
    assert len(ids) == len(set(ids))
    for one in made:
        own = {part.get("id") for part in ElementTree.fromstring(one.svg).iter()}
        used = {
            part.get("{http://www.w3.org/1999/xlink}href", "#")[1:] for part in ElementTree.fromstring(one.svg).iter(f"{SVG}use")
        }
        assert used and used <= own


def test_no_pyplot_and_no_early_import():
    code = (
        "import sys\n"
        "import robustvideo.leaderboard.pictures as module\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from robustvideo.leaderboard.plots.canvas import drawing, new_figure, picture\n"
        "assert picture('a', 'b', 'c', lambda: new_figure(2, 2, 'd')).png\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize(
    ("text", "width", "short"), [("a\nb  c", 9, "a b c"), ("x" * 9, 5, "xxxx…"), ("a\x07\u202eb", 9, "a\ufffd\ufffdb")]
)
def test_brief(text, width, short):
    assert canvas.brief(text, width) == short


def test_limits_that_are_missing_are_all_clips():
    table = pd.DataFrame(
        [{"dataset": "d", "split": "s", "limit": limit, "manifest_sha256": "0" * 64, "seed": 0} for limit in (None, 8)]
    )
    from robustvideo.leaderboard.plots.names import clips_words

    said = [clips_words(one) for one in table.to_dict("records")]
    assert "all clips" in said[0] and "first 8 clips" in said[1]
