"""What a leaderboard of a large store costs: `python tests/speed/leaderboard.py [cells] [clips]`, by default 3,000 and 1,000."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from robustvideo.leaderboard import files
from robustvideo.leaderboard.board import build
from robustvideo.leaderboard.results import Results
from timing import table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stores import PGD, made_cell, put_all

PER_ROW = 25
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


def main() -> None:
    """Prints processor seconds of each step, once, and their ratio to parsing the same files."""
    cells, clips = (int(word) for word in [*sys.argv[1:], *("3000", "1000")[len(sys.argv) - 1 :]])
    found: dict[str, float] = {}

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
    timed("markdown, CSV, LaTeX, HTML", lambda: files.files(board, results))  # type: ignore[arg-type]
    found["all"] = sum(seconds for name, seconds in found.items() if name != "json.loads")
    table(
        f"Leaderboard of {cells:,} cells of {clips:,} clips, without pictures", found, "json.loads", {"all": "should be < 20 s"}
    )


if __name__ == "__main__":
    main()
