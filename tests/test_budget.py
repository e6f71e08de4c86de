"""Norm balls: projections against a general-purpose solver and against the condition that only nearest points meet."""

import numpy as np
import pytest
import torch
from robustvideo.benchmark.core.budget import Ball, frame_norms, l1_norm, l2_norm, linf_norm, norm_of, onto_simplex
from robustvideo.benchmark.core.rng import ClipRandom
from scipy import optimize

NORMS = ["linf", "l2", "l1", "l21"]
EPS = {"linf": 0.03, "l2": 0.1, "l1": 0.3, "l21": 0.15}
"""Small enough that no pixel of a grey clip meets the pixel range, large enough that far points lie outside."""

DUAL = {"linf": l1_norm, "l2": l2_norm, "l1": linf_norm, "l21": lambda delta: frame_norms(delta).amax(dim=1)}


def problem(shape=(4, 2, 3, 2, 2), seed=0, masked=False):
    """Grey clips, points around them, and a mask that lets half of the positions of some frames change."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.full(shape, 0.5)
    delta = 0.1 * torch.randn(shape, generator=generator)
    mask = None
    if masked:
        mask = (torch.rand(shape[0], 1, *shape[2:], generator=generator) > 0.5).float()
        mask[:, :, 0] = 0
    return clean, delta, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_projection_is_a_solvers_nearest_point(norm, masked):
    """SLSQP, in the positive and negative parts of the change, where every one of these balls is smooth or linear."""
    clean, delta, mask = problem(masked=masked)
    eps = EPS[norm]
    found = Ball(clean, norm, eps, mask).project((clean + delta).clone()) - clean
    for clip in range(len(clean)):
        free = np.ones(delta[clip].numel(), bool) if mask is None else mask[clip].expand_as(delta[clip]).numpy().ravel() > 0
        aim = delta[clip].double().numpy().ravel()[free]
        count = len(aim)
        slack = {
            "linf": lambda v: eps - v,
            "l1": lambda v: np.array([eps - v.sum()]),
            "l2": lambda v, count=count: np.array([eps**2 - ((v[:count] - v[count:]) ** 2).sum()]),
        }[norm]
        solved = optimize.minimize(
            lambda v, aim=aim, count=count: ((v[:count] - v[count:] - aim) ** 2).sum(),
            np.zeros(2 * count),
            method="SLSQP",
            bounds=[(0, None)] * (2 * count),
            constraints={"type": "ineq", "fun": slack},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        theirs = np.zeros(len(free))
        theirs[free] = solved.x[:count] - solved.x[count:]
        np.testing.assert_allclose(found[clip].numpy().ravel(), theirs, atol=2e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", NORMS)
def test_no_point_of_the_ball_is_nearer(norm, seed, masked):
    """z is the nearest point of a ball to y just where (y - z) . z is the most that (y - z) . w reaches in the ball."""
    clean, delta, mask = problem((4, 3, 8, 6, 6), seed, masked)
    eps = EPS[norm]
    clean, delta = clean.double(), delta.double()
    ball = Ball(clean, norm, eps, mask)
    near = ball.project(clean + delta) - clean
    assert torch.equal(near, ball.restrict(near)), "a pixel changed outside the mask"
    assert (norm_of(norm, near) <= eps * (1 + 1e-9)).all()
    rest = ball.restrict(delta) - near
    reached = (rest * near).flatten(1).sum(dim=1)
    torch.testing.assert_close(reached, eps * DUAL[norm](rest), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_keeps_ball_and_pixel_range_at_once(norm):
    clean = torch.rand(4, 3, 8, 6, 6, generator=torch.Generator().manual_seed(3))
    clean[0], clean[1] = clean[0].round(), 0.0
    far = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))
    ball = Ball(clean, norm, 4 * EPS[norm])
    made = ball.project(far.clone())
    assert made.min() >= 0 and made.max() <= 1 and (made != clean).any()
    assert (norm_of(norm, (made - clean).double()) <= 4 * EPS[norm] + 1e-6).all()
    torch.testing.assert_close(ball.project(made.clone()), made, atol=1e-6, rtol=0)
    assert torch.equal(Ball(clean, norm, 0.0).project(far.clone()), clean)


def test_l1_is_nearer_than_rescaling():
    """ART brings a change into an L1 ball by scaling it, which is not the nearest point."""
    clean, delta, _ = problem((4, 3, 8, 6, 6))
    near = Ball(clean, "l1", 0.3).project(clean + delta) - clean
    scaled = delta * (0.3 / l1_norm(delta))[:, None, None, None, None]
    assert (l2_norm(delta - near) < l2_norm(delta - scaled) - 1e-3).all()


@pytest.mark.parametrize("radius", [0.0, 1e-3, 1.0, 50.0, 1e4])
def test_simplex_is_the_root_of_its_threshold(radius):
    """The shift at which the sum meets the radius, by bisection; ties, zeros and a single entry included."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.rand(500, generator=generator), torch.rand(500, generator=generator) ** 8]
    rows += [torch.full((500,), 0.25), torch.zeros(500), torch.eye(500)[3], torch.rand(500, generator=generator).mul(4).round()]
    sizes = torch.stack(rows).double()
    found = onto_simplex(sizes, radius)
    assert (found.sum(dim=1) <= radius * (1 + 1e-12)).all()
    huge = onto_simplex(1e9 * sizes.float(), radius)  # where neighbouring numbers lie further apart than 1
    assert (huge.sum(dim=1) <= radius * (1 + 1e-6)).all()
    for row, ours in zip(sizes.numpy(), found.numpy(), strict=True):
        excess = lambda shift, row=row: np.maximum(row - shift, 0).sum() - radius  # noqa: E731
        shift = 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, 0, row.max(), xtol=1e-15)
        np.testing.assert_allclose(ours, np.maximum(row - shift, 0), atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "l1", "l21"])
def test_the_budget_of_a_full_size_clip_is_kept_to_the_sixth_digit(norm):
    """Plain float32 norms over 600 000 numbers are wrong by more than that."""
    delta = 0.01 * torch.randn(2, 3, 16, 112, 112, generator=torch.Generator().manual_seed(5))
    delta[1] *= 10
    torch.testing.assert_close(norm_of(norm, delta).double(), norm_of(norm, delta.double()), rtol=1e-6, atol=0)
    made = Ball(torch.zeros_like(delta), norm, 2.0).project(delta.abs())
    exact = {
        "l1": lambda x: x.abs().flatten(1).sum(1),
        "l2": lambda x: x.square().flatten(1).sum(1).sqrt(),
        "l21": lambda x: x.square().sum(dim=(1, 3, 4)).sqrt().sum(1),
    }[norm](made.double())
    assert (exact <= 2.0 * (1 + 1e-6)).all() and (exact >= 2.0 * (1 - 1e-4)).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_some_balls_are_the_same_as_all_of_them(norm, masked):
    clean, delta, mask = problem(masked=masked)
    clean += torch.linspace(-0.2, 0.2, 4).view(4, 1, 1, 1, 1)
    ball = Ball(clean, norm, EPS[norm], mask)
    rows = torch.tensor([2, 0])
    part = ball[rows].project((clean + delta)[rows])
    assert torch.equal(part, ball.project(clean + delta)[rows])
    streams = [ClipRandom.for_clips("abcd", 0, "test") for _ in range(2)]
    start = ball.random(streams[0])
    assert torch.equal(ball[rows].random(streams[1][rows]), start[rows])
    assert (norm_of(norm, start - clean) <= EPS[norm] + 1e-6).all() and (start != clean).any()
    assert torch.equal(ball.restrict(start - clean), start - clean)


@pytest.mark.parametrize("eps", [20.0, 100.0])
def test_equal_changes_do_not_round_out_of_the_l1_ball_together(eps):
    """Every pixel is a multiple of 2^-24, so that equal changes of all of them are rounded alike."""
    clean = 0.5 + torch.randint(0, 2**22, (3, 3, 8, 64, 64), generator=torch.Generator().manual_seed(6)) * 2.0**-24
    signs = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7)).sign()
    worst = -1.0
    for step in (1.1e-3, 1.3e-3, 2e-3, 3.7e-3):
        made = Ball(clean, "l1", eps).project(clean + step * signs)
        worst = max(worst, float((made - clean).double().abs().flatten(1).sum(dim=1).max() / eps - 1))
    assert -1e-3 < worst <= 1e-6
