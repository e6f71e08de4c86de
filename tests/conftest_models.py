"""The mock model, importable by test files and by plug-in files that they write."""

import torch
from robustvideo.benchmark.core.interfaces import InputSpec, Model
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from torch import nn


class Net(nn.Module):
    """A random 3-D network whose answer depends on the order of frames."""

    def __init__(self, classes: int = 6):
        super().__init__()
        self.conv = nn.Conv3d(3, 8, 3, padding=1)
        self.head = nn.Linear(8 * 4, classes)

    def forward(self, clips):
        features = torch.tanh(3 * self.conv(clips))
        return 4 * self.head(nn.functional.adaptive_avg_pool3d(features, (4, 1, 1)).flatten(1))


def build_net(classes: int = 6, seed: int = 5) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net(classes)
    spec = InputSpec(frames=8, size=12, short_side=12, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
    model = Model(net, spec, classes).eval().requires_grad_(False)
    model.name = "mock"
    return model


def defense_of(spec: str):
    """A defence from its spec."""
    return resolve("defense", spec).create()


def small_tsm(frames: int) -> Model:
    """The tiny TSM for frames of 32 pixels and two classes, untrained, frozen."""
    model = build_model(resolve("model", f"tsm:frames={frames},size=32,weights=random"), "none", "ab")
    return model.eval().requires_grad_(False)
