"""The defences that are shipped are worth what their cards say, clean and attacked, through the pipeline that users run."""

import json
from collections import defaultdict

import pytest
from robustvideo.benchmark.evaluation.api import evaluate
from robustvideo.benchmark.models.armoury import FOLDER

CARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
OWNERS = defaultdict(list)
for card in CARDS.values():
    OWNERS[card["model"], card["dataset"]].append(card)


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner[0].partition(":")[0])
def test_clean_clips(owner):
    cards = {card["defense"].replace("draws=32", "draws=2"): card for card in OWNERS[owner]}
    rows = evaluate(*owner, defenses=list(cards), limit=16).set_index("defense")
    assert set(cards) < set(rows.index)
    for spec, card in cards.items():
        assert rows.loc[spec, "status"] == "ok" and rows.loc[spec, "top1"] >= card["test_accuracy"] - 1 / 16, spec


@pytest.mark.parametrize("defense", ["at", "ape-gan"])
def test_attacked_through_the_whole_defence(defense):
    """By the trial that the training was watched by, whose starts differ here: within what 32 clips allow."""
    card = CARDS[f"{defense}.tsm-tiny.shapes"]
    rows = evaluate(card["model"], card["dataset"], card["trial"], card["defense"], threats="adaptive", limit=32)
    (found,) = rows[rows["threat"].str.startswith("adaptive")]["top1"]
    (undefended,) = rows[rows["threat"] == "white-box"]["top1"]
    assert undefended == 0 and found == pytest.approx(card["test_robust"], abs=0.15)
