"""What PGD costs beside the passes it needs, and beside the peers: `python tests/speed/pgd.py [runs]`.

The bare loop is k passes forward and backward to the input of the same module on the same batch, parameters frozen. Peers
attack the same model and clips with the same steps, step size and budget; the accuracy that each leaves is printed.
"""

import copy
import sys

import torch
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.interfaces import Model
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.core.registry import resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.data.loader import load
from robustvideo.benchmark.data.selection import balanced
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.evaluation.target import CountedTarget
from robustvideo.benchmark.evaluation.threat import Pipeline
from robustvideo.benchmark.models.build import build_model
from timing import medians, table
from torch import Tensor

EPS = 4 / 255


def tiny(count: int) -> tuple[Model, Tensor, Tensor]:
    """The shipped tiny TSM and real clips."""
    data = Shapes()
    model = build_model(resolve("model", "tsm"), "shapes", data.classes)
    batches = [batch for batch, _ in load(balanced(data.records("test"), count), model.input, count) if batch]
    return model, batches[0].clips.float() / 255, batches[0].labels


def full() -> tuple[Model, Tensor, Tensor]:
    """A ResNet-50 TSM; untrained, which does not change what a pass costs."""
    model = build_model(resolve("model", "tsm:preset=r50,weights=random"), "shapes", [str(number) for number in range(8)])
    return model, torch.rand(2, 3, 8, 224, 224), torch.tensor([1, 2])


def bare(model: Model, clips: Tensor, labels: Tensor, steps: int) -> None:
    """The passes, and nothing else."""
    for _ in range(steps):
        leaf = clips.detach().requires_grad_()
        torch.autograd.grad(cross_entropy(model(leaf), labels).sum(), leaf)


def ours(model: Model, clips: Tensor, labels: Tensor, attack: PGD, until_fooled: bool = False) -> Tensor:
    """Our attack as the harness runs it."""
    target = CountedTarget(Pipeline.build(model, []), labels, until_fooled=until_fooled)
    return attack.run(target, clips, labels, ClipRandom.for_clips([str(number) for number in range(len(clips))], 0, "speed"))


def overhead(name: str, model: Model, clips: Tensor, labels: Tensor, steps: int, runs: int) -> None:
    """Ratio of PGD-k to k bare passes."""
    jobs = {
        "bare loop": lambda: bare(model, clips, labels, steps),
        "PGD": lambda: ours(model, clips, labels, PGD(steps=steps)),
    }
    title = f"PGD-{steps} on {name}, {len(clips)} clips of {tuple(clips.shape[1:])}"
    table(title, medians(jobs, runs), "bare loop", {"PGD": "should be <= 1.10"})


def peers(model: Model, clips: Tensor, labels: Tensor, steps: int, runs: int) -> None:
    """Ratio to torchattacks and ART, and the accuracy that each leaves."""
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    step = EPS / 4
    theirs = torchattacks.PGD(model, eps=EPS, alpha=step, steps=steps, random_start=True)
    shape, classes = tuple(clips.shape[1:]), model.classes
    # Its own copy: ART's wrapper changes the model, and everybody's times with it.
    wrapped = PyTorchClassifier(
        copy.deepcopy(model), torch.nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type="cpu"
    )
    settings = dict(eps=EPS, eps_step=step, max_iter=steps, num_random_init=1, batch_size=len(clips), verbose=False)
    art = ProjectedGradientDescentPyTorch(wrapped, **settings)
    arrays = clips.numpy(), torch.nn.functional.one_hot(labels, classes).numpy()
    attack, left = PGD(steps=steps, step=step), {}

    def run(name, make):
        def job():
            torch.manual_seed(0)
            made = make()
            with torch.no_grad():
                left[name] = (model(made).argmax(dim=1) == labels).float().mean().item()

        return job

    jobs = {
        "torchattacks": run("torchattacks", lambda: theirs(clips, labels)),
        "ART": run("ART", lambda: torch.from_numpy(art.generate(arrays[0], arrays[1]))),
        "ours, full strength": run("ours, full strength", lambda: ours(model, clips, labels, attack)),
        "ours, until fooled": run("ours, until fooled", lambda: ours(model, clips, labels, attack, until_fooled=True)),
    }
    should = {"ours, full strength": "should be <= 1.00", "ours, until fooled": "should be <= 0.35"}
    found = medians(jobs, runs)
    extra = {name: f"leaves {100 * value:.1f} %" for name, value in left.items()}
    table(f"PGD-{steps} on the undefended tiny TSM, {len(clips)} clips, eps 4/255", found, "torchattacks", should, extra)


def main() -> None:
    """Prints the three tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(2)
    model, clips, labels = tiny(32)
    overhead("the tiny TSM", model, clips, labels, 50, runs)
    overhead("the ResNet-50 TSM", *full(), 10, max(1, runs // 2))
    peers(model, clips, labels, 50, runs)


if __name__ == "__main__":
    main()
