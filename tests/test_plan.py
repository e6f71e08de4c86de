"""Plans: what a run would do, and what workers are given."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from grids import asked, planned
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core import source
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.evaluation import bench, identity, run
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import Plan, grid_of, in_queue, plan
from robustvideo.benchmark.evaluation.engine.summary import Summary, duration
from robustvideo.benchmark.evaluation.store import Store

MODEL = """
import torch
from robustvideo.benchmark import InputSpec, Model
from torch import nn


class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(8.0))

    def forward(self, clips):
        return clips.mean(dim=(1, 2, 3, 4))[:, None] * self.scale


def build(bias: float = 0.0):
    net = Bright()
    net.scale.data += bias
    return Model(net, InputSpec(frames=4, size=16, short_side=16), 8)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.py"
    path.write_text(MODEL)
    return f"{path}:build"


@pytest.fixture
def ask(model, tmp_path):
    """A request for the trivial model on eight clips."""

    return partial(asked, model=[model], store=str(tmp_path / "store"))


@pytest.fixture
def vbench(model, tmp_path, monkeypatch, capsys):
    """Runs the program: exit code, stdout, stderr."""

    def run(*arguments, error=None):
        common = ["--limit", "8", "--store", str(tmp_path / "store"), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["vbench", *arguments[:1], "--model", model, *common, *arguments[1:]])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code or 0, *capsys.readouterr()

    return run


def states(found):
    return [one.state for one in found.cells]


def put(request, found, *numbers, status="ok"):
    """Stores cells of a plan, as far as a plan looks."""
    for number in numbers:
        one = found.cells[number]
        content = {"schema": 1, "cell": one.hash, "spec": {}, "status": status, "clips": {}}
        Store(Path(request.store)).put(content)


def test_a_cell_is_open_until_it_is_stored(ask):
    request = ask(attack=["pgd:steps=1"], defense=["shuffle"])
    found = planned(request)
    assert states(found) == ["open"] * 5 and len({one.hash for one in found.cells}) == 5
    assert all(one.work > 0 and len(one.hash) == 24 for one in found.cells)
    put(request, found, 0, 2)
    again = planned(request)
    assert states(again) == ["stored", "open", "stored", "open", "open"]
    assert [one.hash for one in again.cells] == [one.hash for one in found.cells] and again.cells[0].work == 0
    assert again.id == found.id


@pytest.mark.parametrize(
    ("reuse", "wanted"),
    [
        ("missing", ["stored", "open", "open"]),
        ("always", ["stored", "stored", "open"]),
        ("never", ["open", "open", "open"]),
        ("only-cache", ["stored", "stored", "open"]),
    ],
)
def test_what_counts_as_stored_is_the_policy_s(ask, reuse, wanted):
    request = ask(attack=["pgd:steps=1", "pgd:steps=2"], reuse=reuse)
    found = planned(request)
    put(request, found, 0)
    put(request, found, 1, status="error")
    assert states(planned(request)) == wanted


def test_a_long_spec_does_not_hide_the_status(ask):
    store = Store(Path(ask().store))
    store.put({"schema": 1, "cell": "ab" * 12, "spec": {"model": "m" * 50_000}, "status": "error", "clips": {}})
    assert store.state("ab" * 12) == "error" and store.state("cd" * 12) is None
    text = store.path("ab" * 12).read_text()
    store.path("ab" * 12).write_text(text.replace('"schema":1', '"schema":99'))
    with pytest.raises(InputError, match="is no cell of schema 1; use the vbench version"):
        store.state("ab" * 12)
    store.path("ab" * 12).write_text("{ no cell")
    with pytest.raises(InputError, match="is not JSON"):
        store.state("ab" * 12)


def test_an_impossible_cell_has_its_reason(ask):
    """The model takes four frames."""
    request = ask(attack=["append:frames=4", "pgd:steps=1"])
    found = planned(request)
    assert states(found) == ["open", "impossible", "open"]
    assert found.cells[1].why == (
        "attack append: frames: 4 leaves none of the 4 frames that the model takes; it must be from 1 to 3"
    )
    assert found.cells[1].hash == "" and not any(found.cells[1] in bundle for bundle in found.bundles())
    with pytest.raises(InputError, match="leaves none of the 4 frames"):
        planned(request, strict=True)


def test_cells_on_the_same_clips_are_one_bundle_and_the_longest_comes_first(ask):
    found = planned(ask(attack=["pgd:steps=3", "pgd:steps=1"], defense=["shuffle", "smoothing:draws=2"]))
    names = [[one.name.partition(", ")[2] for one in bundle] for bundle in found.bundles()]
    white = ["pgd (white-box)", "pgd (oblivious), shuffle", "pgd (oblivious), smoothing"]
    assert names.count(white) == 2, "what is crafted on the undefended model serves all oblivious cells"
    alone = [bundle for bundle in names if len(bundle) == 1]
    assert len(alone) == 3 + 4, "three clean cells and four adaptive ones share nothing"
    work = [sum(one.work for one in bundle) for bundle in found.bundles()]
    assert work == sorted(work, reverse=True)
    assert Summary.of(found, Bench()).shared == 4


def test_corrupted_clips_are_shared_between_models_and_defences(ask, model):
    found = planned(ask(model=[model, f"{model}:bias=1"], corruption=["gaussian_noise"], severity="1-2", defense=["shuffle"]))
    sizes = sorted(len(bundle) for bundle in found.bundles())
    assert sizes == [1] * 4 + [4, 4], "four clean cells alone; two severities with two models with and without defence"


def test_a_plan_comes_back_from_the_queue_as_it_was(ask, tmp_path):
    request = ask(attack=["pgd:steps=1"])
    store, found = Store(tmp_path / "store"), planned(request)
    path = found.write(store)
    assert in_queue(store) == [path]
    read = Plan.read(path)
    assert read == found and read.request == request and read.id == found.id
    assert [str(read.cell(one)) for one in read.cells] == [str(cell) for cell in grid_of(request).cells()]
    assert planned(ask(attack=["pgd:steps=2"])).id != found.id
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    with pytest.raises(InputError, match="its schema is 99, not 1; plan it again"):
        Plan.read(path)
    path.write_text('{"schema": 1}')
    with pytest.raises(InputError, match="is no plan of this version"):
        Plan.read(path)


def test_each_part_is_looked_at_once(ask, monkeypatch):
    """Otherwise thousands of cells take minutes: a grid is made of few parts."""
    attacks, manifests, checked = [], [], bench.check_attack
    monkeypatch.setattr(bench, "check_attack", lambda cell, of: attacks.append(cell.attack) or checked(cell, of))
    monkeypatch.setattr(identity, "manifest_sha256", lambda records: manifests.append(1) or "0" * 64)
    source.entry_points.cache_clear()
    found = planned(ask(attack=[f"pgd:steps=1,eps={k}/255" for k in range(1, 11)], defense=["shuffle", "smoothing"]))
    assert len(found.cells) == 3 + 10 * 5 and len({one.hash for one in found.cells}) == len(found.cells)
    assert len(attacks) == len({str(one) for one in attacks}) == 10 and manifests == [1]
    assert source.entry_points.cache_info().misses <= 4, "one look per kind of component"


def test_the_table(vbench, tmp_path):
    code, out, err = vbench("plan", "--attack", "pgd:steps=1", "--defense", "shuffle")
    assert code == 0 and out.count("│ open") == 5 and "1 more" in out
    assert "5 cells: 0 stored, 5 to run, 1 of them on clips that another one makes, about" in " ".join(out.split())
    assert not (tmp_path / "store").exists(), "a plan writes nothing"


def test_json_queue_and_worker(vbench, tmp_path):
    code, out, err = vbench("plan", "--attack", "pgd:steps=1", "--json", "--queue")
    rows = json.loads(out)
    assert code == 0 and [row["state"] for row in rows] == ["open", "open"] and all(row["seconds"] > 0 for row in rows)
    (path,) = in_queue(Store(tmp_path / "store"))
    assert str(path) in err
    found = Plan.read(path)
    from robustvideo.benchmark.evaluation.engine.leases import Leases
    from robustvideo.benchmark.evaluation.engine.worker import work

    with Leases(tmp_path / "store", "test") as leases:
        done = list(work(found, Store(tmp_path / "store"), leases, Bench()))
    assert [one.result["status"] for one in done] == ["ok", "ok"]
    assert {one.result["cell"] for one in done} == {row["hash"] for row in rows}, "what was planned is what is stored"
    code, out, _ = vbench("plan", "--attack", "pgd:steps=1", "--json")
    assert code == 0 and [row["state"] for row in json.loads(out)] == ["stored", "stored"]


def test_an_impossible_cell_ends_a_plan_with_1_and_a_run_with_2(vbench, tmp_path):
    code, out, _ = vbench("plan", "--attack", "append:frames=4")
    assert code == 1 and "impossible: attack append: frames: 4 leaves none" in " ".join(out.split())
    assert "2 cells: 0 stored, 1 to run, 1 impossible" in " ".join(out.split())
    code, out, err = vbench("run", "--attack", "append:frames=4", "-q")
    assert code == 2 and err.startswith("vbench: attack append: frames: 4 leaves none") and err.count("\n") == 1
    assert not list((tmp_path / "store").glob("cells/*/*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attack", "pgdd"), "vbench: attack: 'pgdd' is unknown; did you mean pgd"),
        (("--precision", "bf61"), "vbench: precision: 'bf61' is unknown; did you mean bf16"),
        (("--precision", "tf32"), "vbench: precision: tf32 is one of CUDA devices, and this is cpu"),
        (("--executor", "locl"), "vbench: executor: 'locl' is unknown; did you mean local"),
        (("--reuse", "sometimes"), "vbench: reuse: 'sometimes' is unknown"),
    ],
)
def test_a_typo_is_one_line_and_2(vbench, arguments, said):
    code, _, err = vbench("plan", *arguments)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize(("seconds", "text"), [(0.01, "1 s"), (89, "89 s"), (120, "2 min"), (5400, "1.5 h"), (float("nan"), "?")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_passes_of_another_precision_are_another_plan(ask):
    plain = planned(ask())
    half = plan(ask(precision="bf16"), Bench(torch.device("cpu"), precision="bf16"), Store(Path("s")))
    assert plain.id != half.id and plain.cells[0].hash != half.cells[0].hash


OPAQUE = '''
from dataclasses import dataclass
from robustvideo.benchmark.core.defense import Plain


@dataclass(frozen=True)
class Opaque(Plain):
    """Lets no gradient pass. Source: none."""

    gradient = "none"

    def protect(self, model):
        return lambda clips, rng: model((clips * 255).round().detach() / 255, rng)
'''


def test_what_no_attacker_can_do_is_planned_as_impossible_and_becomes_a_row_at_once(vbench, model, tmp_path, monkeypatch):
    """An adaptive attack by gradient on a defence that lets none pass, a transfer between clips of two sizes."""
    (tmp_path / "opaque.py").write_text(OPAQUE)
    other = tmp_path / "small.py"
    other.write_text(MODEL.replace("size=16, short_side=16", "size=8, short_side=8"))
    asked = ["--attack", "pgd:steps=1,noise:queries=1", "--defense", f"{tmp_path}/opaque.py:Opaque"]
    asked += ["--threat", "oblivious", "--threat", f"transfer:{other}:build"]
    code, out, _ = vbench("plan", *asked, "--json")
    rows = json.loads(out)
    impossible = {row["name"]: row for row in rows if row["state"] == "impossible"}
    reasons = [row["why"] for row in impossible.values()]
    assert (
        code == 1 and len(rows) == 12 and all(row["hash"] and row["work"] == 0 == row["seconds"] for row in impossible.values())
    )
    assert sum("lets no gradient pass; use a transfer or black-box attack" in why for why in reasons) == 1, "noise needs none"
    assert sum("the source takes 4 frames of 8 px, the model 4 of 16" in why for why in reasons) == len(reasons) - 1 == 4
    table = " ".join(vbench("plan", *asked)[1].split())
    assert "7 to run, 5 impossible, 2 of them on clips that another one makes" in table

    measured, measure = [], run._measure_batches
    monkeypatch.setattr(run, "_measure_batches", lambda cell, *more: measured.append(cell) or measure(cell, *more))
    assert vbench("run", *asked, "-q")[0] == 1
    assert len(measured) == 7, "no clip is decoded for the others"
    stored = {cell["cell"]: cell for cell in Store(tmp_path / "store").cells()}
    assert len(stored) == 12
    failed = {name: cell["error"] for name, cell in stored.items() if cell["status"] == "error"}
    assert failed == {row["hash"]: row["why"] for row in impossible.values()}
