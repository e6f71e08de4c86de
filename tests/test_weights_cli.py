"""`vbench weights` and the cards in `vbench show`, as a user runs them."""

import json
import subprocess
import sys

import pytest
from conftest_published import toy_world
from robustvideo.benchmark.cli.main import main
from robustvideo.benchmark.models.published import checkpoints


@pytest.fixture
def vbench(capsys, monkeypatch):
    """Runs the program: exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vbench", *words])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        return end.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def toys(tmp_path, monkeypatch):
    with toy_world(tmp_path, monkeypatch) as site:
        yield site


def test_list_shows_every_name_and_can_be_narrowed(vbench):
    code, out, err = vbench("weights", "list")
    assert code == 0 and err == ""
    assert all(one.name in out for one in checkpoints() if len(one.name) < 16)
    _, out, _ = vbench("weights", "list", "--model", "tsm", "--dataset", "ssv2")
    lines = [line.split() for line in out.splitlines()[1:] if line.startswith("tsm")]
    assert [line[1] for line in lines] == [one.name for one in checkpoints("tsm") if one.dataset == "ssv2"]
    line = next(line for line in lines if line[1] == "mit-ssv2-16f")
    assert line[2:5] == ["r50", "ssv2", "16"] and line[-3:] == ["MIT", "no", "no"]


def test_list_as_json_holds_all_that_is_known(vbench):
    _, out, _ = vbench("weights", "list", "--json", "--model", "timesformer")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["fb-ssv2"]["input"]["channels"] == "BGR" and rows["fb-ssv2"]["frames"] == 8
    assert rows["fb-k400"]["licence"] == "CC BY-NC 4.0" and rows["fb-k400"]["path"] == ""


def test_list_of_nothing(vbench):
    assert vbench("weights", "list", "--model", "torchvision")[:2] == (0, "no published checkpoint is known\n")
    assert vbench("weights", "list", "--json", "--dataset", "folder")[:2] == (0, "[]\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "--model", "tms"), "model: 'tms' is unknown; did you mean tsm"),
        (("list", "--dataset", "ssv3"), "dataset: 'ssv3' is unknown; did you mean ssv"),
        (("download", "checked", "--model", "tms"), "model: 'tms' is unknown; did you mean tsm"),
        (("download", "cheked", "--model", "tsm"), "no published checkpoint is named 'cheked'; did you mean checked"),
        (("download", "by-hand", "--model", "tsm"), "must be downloaded by hand"),
        (("download", "wrong", "--model", "tsm"), "is not the file that was published"),
    ],
)
def test_bad_input_is_one_line(vbench, toys, words, message):
    code, out, err = vbench("weights", *words)
    assert code == 2 and out == ""
    assert message in err.splitlines()[-1] and "Traceback" not in err


def test_download_prints_where_the_file_lies(vbench, toys):
    assert vbench("weights", "list")[1].count("by hand") == 1
    code, out, err = vbench("weights", "download", "checked", "--model", "tsm", "--no-progress")
    assert code == 0 and err.startswith("downloading checked of tsm, licence toy licence, ")
    with open(out.strip(), "rb") as file:
        assert file.read() == toys.content
    _, listed, _ = vbench("weights", "list")
    assert next(line for line in listed.splitlines() if " checked " in line).split()[-1] == "yes"
    assert vbench("weights", "download", "checked", "--model", "tsm") == (0, out, "")


def test_run_takes_a_name_and_downloads_before_it_starts(vbench, toys, tmp_path):
    code, _, err = vbench("run", "--model", "tsm", "--weights", "checked", "--store", str(tmp_path / "store"))
    assert code == 2 and "checkpoint checked knows the classes of hmdb51, the data set is shapes" in err
    assert toys.asked == [] and not (tmp_path / "store").exists()


def test_show_prints_the_card(vbench):
    code, out, _ = vbench("show", "tsm")
    assert code == 0 and "Temporal Shift Module for Efficient Video Understanding, ICCV 2019" in out
    lines = out.splitlines()
    row = next(line for line in lines if line.split()[:1] == ["r50"] and "224" in line)
    for text in ("8", "uniform", "short side 256, antialias", "0.485 0.456 0.406", "24,327,632", "layer4.2"):
        assert text in row
    assert any(line.startswith("mit-ssv2-8f: https://hanlab18.mit.edu/") for line in lines)
    _, out, _ = vbench("show", "slowfast")
    assert "dense every 2 at 30 fps" in out
    _, out, _ = vbench("show", "r2plus1d")
    assert "128 x 171, stretch" in out


def test_show_of_what_has_no_card_is_as_before(vbench):
    assert "Paper:" not in vbench("show", "torchvision")[1] and "Paper:" not in vbench("show", "pgd")[1]


@pytest.mark.parametrize("words", [["weights", "list"], ["show", "tsm"], ["weights", "--help"]])
def test_cards_are_read_without_torch(words):
    code = f"""
import sys
sys.argv = ["vbench", *{words!r}]
from robustvideo.benchmark.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "torchvision", "pandas", "av", "urllib.request"}} & set(sys.modules)
assert not heavy, heavy
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
