"""The studies of papers: the frame orders of Hwang et al. 2024, and the verb that shows them."""

import io
import itertools
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from robustvideo.benchmark.cli.main import app
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec, Model
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.evaluation.stats import wilson
from robustvideo.benchmark.evaluation.studies import export, frame_order
from robustvideo.benchmark.evaluation.studies.catalogue import COLUMNS, STUDIES, find_study
from typer.testing import CliRunner

FIG5, TABLE1 = STUDIES["temporal-shuffling/fig5"], STUDIES["temporal-shuffling/table1"]
T = 8


def rng(count, seed=0):
    return ClipRandom.for_clips([f"clip{number}" for number in range(count)], seed, "test")


@pytest.mark.parametrize("frames", [8, 7])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 8, 16])
def test_frames_stay_in_their_chunk(frames, chunk):
    orders = frame_order.chunk_order(frames, chunk, rng(50))
    assert orders.shape == (50, frames)
    for order in orders.tolist():
        for start in range(0, frames, chunk):
            assert sorted(order[start : start + chunk]) == list(range(start, min(start + chunk, frames)))


def test_every_order_of_a_chunk_is_as_likely_and_chunks_are_independent():
    count = 2400
    orders = frame_order.chunk_order(8, 4, rng(count)).tolist()
    firsts, pairs = Counter(tuple(order[:4]) for order in orders), Counter((order[0], order[4]) for order in orders)
    assert set(firsts) == set(itertools.permutations(range(4)))
    # Five standard deviations of a binomial count.
    assert all(abs(seen - count / 24) < 5 * (count / 24) ** 0.5 for seen in firsts.values())
    assert len(pairs) == 16 and all(abs(seen - count / 16) < 5 * (count / 16) ** 0.5 for seen in pairs.values())


def test_orders_belong_to_the_clip_and_each_draw_is_fresh():
    few, many = rng(2), rng(5)
    draws = [frame_order.chunk_order(8, 8, many) for _ in range(2)]
    assert torch.equal(frame_order.chunk_order(8, 8, few), draws[0][:2])
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[0][0], draws[0][1])


def test_reordering_is_the_example_of_the_paper():
    clips = torch.arange(1, 5).view(1, 1, 4, 1, 1).expand(2, 3, 4, 2, 2)
    order = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])  # x(3), x(1), x(4), x(2); and as it was
    mixed = frame_order.reorder(clips, order)
    assert mixed[0, 1, :, 0, 1].tolist() == [3, 1, 4, 2] and torch.equal(mixed[1], clips[1])


class Answers(torch.nn.Module):
    """Says what a frame's brightness says: that of frame `at`, or of all frames together."""

    def __init__(self, at):
        super().__init__()
        self.at, self.weight = at, torch.nn.Parameter(torch.zeros(1))

    def forward(self, clips):
        values = clips.mean(dim=(1, 3, 4)) * 255
        value = values.mean(dim=1, keepdim=True) if self.at is None else values[:, self.at, None]
        return -(value - torch.arange(T) * 10).abs()


def answers(at):
    return Model(Answers(at), InputSpec(T, 4, 4, mean=(0, 0, 0), std=(1, 1, 1)), T).eval()


def world(labels):
    """Frame t of every clip has brightness 10 t; the first frame tells class 0."""
    pixels = (torch.arange(T, dtype=torch.uint8) * 10).view(1, 1, T, 1, 1).expand(len(labels), 3, T, 4, 4)
    records = [ClipRecord(f"clip{number}", Path(), label, f"clip{number}") for number, label in enumerate(labels)]
    return frame_order.Clips(records, pixels, torch.tensor(labels))


def test_the_share_of_right_answers_is_exact():
    clips = world([0, 3, 5])
    still = [torch.full((3, T), frame) for frame in range(T)]
    assert frame_order.share_right(answers(0), clips, still).tolist() == [1 / T] * 3
    orders = [torch.tensor([[0, *range(1, T)], [3, 0, 1, 2, *range(4, T)], [1, 0, *range(2, T)]])] * 2
    assert frame_order.share_right(answers(0), clips, orders).tolist() == [1, 1, 0]


@pytest.fixture
def worlds(monkeypatch):
    """A model that reads the first frame beside one that sees no order, on clips of the first and of the middle class."""
    monkeypatch.setattr(frame_order, "shipped_for_all", lambda: ["first", "mean"])

    def install(labels):
        def made(names):
            for dataset in frame_order.DATASETS:
                yield dataset, {"first": answers(0), "mean": answers(None)}, world(labels)

        monkeypatch.setattr(frame_order, "_worlds", made)

    return install


def test_figure_5_over_models_that_are_understood(worlds):
    worlds([0] * 400)
    ticks = []
    table = FIG5.run(lambda done, total: ticks.append((done, total)))
    assert tuple(table.columns) == COLUMNS and ticks == [(step, 24) for step in range(1, 25)]
    assert list(table["condition"][:4]) == ["N=1", "N=2", "N=4", "N=8"] and list(table["draws"][:4]) == [1, 10, 10, 10]
    first = table[table["model"] == "first"]
    for _, row in first.iterrows():
        chance = 1 / int(row["condition"].removeprefix("N="))  # that the first frame stays the first
        deviation = (chance * (1 - chance) / (400 * row["draws"])) ** 0.5
        assert abs(row["top1"] - chance) <= 5 * deviation
        assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(row["top1"], 400)) and row["clips"] == 400
    assert (table[table["model"] == "mean"]["top1"] == 0).all()
    published = table.dropna(subset=["published"])
    assert set(published["dataset"]) == {"shapes-motion"} and set(published["condition"]) == {"N=8"}


def test_table_1_counts_the_clips_that_every_model_gets_right(worlds):
    # The mean brightness, 35, is nearest to classes 3 and 4 alike: a tie, which is no right answer; so no clip is left.
    worlds([0, 0, 3])
    table = TABLE1.run()
    assert tuple(table.columns) == COLUMNS
    shapes = table[table["dataset"] == "shapes"]
    original = shapes[shapes["condition"] == "original, all clips"].set_index("model")
    assert original.loc["first", "top1"] == pytest.approx(2 / 3) and original.loc["mean", "top1"] == 0
    assert (shapes[shapes["condition"] == "one frame"]["clips"] == 0).all()


def test_table_1_tries_every_frame(monkeypatch):
    monkeypatch.setattr(frame_order, "shipped_for_all", lambda: ["first"])
    monkeypatch.setattr(
        frame_order, "_worlds", lambda names: ((dataset, {"first": answers(0)}, world([0, 5, 0])) for dataset in ("shapes",))
    )
    table = TABLE1.run()
    still = table[table["condition"] == "one frame"].iloc[0]
    assert (still["clips"], still["draws"], still["top1"]) == (2, T, 1 / T)


def test_published_values_are_those_of_the_paper():
    text = Path(__file__).resolve().parents[2] / "shared" / "papers" / "temporal-shuffling.txt"
    if not text.is_file():
        pytest.skip("the paper's text is not here")
    paper = text.read_text()
    assert f"for dataset 3 (with no spatial cues) is {frame_order.FIGURE5['shapes-motion', 8]:.1%}" in paper
    heads = paper[paper.index("Model [30]\tSlowFast") :]
    assert heads.splitlines()[1].split()[1:] == [f"{value:.1%}" for value in frame_order.TABLE1.values()]
    assert list(frame_order.TABLE1) == ["I3D", "SlowFast", "ir-CSN", "X3D"] and "the 1900 videos" in paper


def test_the_shipped_models_show_the_finding(monkeypatch):
    """Where motion alone tells the class, order matters; where background tells it too, it does not."""
    monkeypatch.setattr(frame_order, "shipped_for_all", lambda: ["tsm"])
    monkeypatch.setattr(frame_order, "SPLIT", "test")
    monkeypatch.setattr(frame_order, "CHUNKS", (1, 8))
    monkeypatch.setattr(frame_order, "DRAWS", 2)
    top1 = FIG5.run().set_index(["dataset", "condition"])["top1"]
    assert (top1[:, "N=1"] >= 0.9).all()
    assert top1["shapes", "N=8"] > 0.9 and top1["shapes-motion", "N=8"] < 0.5


def test_shipped_for_all_means_all_three(monkeypatch):
    three = [("tsm", "tiny", dataset) for dataset in frame_order.DATASETS]
    monkeypatch.setattr(frame_order.zoo, "shipped", lambda: [*three, ("x3d", "tiny", "shapes")])
    assert frame_order.shipped_for_all() == ["tsm"]
    monkeypatch.setattr(frame_order.zoo, "shipped", lambda: three[:2])
    with pytest.raises(InputError, match="no model is shipped for shapes, shapes-object, shapes-motion"):
        frame_order.shipped_for_all()


def test_the_verb_prints_and_writes(worlds, tmp_path):
    worlds([0] * 8)
    result = CliRunner().invoke(app, ["paper", FIG5.name, "--out", str(tmp_path)])
    assert result.exit_code == 0 and "28.7" in result.stdout and "Hwang et al. 2024" in result.stdout
    table = pd.read_csv(tmp_path / "temporal-shuffling-fig5.csv")
    assert tuple(table.columns) == COLUMNS and len(table) == 24
    assert Image.open(tmp_path / "temporal-shuffling-fig5.png").size[0] > 800
    rows = json.loads(CliRunner().invoke(app, ["paper", TABLE1.name, "--json"]).stdout)
    assert rows[-1]["model"] == "X3D" and rows[-1]["published"] == 0.674 and rows[-1]["top1"] is None
    assert "Kinetics-400" in CliRunner().invoke(app, ["paper", TABLE1.name]).stdout


def test_the_plot_takes_rows_without_a_measurement():
    row = {"dataset": "shapes", "model": "tsm", "condition": "one frame", "top1": 1.0, "top1_low": 0.9, "top1_high": 0.999}
    table = pd.DataFrame([row, {"dataset": "Kinetics-400", "model": "I3D", "published": 0.691}], columns=list(COLUMNS))
    picture = Image.open(io.BytesIO(export.plot(TABLE1, table)))
    assert picture.format == "PNG" and len(set(picture.convert("L").tobytes())) > 10


def test_entries_are_listed_and_names_suggested(tmp_path):
    listed = CliRunner().invoke(app, ["paper"])
    assert listed.exit_code == 0 and all(name in listed.stdout for name in STUDIES)
    with pytest.raises(InputError, match="did you mean temporal-shuffling/fig5"):
        find_study("temporal-shuffling/fig")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export.export(TABLE1, pd.DataFrame(columns=list(COLUMNS)), tmp_path / "file")
