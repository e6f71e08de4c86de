"""A model on a device, ready to be attacked: by the harness, by a bare loop, by the peers. For `device.py`."""

import copy
from collections.abc import Callable

import torch
from robustvideo.attacks.pgd import PGD
from robustvideo.benchmark.core.interfaces import Batch
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.core.registry import ready, resolve
from robustvideo.benchmark.core.rng import ClipRandom
from robustvideo.benchmark.data.loader import load
from robustvideo.benchmark.data.selection import balanced
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.data.tensors import Tensors
from robustvideo.benchmark.evaluation.bench import Bench
from robustvideo.benchmark.evaluation.cell import Cell
from robustvideo.benchmark.evaluation.crafting import craft
from robustvideo.benchmark.evaluation.precision import prepare
from robustvideo.benchmark.evaluation.threat import Threat
from robustvideo.benchmark.models.build import build_model
from torch import Tensor, nn

EPS, CLIPS = 4 / 255, 8  # few enough for a small GPU: the bare loop and the peers do not halve what does not fit
Job = Callable[[], Tensor]


class Case:
    """A model, a batch, and the harness' bench of every precision of the device."""

    def __init__(self, spec: str, small: bool, device: torch.device) -> None:
        self.small, self.device, self.steps = small, device, 5 if small else 50
        self.step = PGD(steps=self.steps).step_size
        data = Shapes()
        classes = data.classes if small else [str(number) for number in range(400)]
        self.name = how = spec.partition(":")[0] if small else f"{spec},weights=random"
        self.model = build_model(resolve("model", how), "shapes" if small else "none", classes).to(device)
        shape = self.model.input
        if small:
            pixels = next(batch for batch, _ in load(balanced(data.records("test"), CLIPS), shape, CLIPS) if batch).clips
        else:
            pixels = torch.randint(256, (CLIPS, 3, shape.frames, shape.size, shape.size), dtype=torch.uint8)
            self._calm(pixels)
        self.clips = pixels.to(device).float() / 255
        self.labels = self.decide(self.clips)
        made = Tensors(pixels, self.labels, len(classes))
        parts = ready("dataset", "made", made), "test", None, ready("model", how, self.model)
        self.cell = Cell(*parts, resolve("attack", f"pgd:steps={self.steps}"), threat=Threat("white-box"))
        self.batch = Batch(made.records("test"), pixels)
        names = ("float32", "bf16", "tf32") if device.type == "cuda" else ("float32",)  # on a CPU bf16 is many times slower
        self.benches = {name: Bench(device, CLIPS, name) for name in names}
        prepare("float32", device)

    def _calm(self, pixels: Tensor) -> None:
        """An untrained network can be so sure of itself that its gradient is 0, which the harness would stop to look into."""
        head = [module for module in self.model.modules() if isinstance(module, nn.Linear)][-1]
        with torch.no_grad():
            head.weight.div_(self.model(pixels[:1].to(self.device).float() / 255).abs().max() / 4)

    @torch.no_grad()
    def decide(self, clips: Tensor) -> Tensor:
        """The classes that the model says, in float32."""
        return self.model(clips).argmax(dim=1)

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, job: Job) -> tuple[Tensor, str]:
        """What a job makes, and the memory that it took of a GPU beside what lies there already."""
        if self.device.type != "cuda":
            return job(), ""
        self.wait()
        held = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        made = job()
        self.wait()
        return made, f"peak {(torch.cuda.max_memory_allocated(self.device) - held) / 2**20:.0f} MiB, "

    def scores(self, precision: str) -> Tensor:
        """Logits of the batch, as a clean cell of the precision gets them: from memory of the CPU to the decision."""
        prepare(precision, self.device)
        bench = self.benches[precision]
        clips, _ = bench.clips(self.batch)
        said = bench.pipeline(self.cell).decide(clips, ClipRandom.for_clips(self.batch.ids, 0, "speed", self.device))
        prepare("float32", self.device)
        return said

    def harness(self, precision: str) -> Tensor:
        """The attack as a cell runs it, to full strength on every clip as the bare loop does."""
        prepare(precision, self.device)
        bench = self.benches[precision]
        clips, labels = bench.clips(self.batch)
        made = craft(self.cell, bench, bench.attack(self.cell), self.batch, clips, labels, True).clips
        prepare("float32", self.device)
        return made

    def bare(self) -> Tensor:
        """The same attack and nothing else: the last iterate, whatever it is."""
        clips, labels, step = self.clips, self.labels, self.step
        low, high = (clips - EPS).clamp_(min=0), (clips + EPS).clamp_(max=1)
        x = torch.clamp(clips + torch.empty_like(clips).uniform_(-EPS, EPS), low, high)
        for _ in range(self.steps):
            leaf = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(cross_entropy(self.model(leaf), labels).sum(), leaf)
            x = torch.clamp(x + step * grad.sign(), low, high)
        return x


def torchattacks(case: Case) -> Job:
    """Its PGD with our steps."""
    import torchattacks

    attack = torchattacks.PGD(case.model, eps=EPS, alpha=case.step, steps=case.steps, random_start=True)
    return lambda: attack(case.clips, case.labels)


def art(case: Case) -> Job:
    """ART's PGD with our steps, from numpy to numpy as it is made; a copy of the model, which its wrapper changes."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    where = dict(clip_values=(0, 1), device_type="gpu" if case.device.type == "cuda" else "cpu")
    net, shape = copy.deepcopy(case.model), tuple(case.clips.shape[1:])
    wrapped = PyTorchClassifier(net, nn.CrossEntropyLoss(), shape, case.model.classes, **where)
    settings = dict(eps=EPS, eps_step=case.step, max_iter=case.steps, num_random_init=1, batch_size=CLIPS, verbose=False)
    attack = ProjectedGradientDescentPyTorch(wrapped, **settings)
    clips, labels = case.clips.cpu().numpy(), nn.functional.one_hot(case.labels, case.model.classes).cpu().numpy()
    return lambda: torch.from_numpy(attack.generate(clips, labels)).to(case.device)
