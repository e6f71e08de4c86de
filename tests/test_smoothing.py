"""Randomised smoothing against its definition."""

import pytest
import torch
from robustvideo.benchmark.core.errors import InputError
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.evaluation.threat import Pipeline
from robustvideo.defenses.smoothing import Smoothing
from scipy import stats


def seen_by(defense, clips, rng):
    out = []
    defense.protect(lambda x, rng: out.append(x) or x.mean(dim=(1, 3, 4)))(clips, rng)
    return out[0]


@pytest.mark.parametrize("sigma", [0.12, 1.0])
def test_noise_is_normal_and_never_clipped(sigma, streams):
    clips = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1, 1).expand(3, 3, 5, 19, 23).contiguous()
    noise = (seen_by(Smoothing(sigma), clips, streams(3)) - clips).double() / sigma
    for one in noise:  # the clips at the ends of the range too: nothing is cut off there
        assert stats.kstest(one.flatten().numpy(), "norm").pvalue > 0.01
    frames = noise.transpose(1, 2).flatten(2).flatten(0, 1)
    assert (torch.corrcoef(frames) - torch.eye(15)).abs().max() < 0.12, "frames or clips share their noise"


def test_the_noise_is_scaled_by_sigma_alone(clips, streams):
    small, large = (seen_by(Smoothing(sigma), clips, streams(5)) - clips for sigma in (0.1, 0.4))
    torch.testing.assert_close(4 * small, large, atol=1e-6, rtol=0)


def test_the_gradient_passes_as_through_a_sum(clips, net, streams):
    leaf, noisy = clips.clone().requires_grad_(), seen_by(Smoothing(), clips, streams(5)).requires_grad_()
    (found,) = torch.autograd.grad(Smoothing().protect(lambda x, rng: net(x))(leaf, streams(5)).sum(), leaf)
    (wanted,) = torch.autograd.grad(net(noisy).sum(), noisy)
    assert torch.equal(found, wanted)


def test_the_deployed_mean_of_a_linear_score_is_that_without_noise(streams):
    """Scores p = sigmoid(w x): their mean over normal noise is close to the probit formula, MacKay 1992."""
    clips, weight = torch.full((2, 3, 2, 5, 5), 0.5), torch.linspace(-0.3, 0.5, 150).view(1, 3, 2, 5, 5)
    weight = torch.cat([weight, -0.5 * weight])

    def score(x, rng=None):
        logit = (x * weight[: len(x)]).flatten(1).sum(dim=1, keepdim=True)
        return torch.cat([logit, torch.zeros_like(logit)], dim=1)

    pipeline = Pipeline.build(score, [Smoothing(0.5, draws=4000)])
    found = pipeline.decide(clips, streams(2)).softmax(dim=1)[:, 0]
    logit, spread = score(clips)[:, 0].double(), 0.5 * weight.flatten(1).norm(dim=1).double()
    for number in range(2):
        exact = stats.norm(logit[number].item(), spread[number].item()).expect(lambda z: 1 / (1 + torch.tensor(-z).exp().item()))
        assert abs(found[number].item() - exact) < 0.03


@pytest.mark.parametrize("sigma", ["0", "-0.25", "nan", "inf", "much"])
def test_what_is_no_noise_is_refused(sigma):
    with pytest.raises(InputError, match="defense smoothing: sigma: .*"):
        resolve("defense", f"smoothing:sigma={sigma}")


def test_sigma_reads_as_it_is_written():
    assert resolve("defense", "smoothing:sigma=0.12").text == "smoothing:sigma=0.12,draws=32"
