"""Attacked clips as pictures, from the command line down to pixels."""

import io
import subprocess
import sys
from html.parser import HTMLParser

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.core.registry import entries, find, resolve
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.grid import resolve_chain
from robustvideo.benchmark.evaluation.look import Look, cell_for, find_clip, take, work
from robustvideo.benchmark.evaluation.pictures import canvas, film, gallery, page, sheet

PGD = "pgd:eps=8/255,steps=3"


@pytest.fixture(scope="module")
def bench():
    return Bench()


def cell_of(attack=PGD, defense="none", threat=None):
    parts = resolve("dataset", "shapes"), "test", resolve("model", "tsm"), resolve("attack", attack), resolve_chain(defense)
    return cell_for(*parts, threat)


@pytest.fixture(scope="module")
def seen(bench):
    return take(cell_of(), bench, "0")


@pytest.fixture
def vbench(monkeypatch, capsys):
    """The program in this process: exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vbench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("defense", ["none", "shuffle:draws=1"])
def test_it_is_what_a_run_makes_and_judges(defense, bench, tmp_path):
    cells = evaluate("tsm", "shapes", PGD, defense, limit=2, store=tmp_path)
    run = cells[(cells["kind"] == "attack") & ((cells["defense"] == "none") == (defense == "none"))].iloc[-1]
    assert run["threat"] == ("white-box" if defense == "none" else "adaptive:eot=1")
    clip = pd.read_csv(tmp_path / "clips.csv").query(f"cell == '{run['cell']}'").iloc[1]
    one = take(cell_of(defense=defense), bench, clip["clip"])
    assert one.cell.full is (defense != "none")
    assert float(one.made.linf) == pytest.approx(clip["linf"], abs=1e-9) and float(one.made.l2) == pytest.approx(
        clip["l2"], abs=1e-5
    )
    assert (int(one.made.gradients), int(one.made.queries)) == (clip["gradients"], clip["queries"])
    assert one.classes.index(one.says(one.frames)[0]) == clip["pred"] or 0 < clip["correct"] < 1


def test_a_row_of_scores_is_the_clip_with_its_first_frames_swapped(seen, bench):
    model = bench.model(seen.cell)
    for row in (0, 3, seen.frames):
        mixed = seen.clean.clone()
        mixed[:, :row] = seen.adversarial[:, :row]
        torch.testing.assert_close(seen.scores[row], model(mixed[None])[0].softmax(dim=0).detach())
    assert seen.scores.shape == (seen.frames + 1, len(seen.classes))


def test_frame_norms_make_up_the_clip_s(seen):
    assert max(seen.frame_linf) == pytest.approx(float(seen.made.linf))
    assert sum(value**2 for value in seen.frame_l2) ** 0.5 == pytest.approx(float(seen.made.l2), rel=1e-4)


def test_random_defences_are_judged_with_the_same_draws_for_every_row(bench):
    one = take(cell_of("pgd:eps=0,steps=1", "shuffle:draws=1"), bench, "0")
    assert one.scores.max(dim=0).values.sub(one.scores.min(dim=0).values).max() < 1e-6, "no change, no difference between rows"
    assert one.remark == "The attack found nothing and left the clip as it was."


def painted(seen, frames):
    """A look at plain colours: the change is +0.1 red in frame 1 and nothing elsewhere."""
    clean = torch.full((3, frames, 8, 8), 0.25)
    adversarial = clean.clone()
    adversarial[0, 1] += 0.1
    scores = torch.full((frames + 1, 8), 0.125)
    return Look(seen.cell, seen.record, ("a $x^", "<b>", "c", "d", "e", "f", "g", "h"), clean, adversarial, scores, seen.made, {})


@pytest.mark.parametrize("frames", [2, 18])
def test_the_sheet_has_a_column_per_frame_and_three_rows(seen, frames):
    picture = Image.open(io.BytesIO(sheet.draw(painted(seen, frames)))).convert("RGB")
    columns, blocks = min(frames, 16), -(-frames // 16)
    assert picture.width == int((sheet.LABELS + columns * sheet.CELL + 2 * sheet.MARGIN) * canvas.DPI)

    def pixel(frame, row):
        block, column = divmod(frame, 16)
        left = sheet.MARGIN + sheet.LABELS + (column + 0.5) * sheet.CELL
        below = (blocks - 1 - block) * (3 * sheet.CELL + sheet.NOTE) + sheet.MARGIN + sheet.NOTE + (2.5 - row) * sheet.CELL
        return np.array(picture.getpixel((int(left * canvas.DPI), picture.height - int(below * canvas.DPI))))

    for frame in range(frames):
        changed = frame == 1
        assert np.abs(pixel(frame, 0) - 64).max() <= 1
        assert np.abs(pixel(frame, 1) - (64 + np.array([25.5, 0, 0]) * changed)).max() <= 1
        assert np.abs(pixel(frame, 2) - (127.5 + np.array([127.5, 0, 0]) * changed)).max() <= 1, (
            "0.1 x 5 is full red; grey is none"
        )


@pytest.mark.parametrize(("largest", "factor"), [(4 / 255, 31), (8 / 255, 15), (0.1, 5), (0.5, 1), (0.9, 0.5), (0.0, 1)])
def test_the_magnification_clips_nothing(largest, factor):
    assert sheet.magnification(torch.tensor([-largest, 0.0])) == factor


def test_films_have_a_frame_per_frame(seen):
    animated = Image.open(io.BytesIO(film.gif(seen)))
    assert (animated.n_frames, animated.info["loop"], animated.info["duration"]) == (8, 0, 250)
    with av.open(io.BytesIO(film.mp4(seen))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    drawn = film.pictures(seen)
    assert len(frames) == 8 and frames[0].shape == drawn[0].shape == (256 + film.HEAD, 780, 3)
    assert np.abs(frames[3].astype(float) - drawn[3]).mean() < 12, "the third frame stands at its place"
    zoom = 4
    assert (
        drawn[3][film.HEAD + 2 :: zoom, 2 : 64 * zoom : zoom] == (255 * seen.clean[:, 3]).round().byte().permute(1, 2, 0).numpy()
    ).all()


def test_a_still_clip_keeps_its_frames(seen):
    assert Image.open(io.BytesIO(film.gif(painted(seen, 5)))).n_frames == 5


def test_clips_are_found_by_number_and_by_id(bench):
    records = bench.records(cell_of())
    assert find_clip(records, "5") is records[5] and find_clip(records, records[7].id) is records[7]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_gallery_goes_on_and_escapes(bench, monkeypatch):
    chosen = {"pgd": find("attack", "pgd"), "<script>x": find("defense", "shuffle")}
    monkeypatch.setattr(gallery, "entries", lambda kind: chosen)
    monkeypatch.setattr(gallery, "BRIEF", {"steps": 2})
    started = []
    shown = list(gallery.gallery(cell_of_component, bench, "0", lambda *told: started.append(told)))
    assert [one.look is None for one in shown] == [True, False] and started == [("2/2 pgd", work(shown[1].look.cell, bench))]
    assert shown[1].changed == ("steps = 2 instead of 50",) and "steps=2," in shown[1].spec
    made = page.render([page.Shown(chosen["<script>x"], "", (), None, "<img src=x> & more"), *shown], "model <i>")
    read = Tags(made)
    assert not {tag for tag, _ in read.tags} & {"script", "i", "link", "iframe"}
    assert "It failed: <img src=x> & more" in read.text and "'<script>x' is unknown" in read.text
    assert all(attributes["src"].startswith("data:image/png;base64,") for tag, attributes in read.tags if tag == "img")
    assert "3 attacks, 2 of them failed" in read.text and "x <- P(x + step * sign(grad loss))" in read.text
    assert "steps = 2 instead of 50" in read.text and "fraction of the pixel range" in read.text


def cell_of_component(attack):
    return cell_for(resolve("dataset", "shapes"), "test", resolve("model", "tsm"), attack)


def test_brief_settings_only_cut(monkeypatch):
    monkeypatch.setattr(gallery, "BRIEF", {"steps": 10**9, "restarts": 1})
    assert all(not dict(gallery._changes(entry)).get("steps") for entry in entries("attack").values())


def test_the_program_writes_sheet_and_films(vbench, tmp_path):
    places = [tmp_path / "new" / f"a.{ending}" for ending in ("png", "gif", "mp4")]
    code, out, err = vbench("look", "--attack", PGD, "--out", places[0], "--gif", places[1], "--mp4", places[2], "--clip", "2")
    assert code == 0 and err == "" and out.splitlines() == list(map(str, places))
    assert all(place.stat().st_size > 1000 for place in places)


def test_the_program_writes_the_gallery(vbench, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "entries", lambda kind: {"fgsm": find("attack", "fgsm")})
    code, out, _ = vbench("look", "--all-attacks", "--out", tmp_path / "page", "--defense", "shuffle:draws=1")
    assert code == 0 and out.strip() == str(tmp_path / "page" / "index.html")
    assert "behind shuffle" in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "attack: name one with --attack, or see all with --all-attacks"),
        (["--attack", "pgd", "--all-attacks"], "not several"),
        (["--attack", "pdg"], "did you mean pgd"),
        (["--attack", "pgd:eps=8"], "did you mean 8/255"),
        (["--attack", "pgd", "--clip", "64"], "clip: there is no clip '64'; give a number from 0 to 63"),
        (["--attack", "pgd", "--clip", "-1"], "clip: there is no clip '-1'"),
        (["--all-attacks", "--clip", "nobody"], "clip: there is no clip 'nobody'"),
        (["--attack", "pgd", "--gif", "{file}/a.gif"], "gif: "),
        (["--attack", "pgd", "--gif", "a.mp4"], "gif: a.mp4 does not end in .gif"),
        (["--attack", "pgd", "--out", "{folder}"], "out: "),
        (["--all-attacks", "--mp4", "a.mp4"], "mp4: films are made of one attack"),
        (["--attack", "pgd", "--threat", "adaptive"], "threat: adaptive says how an attacker meets a defence"),
        (["--attack", "pgd", "--threat", "white-box", "--defense", "shuffle"], "threat: white-box is for models without defence"),
        (["--attack", "pgd", "--threat", "transfer"], "threat: transfer lacks the model"),
        (["--attack", "pgd", "--model", "tms"], "did you mean tsm"),
        (["--attack", "pgd", "--split", "night"], "night"),
    ],
)
def test_bad_input_is_one_line(words, message, vbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    words = [word.format(file=tmp_path / "file", folder=tmp_path / "folder.png") for word in words]
    code, out, err = vbench("look", *words)
    assert (code, out) == (2, "") and message in err and err.startswith("vbench: ") and err.count("\n") == 1


def test_a_clip_that_is_wrong_already_is_said_to_be(seen, bench):
    batch = take(cell_of(), bench, "1")
    wrong = Look(seen.cell, seen.record, seen.classes, seen.clean, seen.clean, 1 - seen.scores, seen.made, {})
    assert "wrong about the clean clip" in wrong.remark and batch.remark == ""


def test_docstrings_are_wrapped_by_the_console(vbench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = vbench("show", "pgd")
    about = out.partition("\nFile:")[0].split("\n\n")
    for paragraph in about[1:]:
        lines = paragraph.strip("\n").split("\n")
        for line, following in zip(lines, lines[1:], strict=False):
            assert len(line.rstrip()) + 1 + len(following.split()[0]) > 80, f"{line!r} ends early"
    assert any(paragraph.startswith("Formula: ") for paragraph in about)
    assert any(paragraph.startswith("Source: ") for paragraph in about)


def test_the_verb_is_light_until_it_runs():
    code = "import sys, robustvideo.benchmark.cli.main; sys.exit(sorted({'torch', 'matplotlib', 'PIL', 'av'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.strip() == "[]"
