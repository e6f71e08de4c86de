"""Adversarial clips that are handed on: of 8 bits inside the budget, made once for all cells, processes and runs."""

import json
import os
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from grids import model_file
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.cli.cache import app
from robustvideo.benchmark.core.budget import Limits, changed_area, changed_frames, norm_of
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import InputSpec
from robustvideo.benchmark.evaluation import crafting
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.crafted import Crafted
from robustvideo.benchmark.evaluation.eight_bit import floats, rounded, survives
from robustvideo.benchmark.evaluation.engine.artifacts import VECTORS, Artifacts, kept, packed, read
from robustvideo.benchmark.evaluation.engine.leases import Leases
from robustvideo.benchmark.evaluation.engine.plan import grid_of, plan
from robustvideo.benchmark.evaluation.engine.worker import work
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.run import run_cell
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline
from typer.testing import CliRunner

INPUT = InputSpec(frames=4, size=10, short_side=10, mean=(0.5,), std=(0.5,))
CPU = torch.device("cpu")


def budget(norm, eps, **limits):
    return SimpleNamespace(norm=norm, eps=eps, limits=Limits(**limits))


def case(seed, spread):
    """Clean levels, extremes among them, and changes of every size up to `spread`, the ends of the range kept."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (3, 3, 4, 10, 10), generator=generator)
    levels[levels < 20], levels[levels > 240] = 0, 255
    change = (2 * torch.rand(levels.shape, generator=generator) - 1) * spread
    return levels, change


@pytest.mark.parametrize("eps", [1, 1.05, 2, 4, 7.65, 25.5, 25.7, 255])
def test_linf_goes_to_the_nearest_level_that_the_ball_holds(eps):
    levels, change = case(1, eps / 255)
    change[0] = change[0].sign() * eps / 255  # as attacks leave them: at the border
    clean = floats(levels.to(torch.uint8))
    made = torch.minimum(torch.maximum(clean + change, clean - eps / 255), clean + eps / 255).clamp(0, 1)
    got = rounded(budget("linf", eps / 255), clean, made)
    # The oracle: of all levels within the ball and the range, by trying them, the one nearest to what the attack made.
    exact, wanted = made.double().numpy() * 255, np.full(made.shape, np.inf)
    for step in range(-int(eps + 1e-3), int(eps + 1e-3) + 1):
        tried = levels.numpy() + step
        far = np.where((tried < 0) | (tried > 255), np.inf, np.abs(tried - exact))
        wanted = np.minimum(wanted, far)
    np.testing.assert_allclose(np.abs(got.double().numpy() * 255 - exact), wanted, atol=2e-4)
    assert ((got - clean).abs() <= eps / 255 + 1e-6).all() and torch.equal(floats((got * 255).round().to(torch.uint8)), got)


@pytest.mark.parametrize("norm", ["l2", "l1", "l21"])
@pytest.mark.parametrize("spread", [0.9, 2, 40])
def test_other_balls_hold_after_rounding_and_nearly_all_of_the_budget_is_used(norm, spread):
    levels, change = case(2, spread / 255)
    clean = floats(levels.to(torch.uint8))
    made = (clean + change).clamp(0, 1)
    eps = float(norm_of(norm, made - clean).amin())
    made = clean + (made - clean) * (eps / norm_of(norm, made - clean)).view(-1, 1, 1, 1, 1)
    got = rounded(budget(norm, eps), clean, made)
    size = norm_of(norm, got - clean)
    assert (size <= eps * (1 + 1e-5)).all() and (got >= 0).all() and (got <= 1).all()
    assert (size > 0.95 * eps).all(), "truncation alone would lose a quarter and more"
    steps = np.abs(got.double().numpy() - made.double().numpy()) * 255
    assert steps.max() < 1 + 1e-3, "no value goes further than to a neighbour on the grid"


def test_what_was_not_changed_stays_so_that_masks_and_frames_hold():
    levels, change = case(3, 1.0)
    mask = torch.zeros_like(change)
    mask[:, :, 1, 2:5, 3:6] = 1
    clean = floats(levels.to(torch.uint8))
    got = rounded(budget("linf", 1.0, frames=1, area=0.09), clean, (clean + change * mask).clamp(0, 1))
    assert changed_frames(got - clean).tolist() == [1] * 3 and (changed_area(got - clean) <= 0.09 + 1e-6).all()
    assert torch.equal(got[mask == 0], clean[mask == 0]) and not torch.equal(got, clean)


@pytest.mark.parametrize(
    ("norm", "levels", "more", "kept"),
    [
        ("linf", 1, {}, True),
        ("linf", 0.4, {}, False),  # rounding would leave nothing
        ("linf", 0.6, {}, False),
        ("linf", 0, {}, False),
        ("linf", 1.9, {}, False),  # it would be 1
        ("linf", 25.5, {}, True),
        ("l2", 35, {}, True),  # sqrt(3 * 4 * 10 * 10) = 34.6: one level everywhere
        ("l2", 34, {}, False),
        ("l2", 18, {"frames": 1}, True),
        ("l2", 17, {"frames": 1}, False),
        ("l1", 1200, {}, True),
        ("l21", 70, {}, True),
        ("l21", 69, {}, False),
        ("append", 0.1, {}, True),
        ("another", 1e9, {}, False),
    ],
)
def test_a_budget_of_less_than_a_level_keeps_its_floats(norm, levels, more, kept):
    assert survives(budget(norm, levels / 255, **more), INPUT) is kept


def made_up(rows=3):
    generator = torch.Generator().manual_seed(5)
    clips = floats(torch.randint(0, 256, (rows, 3, 2, 4, 4), generator=generator).to(torch.uint8))
    clips[1] += 0.3 / 255
    vectors = {name: torch.rand(rows, generator=generator) for name in VECTORS}
    vectors |= {"queries": torch.arange(rows), "outside": torch.tensor([True, False, True])}
    notes = {"by frame": torch.tensor([[0.1, torch.nan], [0.0, 2.0], [torch.nan, torch.nan]])}
    return Crafted(clips=clips, **vectors, notes=notes, margins=[[0.1, 1 / 3], [], [-2.0]])


def test_a_file_gives_back_the_very_numbers_and_no_others(tmp_path):
    made, path, ids = made_up(), tmp_path / "0.npz", ["a", "b", "c"]
    path.write_bytes(packed(made, "key", ids))
    got = read(path, "key", ids, CPU)
    assert got is not None and got.margins == made.margins and torch.equal(got.clips, made.clips)
    for name in VECTORS:
        assert torch.equal(getattr(got, name), getattr(made, name)) and getattr(got, name).dtype == getattr(made, name).dtype
    assert torch.equal(got.notes["by frame"].nan_to_num(-9), made.notes["by frame"].nan_to_num(-9))
    assert read(path, "other", ids, CPU) is None and read(path, "key", ["a", "b", "d"], CPU) is None
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"PK\x03\x04", whole[:1000] + bytes(200) + whole[1200:]):
        path.write_bytes(torn)
        assert read(path, "key", ids, CPU) is None


def asked(store, attack="pgd:eps=8/255,steps=2", **more):
    how = {"model": ["tsm"], "attack": [attack], "defense": ["shuffle"], "threat": ["oblivious"], "limit": 4, "batch_size": 2}
    return Request(**(how | more), store=str(store), device="cpu")


def worked(store, request, cells=None, until=None):
    """Works on a request in this process like a worker, with live objects of its own; stops after some cells, as a kill would."""
    where, bench = Store(store), Bench(CPU, request.batch_size)
    where.writable()
    found = plan(request, bench, where, strict=True)
    found.write(where)
    names = []
    with Leases(store, "test") as leases:
        for done in work(found, where, leases, bench):
            names.append(str(done.cell))
            if len(names) == cells or until and until in names[-1]:
                return names
    found.path(where).unlink()
    return names


def content(store):
    """The cells but for when and how they were made."""
    return {cell["cell"]: {name: part for name, part in cell.items() if name != "provenance"} for cell in Store(store).cells()}


@pytest.fixture
def attacks(monkeypatch):
    """What PGD is asked for: clips per call."""
    calls, run = [], PGD.run
    monkeypatch.setattr(PGD, "run", lambda self, target, x, *rest: calls.append(len(x)) or run(self, target, x, *rest))
    return calls


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A store that was filled without a stop."""
    folder = tmp_path_factory.mktemp("live")
    worked(folder, asked(folder))
    return folder


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A store all of whose workers were killed; the adversarial clips are made, and the oblivious cell is still open."""
    folder = tmp_path_factory.mktemp("killed") / "store"
    names = worked(folder, asked(folder), until="white-box")
    assert ["adaptive" in name for name in names] == [True, False], "the longest first"
    return folder


@pytest.fixture
def killed(once, tmp_path):
    """That store, to be gone on with."""
    return shutil.copytree(once, tmp_path / "store")


def only(store, threat):
    (cell,) = [cell for cell in content(store).values() if cell["spec"]["threat"] == threat]
    return cell


def test_cells_from_kept_clips_are_those_of_a_run_without_a_stop(live, killed):
    (found,) = kept(Store(killed))
    assert found.needed and len(found.cells) == 2
    assert {path.name for path in found.path.iterdir()} == {"0.npz", "1.npz", "cells.json"}
    worked(killed, asked(killed))
    assert content(killed) == content(live)
    assert {only(live, threat)["spec"]["strength"] for threat in ("white-box", "oblivious")} == {"full-8bit"}
    assert not list((killed / "artifacts").glob("*")), "a plan's last cell takes its clips away"


def test_who_finds_kept_clips_attacks_nothing(live, killed, attacks):
    assert "oblivious" in worked(killed, asked(killed), until="oblivious")[-1] and attacks == []
    # The white-box cell itself, lost again: only its check of the attack runs, and its margins come with the clips.
    Store(killed).path(only(killed, "white-box")["cell"]).unlink()
    worked(killed, asked(killed), until="white-box")
    assert only(killed, "white-box") == only(live, "white-box")
    assert len(attacks) == 2, "twice the steps, and the single step"


def test_a_torn_file_is_made_again(live, killed, attacks):
    (found,) = kept(Store(killed))
    (found.path / "1.npz").write_bytes((found.path / "1.npz").read_bytes()[:-100])
    worked(killed, asked(killed), until="oblivious")
    assert only(killed, "oblivious") == only(live, "oblivious") and len(attacks) == 1


def test_nothing_is_written_for_the_last_cell_alone(live, killed, attacks):
    shutil.rmtree(killed / "artifacts")
    worked(killed, asked(killed), until="oblivious")
    assert only(killed, "oblivious") == only(live, "oblivious")
    assert len(attacks) == 2 and not list((killed / "artifacts").glob("*"))


@pytest.mark.parametrize(("levels", "strength"), [(1, "full-8bit"), (0.4, "full")])
def test_small_budgets_are_not_rounded_to_nothing(tmp_path, levels, strength):
    worked(tmp_path, asked(tmp_path, f"pgd:eps={levels}/255,steps=2"), until="white-box")
    cell = only(tmp_path, "white-box")
    assert cell["spec"]["strength"] == strength
    assert all(0.9 * levels < 255 * value <= levels + 1e-3 for value in cell["clips"]["linf"])


def test_a_clip_that_rounding_would_save_keeps_its_floats(killed, monkeypatch):
    monkeypatch.setattr(crafting, "rounded", lambda attack, clean, made: clean)  # the worst that rounding may do
    shutil.rmtree(killed / "artifacts")
    worked(killed, asked(killed), until="oblivious")
    cell = only(killed, "oblivious")
    assert 0 < sum(value > 0 for value in cell["clips"]["linf"]) == cell["evidence"]["unrounded"]


def test_two_workers_share_a_set_and_make_each_batch_once(tmp_path):
    store, made, results = Store(tmp_path), [], []
    bench = SimpleNamespace(crafted_key=lambda cell: "key", device=CPU, stopped=lambda: False)
    cell = SimpleNamespace(handed_on=True, attack="pgd", source=None, model="tsm")
    planned = [SimpleNamespace(hash=name, state="open") for name in "ab"]
    shared = SimpleNamespace(cells=planned, cell=lambda one: cell)
    batch = SimpleNamespace(ids=["a", "b", "c"])

    def make():
        made.append(threading.get_ident())
        time.sleep(0.1)
        return made_up()

    def one_worker():
        with Leases(tmp_path, "test") as leases:
            keeper = Artifacts(shared, store, leases, bench)  # type: ignore[arg-type]
            results.extend(keeper(cell, number, batch, make).clips for number in range(3))  # type: ignore[arg-type]

    threads = [threading.Thread(target=one_worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3 and len(results) == 6 and all(torch.equal(one, results[0]) for one in results)
    assert json.loads((tmp_path / "artifacts/key/cells.json").read_text()) == ["a", "b"]


def test_prune_takes_what_no_plan_needs(killed):
    def said(verb, *more):
        return CliRunner().invoke(app, [verb, "--store", str(killed), *more]).output

    (stored, *_) = (killed / "cells").glob("??/*.json")
    (killed / "partial").mkdir(exist_ok=True)
    for name in (stored.name, f"{stored.stem}.answers", "unfinished.json", "other.answers"):
        (killed / "partial" / name).write_text("{}")
    dead, alive = stored.with_name(".x.json.1.tmp"), stored.with_name(".y.json.2.tmp")
    dead.write_bytes(bytes(1 << 20))
    alive.write_text("")
    os.utime(dead, (1, 1))
    assert "1 sets" in said("list")
    assert "removed 0 sets of adversarial clips, and what else nobody needs: 1.0 MB" in said("prune")
    assert len(kept(Store(killed))) == 1, "its plan is in the queue, and open"
    assert {path.name for path in (killed / "partial").iterdir()} == {"unfinished.json", "other.answers"}
    assert alive.exists() and not dead.exists()
    copy = shutil.copytree(killed, killed.with_name("copy"))
    assert "removed 1 sets" in said("prune", "--all") and not list((killed / "partial").iterdir())
    shutil.rmtree(copy / "queue")
    assert "removed 1 sets" in CliRunner().invoke(app, ["prune", "--store", str(copy)]).output
    assert not kept(Store(copy))
    assert isinstance(CliRunner().invoke(app, ["prune", "--store", str(killed / "none")]).exception, InputError)


def test_the_clean_cell_asks_nothing_that_an_attack_has_asked(tmp_path, monkeypatch):
    asked_for, judged = [], Pipeline.decide
    monkeypatch.setattr(Pipeline, "decide", lambda *arguments: asked_for.append(1) or judged(*arguments))
    request = asked(tmp_path, "fgsm", model=[f"{model_file(tmp_path)}:build"], defense=None, threat=None)
    cells = grid_of(request).cells()
    apart = [run_cell(cell, Bench(CPU)) for cell in cells]
    passes, bench = len(asked_for), Bench(CPU)
    together = [run_cell(cell, bench) for cell in cells]
    assert len(cells) == 2 and passes - (len(asked_for) - passes) == 1
    assert [one["clips"] for one in apart] == [one["clips"] for one in together]


def test_clean_clips_are_asked_once_for_all_attacks(tmp_path, monkeypatch):
    """Behind the same pipeline; each attack still pays for its query."""
    asked_for, decide = [], CountedTarget._decide
    monkeypatch.setattr(CountedTarget, "_decide", lambda *arguments: asked_for.append(1) or decide(*arguments))
    more = {"model": [f"{model_file(tmp_path)}:build"], "defense": ["bit-depth"], "threat": ["adaptive"]}
    cells = [cell for cell in grid_of(asked(tmp_path, "fgsm,bim:steps=2,mim:steps=2", **more)).cells() if cell.attack]
    apart = [run_cell(cell, Bench(CPU)) for cell in cells]
    passes, bench = len(asked_for), Bench(CPU)
    together = [run_cell(cell, bench) for cell in cells]
    assert len(cells) == 6 and passes - (len(asked_for) - passes) == 4  # one batch, two pipelines, three attacks
    for one, other in zip(apart, together, strict=True):
        assert one["status"] == "ok" and one["clips"] == other["clips"]
        assert min(one["clips"]["queries"]) >= 1
