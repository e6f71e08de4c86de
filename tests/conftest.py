"""Small models and clips that many tests share."""

import pytest
import torch
from conftest_models import build_net
from robustvideo.benchmark.core.interfaces import Model
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.evaluation.memory import ROOMS, Room
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline, Threat

torch.set_num_threads(1)  # the mocks are too small to share out


@pytest.fixture(autouse=True)
def nothing_learnt() -> None:
    """A test knows nothing of the memory that another one made up."""
    ROOMS.clear()


@pytest.fixture(scope="session")
def net() -> Model:
    return build_net()


@pytest.fixture(scope="session")
def clips() -> torch.Tensor:
    return torch.rand(5, 3, 8, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def labels(net, clips) -> torch.Tensor:
    """What the model says, so that every clip is right before an attack."""
    return net(clips).argmax(dim=1)


@pytest.fixture
def streams():
    """Fresh per-clip randomness for clips 0 to N-1."""
    return lambda count, seed=0: ClipRandom.for_clips([f"clip{number}" for number in range(count)], seed, "test")


@pytest.fixture
def target():
    """A counted target of a model behind defences."""

    def make(model, count, defenses=(), eot=1, until_fooled=False, average="loss", rows=32, labels=None):
        threat = Threat("adaptive", eot=eot, average=average)
        truth = torch.zeros(count, dtype=torch.long) if labels is None else labels
        return CountedTarget(Pipeline.build(model, defenses), truth, threat, until_fooled, Room(rows))

    return make
