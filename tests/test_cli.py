"""The program as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from grids import BROKEN
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.cli.view import short_names

MODEL = """
import torch
from robustvideo.benchmark import InputSpec, Model
from torch import nn


def build(classes: int = 2, shape: str = "good", wait: float = 0.0):
    class Net(nn.Module):
        def forward(self, clips):
            import time

            time.sleep(wait)
            bright = clips.mean(dim=(1, 2, 3, 4))[:, None]
            logits = torch.cat([bright * (-1) ** k + k * 0 * bright for k in range(classes)], dim=1)
            return logits[:, :, None] if shape == "bad" else logits

    return Model(Net(), InputSpec(frames=4, size=16, short_side=16, mean=(0.5, 0.5, 0.5)), classes)
"""


def video(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(6):
            image = np.clip(level + noise.integers(-20, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of bright and dark videos and a model that tells them apart."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(3):
        video(folder / "videos" / "bright" / f"{number}.mp4", 180 + number)
        video(folder / "videos" / "dark" / f"{number}.mp4", 70 + number)
    (folder / "model.py").write_text(MODEL)
    return folder


def vbench(*words, cwd, env=None, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | (env or {})
    command = [sys.executable, "-m", "robustvideo.benchmark.cli.main", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, **options)


RUN = ("run", "--model", "model.py:build", "--dataset", "folder", "--root", "videos")


def test_the_main_job(world, tmp_path):
    store = tmp_path / "store"
    first = vbench(*RUN, "--attack", "pgd:eps=60/255,steps=5", "--defense", "shuffle", "--store", store, cwd=world)
    assert first.returncode == 0, first.stderr
    assert "full strength" in first.stdout
    for word in ("white-box", "oblivious", "adaptive", "top-1", "95 %", "shuffle", "100.0"):
        assert word in first.stdout
    assert "[1/5]" in first.stderr and "[5/5]" in first.stderr
    table = pd.read_csv(store / "cells.csv").set_index("threat")
    assert table.loc["white-box", "top1"] == 0.0 and (table["n"] == 6).all()
    again = vbench(*RUN, "--attack", "pgd:eps=60/255,steps=5", "--defense", "shuffle", "--store", store, "--json", cwd=world)
    rows = json.loads(again.stdout)
    assert len(rows) == 5 and "5 of them stored before" in again.stderr
    quiet = vbench(*RUN, "--store", store, "--quiet", cwd=world)
    assert quiet.stderr == "" and quiet.returncode == 0
    board = vbench("leaderboard", store, cwd=world)
    assert board.returncode == 0 and "| model |" in board.stdout and (store / "leaderboard.csv").exists()


def test_precedence_command_line_environment_file_default(world, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'model = "model.py:build"\ndataset = "folder"\nroot = "videos"\nlimit = 2\nseed = 5\nstore = "{tmp_path}/s"\n'
    )

    def row(*words, env=None):
        run = vbench("run", "--grid", grid, "--json", "--quiet", *words, cwd=world, env=env)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)[0]

    assert (row()["limit"], row()["seed"], row()["split"]) == (2, 5, "test")
    assert row(env={"VBENCH_LIMIT": "4"})["limit"] == 4
    assert row("--limit", "6", env={"VBENCH_LIMIT": "4"})["limit"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "model: none is given"),
        (["run", "--model", "tms"], "did you mean tsm"),
        (["run", "--model", "tsm", "--attack", "pgd:eps=8"], "did you mean 8/255"),
        (["run", "--model", "tsm", "--attack", "pgd:eps=-1/255"], "negative"),
        (["run", "--model", "tsm", "--attack", "pgd:steps=0"], "at least 1"),
        (["run", "--model", "tsm", "--defense", "shufle"], "did you mean shuffle"),
        (["run", "--model", "tsm", "--defense", "shuffle", "--threat", "adaptative"], "did you mean adaptive"),
        (["run", "--model", "tsm", "--dataset", "nope"], "dataset"),
        (["run", "--model", "tsm", "--limit", "0"], "limit"),
        (["run", "--model", "tsm", "--device", "tpu9"], "device"),
        (["run", "--model", "tsm", "--reuse", "sometimes"], "reuse"),
        (["run", "--model", "tsm", "--grid", "nowhere.toml"], "nowhere.toml"),
        (["run", "--model", "tsm", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["run", "--model", "tsm", "--store", "/proc/store"], "store"),
        ([*RUN, "--root", "empty"], "empty"),
        ([*RUN, "--split", "moon"], "moon"),
        (["run", "--model", "model.py:build:classes=3", "--dataset", "folder", "--root", "videos"], "classes"),
        (["run", "--model", "model.py:build:shape=bad", "--dataset", "folder", "--root", "videos"], "(N, K)"),
        (["run", "--model", "model.py:nothing", "--dataset", "folder", "--root", "videos"], "model.py has no 'nothing'"),
        (["list", "attacks"], "did you mean attack"),
        (["show", "pdg"], "did you mean pgd"),
        (["leaderboard", "nowhere"], "holds no cells"),
        (["train", "--model", "tsn"], "did you mean tsm"),
        (["certify", "--model", "tms"], "did you mean tsm"),
        (["certify", "--model", "tsm", "--sigma", "0"], "sigma"),
        (["audit", "nowhere"], "holds no cells"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, message, world, tmp_path, monkeypatch, capsys):
    """In this process, because a fresh one imports torch for each line; the exit of a process is tested elsewhere."""
    (world / "empty").mkdir(exist_ok=True)
    before = set(world.iterdir())
    extra = ["--store", str(tmp_path / "store")] if words[0] == "run" and "--store" not in words else []
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "argv", ["vbench", *words, *extra])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 2, out + err
    assert out == "" and message in err
    assert err.startswith("vbench: ") and err.count("\n") == 1, err
    assert set(world.iterdir()) == before and not list(tmp_path.rglob("*.json")), "something was written"


def test_a_label_out_of_range_is_refused(world, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,label\n{world}/videos/bright/0.mp4,0\n{world}/videos/dark/0.mp4,7\n")
    run = vbench("run", "--model", "model.py:build", "--dataset", f"manifest:path={tmp_path}/m.csv", cwd=world)
    assert run.returncode == 2 and "the model has 2 classes" in run.stderr and run.stderr.count("\n") == 1


def test_a_damaged_video_is_counted_and_shown(world, tmp_path):
    for kind in ("bright", "dark"):
        video(tmp_path / "videos" / kind / "0.mp4", 180 if kind == "bright" else 70)
    (tmp_path / "videos" / "dark" / "broken.mp4").write_bytes(b"not a video at all")
    store = tmp_path / "store"
    run = vbench(*RUN[:-1], tmp_path / "videos", "--store", store, cwd=world)
    assert run.returncode == 0, run.stderr
    assert "failed-clips:1" in run.stdout
    cells, clips = pd.read_csv(store / "cells.csv"), pd.read_csv(store / "clips.csv")
    assert cells["n"].item() == 2 and cells["failed"].item() == 1 and "broken" not in str(cells["top1"].item())
    assert clips.set_index("clip")["error"].dropna().size == 1


def test_a_failing_cell_is_a_row_and_exit_code_1(world, tmp_path):
    (world / "broken.py").write_text(BROKEN)
    run = vbench(*RUN, "--attack", "broken.py:Broken", "--store", tmp_path / "store", cwd=world)
    assert run.returncode == 1 and "failed:" in run.stdout
    table = pd.read_csv(tmp_path / "store" / "cells.csv").set_index("kind")
    assert "nothing works" in table.loc["attack", "error"]
    assert table.loc["attack", "status"] == "error" and table.loc["clean", "status"] == "ok"


def heed_interrupts():
    """A test run in the background ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_runs_go_on_where_they_stopped(end, world, tmp_path):
    store = tmp_path / "store"
    words = [
        *RUN[:2],
        "model.py:build:wait=0.05",
        *RUN[3:],
        "--attack",
        "pgd:steps=8",
        "--defense",
        "shuffle",
        "--store",
        str(store),
    ]
    command = [sys.executable, "-m", "robustvideo.benchmark.cli.main", *words]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=world, text=True, preexec_fn=heed_interrupts, **pipes)
    deadline = time.monotonic() + 240
    while not list(store.rglob("cells/??/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(end)
    _, stderr = process.communicate(timeout=240)
    kept = {path: path.read_bytes() for path in store.rglob("cells/??/*.json")}
    assert kept and len(kept) < 5
    if end == signal.SIGINT:
        assert process.returncode == 130 and "interrupted" in stderr and "Traceback" not in stderr
        assert len(pd.read_csv(store / "cells.csv")) == len(kept)
    again = vbench(*words[:2], "model.py:build:wait=0.05", *words[3:], "--reuse", "only-cache", cwd=world)
    assert again.returncode == 1, "cells that were not made are no success"
    assert {path: path.read_bytes() for path in store.rglob("cells/??/*.json")} == kept


def test_help_reads_well(world):
    assert "Example: vbench run" in vbench("--help", cwd=world).stdout
    verbs = ("run", "plan", "worker", "list", "show", "train", "paper", "leaderboard", "submission", "baseline", "check", "diff")
    for verb in (*verbs, "look", "corrupt", "certify", "audit"):
        help = vbench(verb, "--help", cwd=world)
        assert help.returncode == 0 and "Example:" in help.stdout
    shown = vbench("show", "pgd", cwd=world).stdout
    assert "Madry" in shown and "4/255" in shown and "fraction of the pixel range" in shown
    assert "pgd" in vbench("list", "attack", cwd=world).stdout


def test_rows_that_differ_look_different():
    specs = [
        "none",
        "pgd:norm=linf,eps=2/255",
        "pgd:norm=linf,eps=4/255",
        "a.py:X:k=1",
        "shuffle:h1=3+jpeg:q=1",
        "shuffle:h1=3+jpeg:q=2",
    ]
    shown = ["none", "pgd:eps=2/255", "pgd:eps=4/255", "a.py:X:k=1", "shuffle+jpeg:q=1", "shuffle+jpeg:q=2"]
    assert list(short_names(specs).values()) == shown
