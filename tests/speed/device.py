"""What a device makes of the models: `python tests/speed/device.py [--device cuda] [--small] [--runs 3] [--videos FOLDER]`.

For each model, in one process and by turns: the harness' PGD in every precision beside a bare loop and the peers; channels-last
and `torch.compile` beside the model as it is; and the clips that are decoded beside those that are consumed. Full-size models
are untrained, which changes no time; "right" is a decision that is still the clean clip's. `--small` takes the shipped tiny
models and few steps, so that a CPU runs the script in a minute or two: its ratios mean little. Clips are decoded from the
videos of a folder, or from the embedded ones, which are small.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from device_case import CLIPS, Case, Job, art, torchattacks
from robustvideo.benchmark.core.interfaces import ClipRecord, InputSpec, Model
from robustvideo.benchmark.core.losses import cross_entropy
from robustvideo.benchmark.data.loader import load
from robustvideo.benchmark.data.selection import balanced
from robustvideo.benchmark.data.shapes import Shapes
from robustvideo.benchmark.evaluation.api import choose_device
from timing import medians, table
from torch import Tensor, nn

FULL = ("tsm:preset=r50", "slowfast:preset=8x8", "x3d:preset=m", "timesformer:preset=base")
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def attacks(case: Case, runs: int) -> float:
    """The table of PGD; returns the seconds of a batch in float32."""
    jobs: dict[str, Job] = {"bare loop": case.bare}
    jobs |= {f"harness, {name}": lambda name=name: case.harness(name) for name in case.benches}
    for make in (torchattacks, art):
        try:
            jobs[make.__name__] = make(case)
        except ImportError as error:
            print(f"  {make.__name__} is not measured: {error}")
    found, extra = medians(jobs, runs, case.wait), {}
    for name, job in jobs.items():
        made, took = case.peak(job)
        extra[name] = f"{took}leaves {int((case.decide(made) == case.labels).sum())} of {CLIPS} right"
    should = {} if case.small else {"harness, float32": "should be <= 1.05"}
    should |= dict.fromkeys(("torchattacks", "art"), "should not be below us")
    exact = case.scores("float32")
    for name in list(case.benches)[1:]:
        said = case.scores(name)
        same = int((said.argmax(dim=1) == exact.argmax(dim=1)).sum())
        extra[f"harness, {name}"] += f"; clean: logits off by {off(said, exact)}, {same} of {CLIPS} decisions the same"
        should[f"harness, {name}"] = "should be < float32"
    table(f"PGD-{case.steps} on {case.name}, {CLIPS} clips of {tuple(case.clips.shape[1:])}", found, "bare loop", should, extra)
    return found["harness, float32"]


def off(found: Tensor, wanted: Tensor) -> str:
    """The largest difference over the largest number."""
    return f"{float((found - wanted).abs().max() / wanted.abs().max()):.0e}"


def channels_last(model: Model) -> Model:
    """A copy whose convolutions keep their weights, and so give their maps, with the channels innermost."""
    made = copy.deepcopy(model)
    for weight in made.parameters():
        if weight.dim() in FORMATS:
            weight.data = weight.data.contiguous(memory_format=FORMATS[weight.dim()])
    return made


def layouts(case: Case, runs: int, precision: str) -> None:
    """The table of a gradient by the model as it is, in channels-last and compiled, with what they change of the numbers."""

    def gradient(model: nn.Module) -> tuple[Tensor, Tensor]:
        leaf = case.clips.detach().requires_grad_()
        with torch.autocast(case.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(leaf).float()
        (grad,) = torch.autograd.grad(cross_entropy(logits, case.labels).sum(), leaf)
        return logits.detach(), grad

    ways: dict[str, nn.Module] = {"as it is": case.model, "channels-last": channels_last(case.model)}
    if case.device.type == "cuda":
        ways["compiled"] = torch.compile(case.model)
    wanted, jobs, extra = gradient(case.model), {}, {}
    for name, model in ways.items():
        try:
            logits, grad = gradient(model)
        except Exception as error:
            print(f"  {name} is not measured: {type(error).__name__}")
            continue
        jobs[name] = lambda model=model: gradient(model)
        extra[name] = f"logits off by {off(logits, wanted[0])}, gradient by {off(grad, wanted[1])}"
    title = f"A gradient of {case.name} in {precision}: another way pays below 1.00x"
    table(title, medians(jobs, 4 * runs, case.wait), "as it is", {}, extra)


def decoded(records: list[ClipRecord], spec: InputSpec) -> float:
    """Clips per second that `load` reads of the records that are sound, 32 of them or more."""
    sound = [record for batch, _ in load(records, spec, CLIPS) if batch for record in batch.records]
    if not sound:
        raise SystemExit("none of the videos can be decoded")
    sound *= -(-32 // len(sound))
    start = time.perf_counter()
    for _ in load(sound, spec, CLIPS):
        pass
    return len(sound) / (time.perf_counter() - start)


def feeding(case: Case, runs: int, attacked: float, records: list[ClipRecord]) -> None:
    """What is decoded, carried to the device and consumed, in clips per second."""
    bench = case.benches["float32"]
    jobs: dict[str, Callable[[], object]] = {"carrying, pinned": lambda: bench.clips(case.batch)}
    jobs["carrying, plainly"] = lambda: case.batch.clips.to(case.device).float().div_(255)
    jobs |= {f"clean, {name}": lambda name=name: case.scores(name) for name in case.benches}
    rates = {name: CLIPS / seconds for name, seconds in medians(jobs, 4 * runs, case.wait).items()}
    rates[f"PGD-{case.steps}, float32"] = CLIPS / attacked
    reads = decoded(records, case.model.input)
    print(f"\n{case.name} is fed: {reads:.1f} clips/s are decoded; over what consumes them that should be >= 1.00x")
    for name, rate in rates.items():
        print(f"  {name:<34} {rate:9.1f} clips/s  {reads / rate:7.2f}x")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:<number>; default: the first GPU, else the CPU")
    parser.add_argument("--small", action="store_true", help="tiny models")
    parser.add_argument("--runs", type=int, default=3, help="rounds of which the median counts")
    parser.add_argument("--videos", type=Path, help="folder of videos to decode; default: the embedded ones")
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # ART asks for the current one
    torch.manual_seed(0)
    records = balanced(Shapes().records("test"), 32)
    if options.videos:
        records = [ClipRecord(path.name, path, 0, path.name) for path in sorted(options.videos.iterdir())]
    for spec in FULL:
        case = Case(spec, options.small, device)
        attacked = attacks(case, options.runs)
        for precision in ("float32", "bf16") if device.type == "cuda" else ("float32",):
            layouts(case, options.runs, precision)
        feeding(case, options.runs, attacked, records)


if __name__ == "__main__":
    main()
