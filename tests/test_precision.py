"""Other precisions than float32, and passes that do not fit."""

import json

import pytest
import torch
from robustvideo.benchmark import InputSpec, Model, evaluate
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.interfaces import Batch, ClipRecord
from robustvideo.benchmark.core.registry import ready
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.evaluation.engine.plan import grid_of
from robustvideo.benchmark.evaluation.precision import full_float32, in_precision
from robustvideo.benchmark.evaluation.probes import probe
from robustvideo.benchmark.evaluation.request import Request
from robustvideo.benchmark.evaluation.store import Store
from robustvideo.benchmark.evaluation.threat import Pipeline
from robustvideo.leaderboard.gate.diff import compare
from torch import nn

PGD = "pgd:eps=8/255,steps=2"
TINY = "tsm", "tam", "gst", "gst-large", "tpn", "i3d", "slowfast", "ircsn", "x3d", "r2plus1d", "resnext3d", "timesformer"


def test_half_precision_moves_scores_a_little_and_gives_float32_back(net, clips, streams):
    plain = Pipeline.build(net, [])
    half = in_precision(plain, "bf16", torch.device("cpu"))
    exact, rounded = plain.decide(clips, streams(5)), half.decide(clips, streams(5))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.1, rtol=0.05)
    leaf = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(half.scorer(leaf, streams(5)).sum(), leaf)
    (true,) = torch.autograd.grad(plain.scorer(leaf, streams(5)).sum(), leaf)
    assert grad.dtype == torch.float32 and not torch.equal(grad, true)
    assert torch.cosine_similarity(grad.flatten(), true.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("name", TINY)
def test_every_family_has_a_gradient_in_half_precision(name, streams):
    (cell,) = grid_of(Request(model=[name], device="cpu")).cells()
    model = Bench().model(cell)
    spec = model.input
    clips = torch.rand(2, 3, spec.frames, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    plain = Pipeline.build(model, [])
    grads = []
    for one in (plain, in_precision(plain, "bf16", torch.device("cpu"))):
        leaf = clips.clone().requires_grad_()
        grads.append(torch.autograd.grad(one.scorer(leaf, streams(2)).sum(), leaf)[0].flatten(1))
    assert grads[1].dtype == torch.float32 and not torch.equal(*grads)
    assert torch.cosine_similarity(*grads).min() > 0.9


def test_the_network_computes_in_half_precision(clips, streams):
    kinds = []

    class Telling(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 6)

        def forward(self, given):
            out = self.head(given.mean(dim=(2, 3, 4)))
            kinds.append(out.dtype)
            return out

    model = Model(Telling(), InputSpec(frames=8, size=12, short_side=12), 6).eval().requires_grad_(False)
    for name in ("float32", "bf16"):
        in_precision(Pipeline.build(model, []), name, torch.device("cpu")).decide(clips, streams(5))
    assert kinds == [torch.float32, torch.bfloat16]


def test_precision_is_part_of_the_identity_and_of_the_table(net, clips, labels, tmp_path):
    rows = {name: evaluate(net, (clips, labels), PGD, "shuffle", store=tmp_path, precision=name) for name in ("float32", "bf16")}
    assert not set(rows["float32"]["cell"]) & set(rows["bf16"]["cell"])
    assert set(rows["bf16"]["dtype"]) == {"bf16"} and (rows["bf16"]["status"] == "ok").all()
    assert (rows["bf16"]["linf"] <= 8 / 255 + 1e-6).all(), "perturbations stay float32 and inside the budget"
    stored = [cell["spec"] for cell in Store(tmp_path).cells()]
    pairs = {json.dumps(spec | {"dtype": ""}, sort_keys=True) for spec in stored}
    assert len(stored) == 2 * len(pairs), "and nothing else of the identity differs"


def test_a_diff_compares_two_precisions(net, clips, labels, tmp_path):
    for name in ("float32", "bf16"):
        evaluate(net, (clips, labels), PGD, store=tmp_path / name, precision=name)
    found = compare(tmp_path / "float32", tmp_path / "bf16")
    assert len(found.changes) == 2 and not found.apart


def test_a_probe_is_made_in_float32(net, clips, labels):
    """Half precision puts scores on a grid and drowns a difference of 1e-4: neither says anything of the defence."""
    records = [ClipRecord(f"clip{number}", None, int(label), "") for number, label in enumerate(labels)]
    data = ready("dataset", "made", type("Made", (), {"classes": tuple("abcdef")})())
    cell = Cell(data, "test", None, ready("model", "mock", net))
    found = [probe(cell, Bench(precision=name), Batch(records[:4], clips[:4])) for name in ("float32", "bf16")]
    assert found[0] == found[1] and found[0]["measured"]


def test_tf32_is_one_of_cuda_devices():
    with pytest.raises(InputError, match="precision: tf32 is one of CUDA devices, and this is cpu; use float32 or bf16"):
        Bench(precision="tf32")
    with pytest.raises(InputError, match="did you mean bf16"):
        Bench(precision="bf61")
    with pytest.raises(InputError, match="did you mean float32"):
        Request(model=["tsm"], precision="float")
    assert Request(model=["tsm"]).precision == Bench().precision == "float32"


def test_full_float32_leaves_the_settings_as_they_were():
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in settings]
    try:
        settings[0].allow_tf32, settings[1].allow_tf32 = True, False
        with full_float32():
            assert not any(one.allow_tf32 for one in settings)
        assert [one.allow_tf32 for one in settings] == [True, False]
    finally:
        settings[0].allow_tf32, settings[1].allow_tf32 = before
