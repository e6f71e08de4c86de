"""An attack that is killed in the middle of a batch hears again what it had heard, and goes on to the same clips."""

import zlib
from types import SimpleNamespace

import pytest
import torch
from grids import model_file
from robustvideo.attacks.vauto import VAuto
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.evaluation import journal, run
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.engine.partial import discard
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.journal import Journal
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.target import CountedTarget

FOOTAGE = {}


class Killed(BaseException):
    """What no attack, and nothing of ours, catches."""


@pytest.fixture
def eager(monkeypatch):
    """Everything is written, at once."""
    monkeypatch.setattr(journal, "AFTER", 0.0)
    monkeypatch.setattr(journal, "WORTH", 0.0)


@pytest.fixture
def asked(monkeypatch):
    """How often the model was asked by an attack; at the number `killed_at` the process is killed."""

    class Asked:
        count, killed_at = 0, None

        def watch(self, name):
            answer = getattr(CountedTarget, name)

            def one(target, *given):
                self.count += 1
                if self.count == self.killed_at:
                    raise Killed
                return answer(target, *given)

            monkeypatch.setattr(CountedTarget, name, one)

    watched = Asked()
    for name in ("_gradient", "_scores"):
        watched.watch(name)
    return watched


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return f"{model_file(tmp_path_factory.mktemp('model'))}:build"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(VAuto, "steps", 4)
    monkeypatch.setattr(VAuto, "queries", 6)


def cell_of(model, attack, threat):
    options = {} if threat == "white-box" else {"defense": ["smoothing:draws=2,sigma=0.1"], "threat": [threat]}
    cells = grid_of(Request(model=[model], attack=[attack], limit=6, **options)).cells()
    return next(cell for cell in cells if cell.threat and str(cell.threat).startswith(threat))


def bench():
    """Two batches; everything but the clips is made anew, as in another process."""
    made = Bench(torch.device("cpu"), 3)
    made.footage = FOOTAGE.setdefault("footage", made.footage)
    return made


def numbers(result):
    assert result["status"] == "ok", result["error"]
    return {name: value for name, value in result.items() if name != "provenance"}


@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        ("pgd:steps=4,restarts=2", "white-box"),
        ("pgd:steps=3,target=random", "white-box"),
        ("mim:steps=4", "adaptive"),
        ("pgd:steps=3", "adaptive:eot=3"),
        ("pgd:steps=3,restarts=2", "adaptive:eot=2,average=score"),
        ("apgd:steps=6", "white-box"),
        ("square:queries=12", "white-box"),
        ("square:queries=8", "adaptive"),
        ("vauto:eps=8/255", "white-box"),
    ],
)
def test_it_goes_on_with_the_next_answer_wherever_it_was_killed(model, attack, threat, eager, asked, tmp_path):
    cell, keep = cell_of(model, attack, threat), tmp_path / "keep.json"
    whole = numbers(run.run_cell(cell, bench()))
    total, asked.count = asked.count, 0
    for killed_at in sorted({2, total // 3, total // 2, total - 2} - {0, 1}):
        asked.killed_at = killed_at
        with pytest.raises(Killed):
            run.run_cell(cell, bench(), keep)
        before, asked.count, asked.killed_at = killed_at - 1, 0, None
        assert keep.with_suffix(".answers").exists()
        assert numbers(run.run_cell(cell, bench(), keep)) == whole
        # Once more at most: what the checks ask the clips as they are, and the answer that a bench has held for another use.
        assert total - before <= asked.count <= total - before + 2
        asked.count = 0
        discard(keep)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reuse", ["missing", "never"])
def test_a_run_goes_on_and_one_that_reuses_nothing_does_not(model, reuse, eager, asked, tmp_path):
    cell, store, made = cell_of(model, "pgd:steps=6", "white-box"), Store(tmp_path), bench()
    list(run.run_grid([cell], bench(), Store(tmp_path / "undisturbed")))
    total, asked.count, asked.killed_at = asked.count, 0, 5
    with pytest.raises(Killed):
        list(run.run_grid([cell], made, store))
    assert ".answers" in {path.suffix for path in (tmp_path / "partial").iterdir()}
    asked.count, asked.killed_at = 0, None
    list(run.run_grid([cell], bench(), store, reuse=reuse))
    assert asked.count == total - (4 if reuse == "missing" else 0)
    assert not list((tmp_path / "partial").iterdir())


class Clock:
    """Time goes by only where somebody lets it."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(journal, "time", made)
    return made


CLIPS = torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def answers(path, name="batch", count=8, clips=CLIPS, takes=1.0, clock=None):
    """Which of `count` calls were asked anew, and what all of them gave; each answer is a draw of the clips' streams."""
    kept, asked, rng = Journal(path), [], ClipRandom.for_clips(["a", "b"], 0, "test")
    kept.turn(name)
    given = []
    for number in range(count):

        def make(number=number):
            asked.append(number)
            if clock:
                clock.now += takes
            return (rng.uniform((3,)), torch.tensor([number]))

        parts = kept.once("scores", clips + number, rng, make)
        given.append([part.clone() for part in parts])
        parts[0].fill_(-1)  # an attack may write into what it is given
    return asked, given


def same(one, other):
    return all(torch.equal(a, b) for mine, its in zip(one, other, strict=True) for a, b in zip(mine, its, strict=True))


def test_a_short_batch_leaves_nothing_and_a_long_one_all_of_it(tmp_path, clock):
    path = tmp_path / "cell.answers"
    answers(path, clock=clock, count=4)
    assert not path.exists(), "4 seconds"
    _, wanted = answers(None, count=9)
    answers(path, clock=clock, count=6)
    asked, given = answers(path, clock=clock, count=9)
    assert asked == [6, 7, 8] and same(given, wanted), "those of the first seconds, too, and the streams go on"


def test_answers_that_are_quicker_than_a_disk_are_not_written(tmp_path, clock):
    path = tmp_path / "cell.answers"
    answers(path, clock=clock, count=2000, takes=0.004)
    assert not path.exists(), "8 seconds of answers of 4 ms"
    answers(path, clock=clock, count=2000, takes=0.006)
    assert path.exists()


@pytest.mark.parametrize(
    ("harm", "asked"),
    [
        (lambda whole: whole, []),
        (lambda whole: whole[:-1], [5]),
        (lambda whole: whole + bytes(100), []),
        (lambda whole: whole[:-500] + bytes(500), [5]),
        (lambda whole: whole + b"\xff" * 100, []),
        (lambda whole: whole + journal.HEAD.pack(3, zlib.crc32(b"abc")) + b"abc", []),
        (lambda whole: b"", [0, 1, 2, 3, 4, 5]),
        (lambda whole: whole[:5], [0, 1, 2, 3, 4, 5]),
        (lambda whole: whole[:30] + b"x" + whole[31:], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_torn_file_serves_as_far_as_it_is_whole(tmp_path, eager, harm, asked):
    path = tmp_path / "cell.answers"
    _, wanted = answers(path, count=6)
    path.write_bytes(harm(path.read_bytes()))
    found, given = answers(path, count=6)
    assert found == asked and same(given, wanted)
    assert answers(path, count=8)[0] == [6, 7], "and is mended"


def test_no_answer_is_given_to_another_question(tmp_path, eager):
    path = tmp_path / "cell.answers"
    _, wanted = answers(path, count=4)
    for change in ((1, 2, 3, 15, 15), (0, 1, 2, 3, 4)):
        other = CLIPS.clone()
        other[change] += 1e-6
        assert answers(path, count=4, clips=other)[0] == [0, 1, 2, 3] and answers(path, count=4, clips=other)[0] == []
    swapped = CLIPS.flip(0)
    assert answers(path, count=4, clips=swapped)[0] == [0, 1, 2, 3]
    odd = CLIPS[:, :1, :3, :5, :5].flatten()[1:].view(1, 1, 149, 1, 1)
    assert answers(path, count=2, clips=odd)[0] == [0, 1] and answers(path, count=2, clips=odd[:, :, :148])[0] == [0, 1]
    assert answers(path, name="another batch", count=2)[0] == [0, 1]
    found, given = answers(path, count=4)
    assert found == [0, 1, 2, 3] and same(given, wanted)


def test_another_version_s_answers_are_none(tmp_path, eager, monkeypatch):
    path = tmp_path / "cell.answers"
    answers(path, count=4)
    monkeypatch.setattr(journal, "SCHEMA", journal.SCHEMA + 1)
    assert answers(path, count=4)[0] == [0, 1, 2, 3]


def test_a_disk_or_a_memory_without_room_costs_the_journal_alone(tmp_path, eager, monkeypatch):
    path = tmp_path / "cell.answers"
    _, wanted = answers(path, count=2)
    monkeypatch.setattr(journal.shutil, "disk_usage", lambda _: SimpleNamespace(free=40_000))
    found, given = answers(path, count=6)
    assert found == [2, 3, 4, 5] and same(given[:2], wanted) and not path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(journal, "AFTER", 0.0)
    monkeypatch.setattr(journal, "WORTH", 0.0)

    def none(entry):
        raise MemoryError

    answers(path, count=2)
    monkeypatch.setattr(journal, "_packed", none)
    assert answers(path, count=6)[0] == [2, 3, 4, 5] and not path.exists()
    folder = tmp_path / "file"
    folder.write_text("in the way of a folder")
    assert answers(folder / "cell.answers", count=3)[0] == [0, 1, 2]
