"""What a leaderboard and the gate cost on a large store: `python tests/speed/leaderboard.py [cells] [clips]`; 3,000 and 1,000."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from robustvideo.leaderboard import files
from robustvideo.leaderboard.board import build, by_track
from robustvideo.leaderboard.gate import policy
from robustvideo.leaderboard.gate.baseline import make, read
from robustvideo.leaderboard.gate.judge import judge
from robustvideo.leaderboard.gate.judged import Report
from robustvideo.leaderboard.pictures import pictures
from robustvideo.leaderboard.results import Results
from timing import table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stores import PGD, made_cell, put_all

PER_ROW = 25
FLIPPED = 0.02
"""Share of a cell's clips that another release turns over."""

ATTACKS = [PGD.replace("8/255", f"{eps}/255") for eps in (1, 2, 4, 8, 12, 16, 32)]
CORRUPTIONS = ("gaussian_noise:table=imagecorruptions,temporal=iid", "fog:table=imagecorruptions,temporal=static")


def large(folder: Path, cells: int, clips: int) -> Path:
    """A store of rows with 25 cells each: clean, seven attacks under two threats, and two corruptions."""
    rng = np.random.default_rng(0)
    for row in range(cells // PER_ROW):
        who = {"model": f"tsm:preset=tiny,frames={1 + row % 10},size=none", "per_source": 4}
        if row >= 10:
            who["defense"] = f"shuffle:h1=none,h2=none,preset=auto,draws={row // 10}"
        ease = rng.random(clips)
        made = [made_cell(ease > 0.05, **who)]
        for number, attack in enumerate(ATTACKS):
            for threat in ("oblivious", "adaptive:eot=1") if row >= 10 else ("white-box", "transfer:x3d"):
                hit = 0.2 + 0.1 * number + 0.05 * rng.random()
                made.append(made_cell(ease > hit, attack=attack, threat=threat, eps=2**number / 255, **who))
        for corruption in CORRUPTIONS:
            made += [made_cell(ease > 0.1 * level, corruption=corruption, severity=level, **who) for level in range(1, 6)]
        put_all(folder, made)
    return folder


def earlier(cell: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The cell of another release, in which other clips are right: the gate tests what moved, and nothing else."""
    correct = np.array(cell["clips"]["correct"])
    turned = rng.random(len(correct)) < FLIPPED
    return {**cell, "clips": cell["clips"] | {"correct": np.where(turned, 1 - correct, correct).tolist()}}


def main() -> None:
    """Prints processor seconds of each step, once, and their ratio to parsing the same files."""
    cells, clips = (int(word) for word in [*sys.argv[1:], *("3000", "1000")[len(sys.argv) - 1 :]])
    found: dict[str, float] = {}
    rng = np.random.default_rng(1)

    def timed(name: str, job: Callable[[], object]) -> object:
        start = time.process_time()
        made = job()
        found[name] = time.process_time() - start
        return made

    with tempfile.TemporaryDirectory() as folder:
        store = large(Path(folder), cells, clips)
        paths = sorted((store / "cells").glob("??/*.json"))
        timed("json.loads", lambda: [None for path in paths if not json.loads(path.read_bytes())])
        results = timed("Results.read", lambda: Results.read([store]))
    assert isinstance(results, Results)
    timed("table of cells", lambda: results.table)
    timed("audit", lambda: results.audited)
    board = timed("board with ranks", lambda: build(results))
    drawn = timed("pictures", lambda: pictures(results, board))  # type: ignore[arg-type]
    tracks = timed("boards of tracks", lambda: by_track(results))
    timed("markdown, CSV, LaTeX, HTML", lambda: files.files(board, results, drawn, None, tracks))  # type: ignore[arg-type]
    found["all formats"] = sum(seconds for name, seconds in found.items() if name != "json.loads")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "baseline.json"
        kept.write_text(make(Results([earlier(cell, rng) for cell in results.cells])), encoding="utf-8")
        report = timed("verdicts", lambda: judge(results, read(kept), policy.read(None, date.today())))
    assert isinstance(report, Report) and report.draws > 1, "a store beside itself is no test: nothing moved"
    found["gate"] = found["Results.read"] + found["verdicts"]
    bars = {"all formats": "should be < 20 s", "gate": "should be < 10 s"}
    moved = sum(cell.lost + cell.gained for cell in report.cells)
    table(f"{cells:,} cells of {clips:,} clips, {moved:,} turned over, {report.draws:,} sign flips", found, "json.loads", bars)


if __name__ == "__main__":
    main()
