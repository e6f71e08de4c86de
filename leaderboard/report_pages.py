"""The words and tables of the report."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .comparisons import Compared, Spot
from .markdown import line, plain, safe
from .measured import Made, Table
from .papers import papers
from .results import Results
from .verdicts import Decided, Verdict

MEANING: dict[Verdict, str] = {
    "holds": "the 95 % intervals of the comparisons lie in what the claim says, whatever the attacker knows",
    "holds only against an oblivious attacker": "it is true of attacks that do not know the defence, and not of one that does",
    "does not hold": "an interval excludes what the claim says",
    "undecided": "the intervals leave both possible with so many clips, or no attacker who knows the defence was run",
    "cannot be tested here": "all cells reach 100 %, or zero, within their intervals, so nothing can differ; or vbench lacks it",
    "not measured": "the store lacks the cells",
}

METHOD = """\
Every verdict follows from a rule that is written down with its claim (`leaderboard/published/claims.toml`), not from reading the
tables. Most rules are older than the cells. Not so are PGD's part of shuffling-eot, that an attacker who knows the defence
decides where all comparisons with one who does not have no room to differ, that the slope's interval is at least the
regression's, and that the tables on adversarial training have 64 clips, not 32: these came after a first look. A rule names
pairs of cells. Their difference is taken clip by clip, with a 95 % interval (Agresti and Min 2005 for paired proportions; the
variance is taken over source videos, because clips of one video are not independent). A comparison bears a claim out if that
interval lies in what the claim says. It contradicts the claim if an interval that is widened for the number of comparisons of
the claim (Bonferroni) lies outside. Anything else is open. Where a claim is about every model or attack, one contradiction is
enough for *does not hold*, and all comparisons are needed for *holds*; where a paper says "mostly", more than half are needed. A
comparison whose two cells both reach 100 %, or both reach zero, within one clip has no room to differ and does not count. An
attacker who knows the defence is one that differentiates through all of it (white-box or adaptive); against a defence, a verdict
needs one. The same rules were tried on the numbers that the papers print; the column *in the paper* says how many of its own
comparisons bear the claim out.
"""

LIMITS = """\
- The videos are drawn by a program and small; the models are tiny. A verdict is about the claim in this world. It neither
  confirms nor refutes what the papers measured in theirs.
- Every model and every defence was trained once. The intervals are over clips, so they do not hold what another training with
  another seed would change. Small differences between two trained models may be such chance.
- Accuracy under attack is an upper bound: a stronger attack may leave less.
- Intervals of single numbers are not corrected for how many there are.
- The papers' tables were read from their text. What is doubtful in it is noted in the published files.
"""


def front(verdicts: Sequence[Decided], of_paper: Mapping[str, tuple[int, int]], behind: Results) -> str:
    """Title, the table of claims, the setting, how it was decided, the evidence and the limits."""
    count = Counter(one.verdict for one in verdicts)
    told = ", ".join(f"*{verdict}* {count[verdict]}" for verdict in MEANING if count[verdict])
    rows = [line(["claim", "paper", "verdict", "in the paper", "why"]), "| --- | --- | --- | --- | --- |"]
    for one in verdicts:
        held, whole = of_paper[one.claim.id]
        place = f"{papers()[one.claim.paper].title.split(',')[0]}, {one.claim.where}"
        printed = f"{held} of {whole}" if whole else "no numbers"
        rows.append(line([f"[{one.claim.id}](#{one.claim.id})", safe(place), f"**{one.verdict}**", printed, safe(one.why)]))
    meant = "".join(f"- **{verdict}**: {meaning}.\n" for verdict, meaning in MEANING.items())
    return (
        "# What four papers claim, and what was measured here\n\n"
        f"{len(verdicts)} claims of four papers, tried on the videos that come with vbench: {told}. Made by"
        " `vbench paper report --store DIR --out DIR`; do not edit.\n\n"
        + "\n".join(rows)
        + f"\n\n{meant}\n## Setting\n\n{_setting(behind)}\n"
        + "".join(f"- {safe(one.title)}. {safe(one.differs)}\n" for one in papers().values())
        + f"\n## How a verdict is reached\n\n{METHOD}\n## Limits\n\n{LIMITS}\n## Evidence, claim by claim\n"
        + "".join(_evidence(one) for one in verdicts)
        + "\n## Tables\n\nOurs beside the published number, in per cent; intervals are 95 %. `numbers.csv` holds all of"
        " them with the hashes of the cells, `comparisons.csv` the comparisons.\n"
    )


def chapter(table: Table, published: Sequence[Spot], pictured: bool) -> str:
    """A table of a paper: the picture, then its numbers; what to run where there is none."""
    name, measured = table.name, table.measured
    text = f"\n### {safe(name)}\n\n" + (f"{safe(table.title)}.\n\n" if table.title else "")
    if table.reason:
        return f"{text}{safe(table.reason)}.\n"
    if not measured:
        reasons = Counter(spot.reason for spot in table.spots if spot.reason)
        told = "".join(f"\n- {safe(reason)} ({count} cells)" for reason, count in reasons.most_common(5))
        return f"{text}Not measured; run `vbench paper {name} --store DIR`.\n{told}\n"
    text += (
        f"![Ours and the published numbers of {name}; the table below has the same numbers]({name}.png)\n\n" if pictured else ""
    )
    known = {spot.label: spot.mean for spot in published}
    head = line(["row", "column", "ours", "95 % interval", "clips", "published", "attacker"])
    text += (
        "\n".join([head, "| --- | --- | ---: | --- | ---: | ---: | --- |", *(_spot_row(spot, known) for spot in measured)]) + "\n"
    )
    text += "\n" + "".join(f"- {_made_line(one)}\n" for one in table.made) if table.made else ""
    missing = len(table.spots) - len(measured)
    text += f"\n{missing} cells of the table were not measured; `numbers.csv` says why.\n" if missing else ""
    return text + (
        "\nWhat differs from the paper:\n\n" + "".join(f"- {safe(one)}\n" for one in table.differs) if table.differs else ""
    )


def _spot_row(spot: Spot, known: Mapping[str, float]) -> str:
    row, _, column = spot.label.partition(" @ ")
    printed = "-" if spot.counterpart else _number(known.get(spot.label, float("nan")))
    ends = f"[{100 * spot.low:.1f}, {100 * spot.high:.1f}]"
    return line([safe(row), safe(column), f"{100 * spot.mean:.1f}", ends, spot.clips, printed, safe(spot.threat or "none")])


def _made_line(one: Made) -> str:
    scale = 100 if one.unit == "points" else 1
    ends = "" if one.low != one.low else f" [{scale * one.low:.3g}, {scale * one.high:.3g}]"
    return f"{safe(one.label)}: {scale * one.value:.3g}{ends} {safe(one.unit)}"


def numbers(measured: Mapping[str, Table]) -> str:
    """All cells as CSV, fractions in [0, 1]."""
    rows = []
    for name, table in measured.items():
        for spot in table.spots:
            row, _, column = spot.label.partition(" @ ")
            values = {"ours": spot.mean, "low": spot.low, "high": spot.high, "clips": spot.clips}
            texts = {"threat": spot.threat, "cells": " ".join(spot.cells), "reason": spot.reason}
            rows.append({"table": name, "row": row, "column": column} | values | texts)
    return _csv(rows, ["table", "row", "column", "ours", "low", "high", "clips", "threat", "cells", "reason"])


def comparisons(verdicts: Sequence[Decided]) -> str:
    """All comparisons as CSV, differences in [-1, 1] where their unit is points."""
    rows = []
    for one in verdicts:
        for pair in one.compared:
            values = {
                name: getattr(pair, name) for name in ("left", "right", "threat", "difference", "low", "high", "unit", "clips")
            }
            more = {"outcome": pair.outcome, "reason": pair.reason, "cells": " ".join(pair.cells)}
            rows.append({"claim": one.claim.id, "verdict": one.verdict, "table": one.claim.table} | values | more)
    names = ["claim", "verdict", "table", "left", "right", "threat", "difference", "low", "high", "unit", "clips", "outcome"]
    return _csv(rows, [*names, "reason", "cells"])


def _evidence(one: Decided) -> str:
    claim = one.claim
    text = f'\n<a id="{claim.id}"></a>\n#### {claim.id}\n\n{safe(claim.says)} ({safe(claim.where)}; `{claim.table}`)\n\n'
    text += f"**{one.verdict}**: {safe(one.why)}.\n"
    text += f"\n{safe(claim.note)}\n" if claim.note else ""
    rows = [_pair(pair) for pair in one.compared if pair.outcome != "missing"]
    reasons = Counter(pair.reason for pair in one.compared if pair.outcome == "missing")
    if rows:
        head = line(["left", "right", "attacker", "left less right", "95 % interval", "clips", "says"])
        text += "\n" + "\n".join([head, "| --- | --- | --- | ---: | --- | ---: | --- |", *rows]) + "\n"
    return text + "".join(f"\nNot compared ({count}): {safe(reason)}.\n" for reason, count in reasons.most_common(3))


SAYS = {"above": "bears it out", "below": "contradicts it", "open": "open", "ceiling": "both at 100 %", "floor": "both at zero"}


def _pair(pair: Compared) -> str:
    scale, digits = (100, 1) if pair.unit == "points" else (1, 3)
    gap, low, high = (f"{scale * value:+.{digits}f}" for value in (pair.difference, pair.low, pair.high))
    says = SAYS.get(pair.outcome, pair.outcome)
    return line([safe(pair.left), safe(pair.right), safe(pair.threat or "none"), gap, f"[{low}, {high}]", pair.clips, says])


def _setting(behind: Results) -> str:
    if not behind.cells:
        return "None of the cells was measured.\n"
    specs, made = [cell["spec"] for cell in behind.cells], [cell["provenance"] for cell in behind.cells]
    clips = [f"{spec['dataset']}, split {spec['split']} (list of clips {spec['manifest_sha256'][:12]})" for spec in specs]
    models = [f"{spec['model']} (weights {spec['weights_sha256'][:12]})" for spec in specs]
    machines = [f"{one['device']}, {one['machine']}, {one['cores']} cores" for one in made]
    versions = [", ".join(f"{name} {version}" for name, version in one["versions"].items()) for one in made]
    days = sorted(one["started"][:10] for one in made)
    minutes = sum(one["wall_s"] for one in made) / 60
    took = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    facts = {
        "Clips": clips,
        "Models": models,
        "Defences": [spec["defense"] for spec in specs if spec["defense"] != "none"],
        "Seeds": [str(spec["seed"]) for spec in specs],
        "Machines": machines,
        "Commits": [one["commit"] for one in made if one["commit"]],
        "Versions": [f"Python {one['python']}, {version}" for one, version in zip(made, versions, strict=True)],
    }
    text = "".join(f"- {name}: {_each(values)}\n" for name, values in facts.items() if values)
    return f"- {len(specs)} cells, measured from {days[0]} to {days[-1]}, {took} of computing\n{text}"


def _each(values: Iterable[str]) -> str:
    return "; ".join(safe(value) for value in sorted(set(values)))


def _number(value: float) -> str:
    return "-" if value != value else f"{100 * value:.4g}"


def _csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    table = pd.DataFrame(rows, columns=pd.Index(names))
    for name in table.columns:
        table[name] = [_cell(value) if isinstance(value, str) else value for value in table[name]]
    file = io.StringIO()
    table.to_csv(file, index=False, float_format="%.6g")
    return file.getvalue()


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    shown = plain(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
