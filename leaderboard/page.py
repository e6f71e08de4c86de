"""A leaderboard as one HTML page that needs nothing but itself: no network, no server, and no JavaScript to be read."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from .audit_list import CHECKS
from .rows import Board, Column, Picture, Row, Section, Value, between, shown

FOLDER = Path(__file__).parent / "page"
KINDS = {"clean": "Clean", "worst": "Worst case", "attack": "Under attack", "corruption": "Corruptions", "cost": "Cost"}
FIRST = (
    ("Rank", "First and last place that the row can have"),
    ("Tie", "Rows with the same letter cannot be told apart from the best one of them"),
    ("Model", "The model; open it for its full spec and what the row stands on"),
    ("Defence", "What stands before the model, or how it was trained"),
    ("Clips", "How many clips stand behind the row at most"),
)
LAST = (
    ("Flags", "What is wrong with the row's numbers"),
    ("Hash", "Of the cells behind the row: the same hash is the same measurement"),
    ("Date", "When the newest of the row's cells was started"),
)
FLAGS = {
    "failed": "this cell failed: it has no number, and no part in the worst case",
    "no-adaptive": "this attack was run only without knowledge of the defence, so the row has no worst case",
    "missing": "another row has this attack and this one has not, so their worst cases are not over the same attacks",
}


def page(board: Board, pictures: Sequence[Picture], tracks: Sequence[Board] = ()) -> str:
    """The page of a leaderboard, the same bytes for the same board.

    Everything that comes from a store is escaped, and the page's own security policy allows the browser its one script and its
    one style sheet by their hashes, and pictures from inside the page: a script that a name or a picture carries cannot run.

    Args:
        board: What it shows.
        pictures: Shown under the tables.
        tracks: Boards of parts of its cells, each whole: a reader can show one in the place of the board and its pictures.
    """
    style, script = _style(), _text("page.js")
    places = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    functions = (behind, between, breakable, encoded, explained, flags_of, grouped, knowledge, lower, named, rank_key, reasons)
    places.globals.update({function.__name__: function for function in (*functions, shade, shown)})
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    threats = dict.fromkeys(filter(None, (knowledge(column) for section in board.sections for column in section.columns)))
    return places.get_template("page.html").render(
        views=_views([board, *tracks]),
        pictures=pictures,
        policy=f"{policy}; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        threats=list(threats),
        kinds=KINDS,
        first=FIRST,
        last=LAST,
    )


def _views(boards: Sequence[Board]) -> list[tuple[Board, int]]:
    """Boards, each with the number of its first section; no two sections of a page share a number."""
    counts = accumulate((len(board.sections) for board in boards), initial=1)
    return list(zip(boards, counts, strict=False))


def grouped(columns: Iterable[Column]) -> list[tuple[str, list[Column]]]:
    """The columns by what they hold; the worst case, which ranks the rows, stands before the attacks that it is made of."""
    columns = list(columns)
    groups = [(kind, [column for column in columns if column.kind == kind]) for kind in KINDS]
    return [(kind, some) for kind, some in groups if some]


def knowledge(column: Column) -> str:
    """What the attacker of a column knows, `full knowledge` or `oblivious`; empty where the column is no attack."""
    return column.key.rpartition(" (")[2].removesuffix(")") if column.kind == "attack" and column.key.endswith(")") else ""


def named(column: Column) -> str:
    """A column's title without the attacker's knowledge, which stands in a line of its own."""
    return column.title.removesuffix(f" ({knowledge(column)})")


def breakable(text: str) -> Markup:
    """A spec that may go on in the next line after its name and its parameters, rather than in the middle of a number."""
    return Markup(re.sub("([:,+])", r"\1<wbr>", str(escape(text))))  # none of the three is part of an escaped character


def lower(column: Column) -> bool:
    """Whether less is better: of a cost, and of an error."""
    return column.kind == "cost" or column.key == "mce"


def reasons(section: Section) -> list[str]:
    """Why cells of a section failed, each reason once, in the order of the page."""
    order = [column.key for _, some in grouped(section.columns) for column in some]
    return list(dict.fromkeys(row.values[key].failed for row in section.rows for key in order if _failed(row, key)))


def _failed(row: Row, key: str) -> bool:
    return key in row.values and bool(row.values[key].failed)


def flags_of(section: Section) -> list[str]:
    """The flags of a section's rows, each once, by name."""
    return sorted({flag for row in section.rows for flag in row.flags})


def explained(flag: str) -> str:
    """A sentence about a flag."""
    name, _, what = flag.partition(":")
    if name in FLAGS and what:
        return f"{what}: {FLAGS[name]}."
    found = [check for check in CHECKS if check.flag == flag]
    return "; ".join(f"Expected: {check.title}. Fires at: {check.threshold}." for check in found)


def rank_key(row: Row) -> str:
    """What a row is sorted by under `Rank`: its first place, then its last."""
    return f"{row.rank[0] + row.rank[1] / 1e6:.6f}" if row.rank else ""


def shade(value: Value, column: Column) -> str:
    """Classes that draw a number as a bar behind it; the policy allows no style in an element."""
    if column.unit != "%" or lower(column):
        return ""
    return f" {column.kind} b{round(100 * min(1.0, max(0.0, value.mean)))}"


def behind(value: Value) -> str:
    """Which cells a number is from."""
    return f"{'cell' if len(value.cells) == 1 else 'cells'} {', '.join(cell[:12] for cell in value.cells)}"


def encoded(svg: str) -> str:
    """A picture for a `data:` address, where no script of it runs."""
    return base64.b64encode(svg.encode()).decode()


def _style() -> str:
    return _text("page.css") + "".join(f".b{share}{{--share:{share}%}}" for share in range(101)) + "\n"


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
