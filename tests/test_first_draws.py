"""EOT and plain PGD through one random defence share the first draw of their first gradient."""

import pytest
from grids import asked, model_file
from robustvideo.benchmark.evaluation import first_draws, run
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.target import CountedTarget

GRID = {"attack": ["pgd:steps=2"], "defense": ["shuffle", "smoothing:draws=2,sigma=0.1"]}
THREATS = ["adaptive:eot=3", "adaptive", "adaptive:eot=2", "adaptive:eot=2,average=score"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"{model_file(tmp_path_factory.mktemp('model'))}:build"


@pytest.fixture
def passes(monkeypatch):
    """The widths of all gradient passes."""
    widths, one_pass = [], CountedTarget._one_pass
    monkeypatch.setattr(
        CountedTarget, "_one_pass", lambda self, clips, *more: widths.append(len(clips)) or one_pass(self, clips, *more)
    )
    return widths


def adaptive(model, threats, **options):
    """The adaptive cells of a grid, in its order."""
    cells = grid_of(asked(model=[model], threat=threats, **GRID | options)).cells()
    return [cell for cell in cells if cell.threat and cell.threat.name == "adaptive"]


def measured(result):
    assert result["status"] == "ok", result["error"]
    return {name: value for name, value in result.items() if name != "provenance"}


def test_a_grid_asks_for_it_once_and_gives_what_single_runs_give(model, tmp_path, passes):
    cells = adaptive(model, THREATS)
    alone = [measured(run.run_cell(cell, Bench(batch_size=3))) for cell in cells]
    apart = len(passes)
    passes.clear()
    bench = Bench(batch_size=3)
    together = [measured(done.result) for done in run.run_grid(cells, bench, Store(tmp_path / "store"))]
    assert together == alone
    # Of every defence three cells differ in the draws alone: two of them are spared a pass for each of three batches.
    assert len(cells) == 8 and apart - len(passes) == 2 * 2 * 3
    assert not bench.first_draws._kept, "nothing stays behind"


def test_nothing_is_kept_for_one_cell_and_not_more_than_fits(model, tmp_path, passes, monkeypatch):
    bench = Bench(batch_size=3)
    list(run.run_grid(adaptive(model, ["adaptive:eot=3", "adaptive:eot=2,average=score"]), bench, Store(tmp_path / "one")))
    assert not bench.first_draws._kept
    cells, asked_for = adaptive(model, THREATS[:2], defense=["shuffle"]), []
    for room in (0, 3 * 3 * 4 * 16 * 16 * 4, 1 << 30):  # none, a batch of three clips, all
        monkeypatch.setattr(first_draws, "may_keep", lambda _, room=room: room)
        passes.clear()
        list(run.run_grid(cells, Bench(batch_size=3), Store(tmp_path / f"{room}")))
        asked_for.append(len(passes))
    assert [asked_for[0] - one for one in asked_for] == [0, 1, 3]


def test_several_draws_have_a_version(model):
    versions = [Bench().spec(cell)["versions"].get("threat") for cell in adaptive(model, THREATS)[:4]]
    assert versions == ["2", None, "2", "2"]
