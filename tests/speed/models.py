"""What our full-size models cost beside their upstream: `python tests/speed/models.py [runs] [name ...]`.

Both hold the same weights, which ours took through its checkpoint mapping, and see the same clip in the same process, by turns.
Only upstreams that can be installed are here: torchvision, pytorchvideo and transformers.
"""

import ctypes
import resource
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.models.build import build_model
from timing import medians, table
from torch import Tensor, nn

SHOULD = "should be <= 1.05"
CLASSES = 400


def _torchvision() -> nn.Module:
    from torchvision.models.video import r2plus1d_18

    return r2plus1d_18(num_classes=CLASSES)


def _pytorchvideo(name: str) -> nn.Module:
    from pytorchvideo.models import hub

    # The classifiers end in a softmax at test time or do not, by model; logits are what is compared.
    net = getattr(hub, name)(pretrained=False)
    for module in net.modules():
        if isinstance(getattr(module, "activation", None), nn.Softmax):
            module.activation = None
    return net


def _timesformer() -> nn.Module:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    return _Logits(TimesformerForVideoClassification(TimesformerConfig(num_labels=CLASSES)))


class _Logits(nn.Module):
    """Transformers' model as a function from clips (N, 3, T, H, W) to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        return self.net(clips.transpose(1, 2)).logits


class _Pathways(nn.Module):
    """pytorchvideo's SlowFast, with the slow frames that PySlowFast takes."""

    def __init__(self, net: nn.Module, alpha: int) -> None:
        super().__init__()
        self.net, self.alpha = net, alpha

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.shape[2]
        slow = torch.linspace(0, frames - 1, frames // self.alpha).long()
        return self.net([clips[:, :, slow], clips])


UPSTREAM: dict[str, Callable[[], nn.Module]] = {
    "r2plus1d:preset=r18": _torchvision,
    "i3d:preset=r50-8x8": lambda: _pytorchvideo("i3d_r50"),
    "slowfast:preset=8x8-facebook": lambda: _Pathways(_pytorchvideo("slowfast_r50"), 4),
    "ircsn:preset=r101": lambda: _pytorchvideo("csn_r101"),
    "x3d:preset=m": lambda: _pytorchvideo("x3d_m"),
    "timesformer:preset=base": _timesformer,
}


def pair(spec: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """Upstream's network, ours with the same weights, and a normalised clip (1, 3, T, H, W)."""
    torch.manual_seed(0)
    theirs = UPSTREAM[spec]().eval().requires_grad_(False)
    for module in theirs.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    inner = theirs.net if isinstance(theirs, (_Logits, _Pathways)) else theirs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upstream.pth"
        torch.save(inner.state_dict(), path)
        made = build_model(resolve("model", spec, weights=str(path)), "none", [str(number) for number in range(CLASSES)])
    ours = made.net if made.layout == "NCTHW" else _FramesFirst(made.net)
    return theirs, ours, torch.randn(1, 3, made.input.frames, made.input.size, made.input.size)


class _FramesFirst(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        return self.net(clips.transpose(1, 2))


def forward(net: nn.Module, clip: Tensor) -> None:
    """Logits alone."""
    with torch.inference_mode():
        net(clip)


def gradient(net: nn.Module, clip: Tensor) -> None:
    """Logits and the gradient to the clip."""
    leaf = clip.clone().requires_grad_()
    torch.autograd.grad(net(leaf).sum(), leaf)


def peak(net: nn.Module, clip: Tensor) -> float:
    """MiB that a gradient adds to what the process holds, by looking at its resident memory a thousand times a second."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier jobs left behind would hide what this one takes
    before, highest, done = _resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    gradient(net, clip)
    done.set()
    watcher.join()
    return highest - before


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(spec: str, runs: int) -> None:
    """Prints both tables of a model."""
    theirs, ours, clip = pair(spec)
    with torch.inference_mode():
        wanted, found = theirs(clip), ours(clip)
    difference = float((wanted - found).abs().max() / wanted.abs().max())
    for job in (forward, gradient):
        jobs = {"upstream": lambda job=job: job(theirs, clip), "ours": lambda job=job: job(ours, clip)}
        times = medians(jobs, runs)
        extra = {name: f"{1 / seconds:.2f} clips/s" for name, seconds in times.items()}
        title = f"{spec}, {job.__name__}, 1 clip of {tuple(clip.shape[1:])}, logits differ by {difference:.0e} of the largest"
        table(title, times, "upstream", {"ours": SHOULD}, extra)
    for name, net in (("upstream", theirs), ("ours", ours)):
        print(f"  peak memory of a gradient, {name}: {peak(net, clip):.0f} MiB above the idle process")


def main() -> None:
    """Prints the tables of all models, or of those that are named."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(2)
    for spec in UPSTREAM:
        if not sys.argv[2:] or spec.partition(":")[0] in sys.argv[2:]:
            measure(spec, runs)


if __name__ == "__main__":
    main()
