"""Temporal shuffling against a literal reading of Algorithm 1 of the paper."""

import random
from collections import Counter

import pytest
import torch
from robustvideo.benchmark import evaluate
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.evaluation.threat import Pipeline
from robustvideo.defenses.shuffle import PRESETS, Shuffle, candidates, draw_order, reorder
from robustvideo.defenses.smoothing import Smoothing


def algorithm_1(h1: int, h2: int, length: int, rnd: random.Random) -> list[int]:
    """Lines 1 to 12 of Algorithm 1, 1-based as printed; a position beyond T is not written."""
    shuffled = {}
    t = 1
    while t <= length:
        low, high = max(t - h1, 1), min(t + h1, length - h2 + 1)
        while True:
            source = rnd.randint(low, high)
            if source != t:
                break
        for j in range(h2):
            if t + j <= length:
                shuffled[t + j] = source + j
        t += h2
    return [shuffled[position] for position in range(1, length + 1)]


@pytest.mark.parametrize(
    ("h1", "h2", "length"), [(3, 4, 8), (2, 2, 8), (16, 2, 8), (16, 1, 6), (3, 4, 10), (3, 4, 16), (2, 3, 7)]
)
def test_orders_are_those_of_the_paper(h1, h2, length):
    """Every order that the paper can draw is drawn, no other, and each about as often."""
    rnd = random.Random(0)
    theirs = Counter(tuple(algorithm_1(h1, h2, length, rnd)) for _ in range(6000))
    rng = ClipRandom.for_clips([str(number) for number in range(6000)], 0, "test")
    ours = Counter(tuple(order) for order in (draw_order(length, h1, h2, rng) + 1).tolist())
    first = Counter(order[0] for order in ours.elements()), Counter(order[0] for order in theirs.elements())
    for source in set(first[0]) | set(first[1]):
        assert abs(first[0][source] - first[1][source]) < 350, "the first block is not drawn uniformly"
    if len(theirs) < 300:  # few enough that 6,000 draws see all of them
        assert set(ours) == set(theirs)
    for order in ours:
        for t in range(0, length, h2):
            block = order[t : t + h2]
            assert block == tuple(range(block[0], block[0] + len(block)))
            assert 1 <= block[0] != t + 1 and abs(block[0] - t - 1) <= h1 and block[0] + h2 - 1 <= length


@pytest.mark.parametrize(("h1", "h2", "length"), [(3, 4, 4), (3, 4, 3), (16, 2, 2), (16, 1, 1)])
def test_where_nothing_can_move_the_clip_stays(h1, h2, length):
    """Presets on clips that are too short for them."""
    order = draw_order(length, h1, h2, ClipRandom.for_clips(["a", "b"], 0, "test"))
    assert order.tolist() == [list(range(length))] * 2


def test_a_last_block_without_candidates_stays():
    # T = 10, h2 = 4, h1 = 1: the block at t = 9 may start from max(8, 1) to min(10, 7), which is empty.
    assert len(candidates(8, 10, 1, 4)) == 0
    order = draw_order(10, 1, 4, ClipRandom.for_clips(["a"], 0, "test"))
    assert order[0, 8:].tolist() == [8, 9]


def test_presets_and_overrides(clips, streams):
    assert PRESETS == {"i3d": (3, 4), "slowfast": (2, 2), "ircsn": (16, 2), "x3d": (16, 1)}
    seen = []

    def watch(x, rng):
        seen.append(x)
        return x.mean(dim=(1, 3, 4))

    long = clips.repeat(1, 1, 4, 1, 1)
    for length, options in {
        clips: [{}, {"preset": "x3d"}, {"h1": 16, "h2": 1}],
        long: [{}, {"preset": "i3d"}, {"h1": 3, "h2": 4}],
    }.items():
        seen.clear()
        for chosen in options:
            Shuffle(**chosen).protect(watch)(length, streams(5))
        assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_the_gradient_is_that_of_a_gather(clips, streams):
    order = draw_order(8, 3, 4, streams(5))
    leaf = clips.clone().requires_grad_()
    weight = torch.rand_like(clips)
    (grad,) = torch.autograd.grad((reorder(leaf, order) * weight).sum(), leaf)
    index = order[:, None, :, None, None].expand_as(clips)
    assert torch.equal(reorder(clips, order), clips.gather(2, index))
    torch.testing.assert_close(grad, torch.zeros_like(clips).scatter_add(2, index, weight))


def test_frames_are_copied_whole(clips, streams):
    out = []
    Shuffle(preset="i3d").protect(lambda x, rng: out.append(x) or x.mean(dim=(1, 3, 4)))(clips, streams(5))
    order = draw_order(8, 3, 4, streams(5))
    for number in range(5):
        assert torch.equal(out[0][number], clips[number][:, order[number]])


def test_a_static_perturbation_passes_unharmed(clips, streams):
    """shuffle(x + p) = shuffle(x) + p for one p on every frame: what makes static attacks immune to reordering."""
    p = torch.rand(1, 3, 1, 12, 12) * 0.1
    out = []
    protected = Shuffle().protect(lambda x, rng: out.append(x) or x.mean(dim=(1, 3, 4)))
    protected(clips, streams(5))
    protected(clips + p, streams(5))
    torch.testing.assert_close(out[1], out[0] + p)


@pytest.mark.parametrize(("text", "problem"), [("h1=0", "h1: 0 is out of bounds"), ("h2=0", "h2: 0 is out of bounds")])
def test_what_is_no_shuffle_is_refused(text, problem):
    with pytest.raises(InputError, match=f"defense shuffle: {problem}; it must be at least 1"):
        resolve("defense", f"shuffle:{text}")


@pytest.mark.parametrize("h2", [8, 9])
def test_blocks_as_long_as_the_clip_are_refused_before_anything_is_computed(h2, net, clips, labels, tmp_path):
    with pytest.raises(InputError, match=f"shuffle: h2: {h2} frames .* the 8 of the model's clips.*from 1 to 7") as told:
        evaluate(net, (clips, labels), "fgsm", f"shuffle:h1=3,h2={h2}", store=tmp_path)
    assert "\n" not in str(told.value) and not list(tmp_path.rglob("*.json"))


def test_the_longest_block_that_can_move_is_let_through(net, clips, labels):
    assert (evaluate(net, (clips, labels), (), "shuffle:h1=3,h2=7")["status"] == "ok").all()


def test_shuffled_clips_can_be_smoothed(net, clips, labels, streams):
    """The paper's shuffle+RS: a draw is one shuffle with one noise, and as many are averaged as the greedier link asks for."""
    seen = []
    chain = [Shuffle(preset="i3d", draws=3), Smoothing(0.1, draws=5)]
    pipeline = Pipeline.build(lambda x: seen.append(x) or net(x), chain)
    assert pipeline.draws == 5 and pipeline.stochastic and pipeline.gradient and not pipeline.surrogate
    decided = pipeline.decide(clips, streams(5))
    assert len(seen) == 5 and decided.shape == (5, 6)
    random = streams(5)
    order = draw_order(8, 3, 4, random)
    torch.testing.assert_close(seen[0], reorder(clips, order) + 0.1 * random.normal(clips.shape[1:]))
    rows = evaluate(net, (clips, labels), "pgd:steps=2", "shuffle:draws=3+smoothing:sigma=0.1,draws=5")
    behind = rows[rows["defense"] != "none"]
    assert behind["threat"].tolist() == ["none", "oblivious", "adaptive:eot=1"] and (behind["status"] == "ok").all()
