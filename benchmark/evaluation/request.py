"""What a run is asked to do: the one definition behind the command line, the environment, TOML files and their defaults."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.registry import Component, did_you_mean, matching, resolve
from ..core.specs import split_list
from ..models.published import resolve_model

EXECUTORS = ("inline", "local", "ray")

PRECISIONS = ("float32", "tf32", "bf16")
"""What models compute in; part of a result's identity."""


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Request:
    """The options of `vbench run`; the environment knows each as `VBENCH_<NAME>`, a TOML file by its name."""

    model: list[str] | None = _option(None, "Model spec; repeat or separate by commas.")
    attack: list[str] | None = _option(None, "Attack spec, such as pgd:eps=8/255,steps=100. Clean clips are always measured.")
    defense: list[str] | None = _option(None, "Defence spec; chain with +. No defence is always measured beside it.")
    threat: list[str] | None = _option(
        None,
        "How an attacker meets a defence: oblivious, grey-box (where a retrained model stands behind something else), "
        "adaptive[:eot=K,average=loss|score]; transfer[:<model>], by default made on every other model of the run. Default: "
        "oblivious, grey-box and adaptive.",
    )
    corruption: list[str] | None = _option(
        None, "Corruption spec or pattern: fog, fog:temporal=drift, 'noise/*', all; see vbench list corruption."
    )
    severity: str = _option("1-5", "Severities of the corruptions: 3, 1-5 or 1,3,5.")
    shifts: int = _option(0, "Judge clean and corrupted clips N times again, each time one frame later: flip probability.")
    dataset: str = _option("shapes", "Data set spec.")
    root: str | None = _option(None, "Folder of the data set's videos.")
    split: str | None = _option(None, "Split of the data set; by default the one that it is tested on.")
    weights: str | None = _option(
        None,
        "Checkpoint of the model: file, URL or published name (vbench weights list), downloaded if need be; random: untrained.",
    )
    limit: int | None = _option(None, "Only the first N clips of a fixed class-balanced order; part of the result's identity.")
    seed: int = _option(0, "Seed of every clip's randomness.")
    store: str = _option("vbench-store", "Folder of the results.")
    reuse: str = _option(
        "missing", "Stored results: missing (compute absent and failed cells), never, always (keep failed), only-cache."
    )
    device: str = _option("auto", "auto, cpu, cuda, cuda:1 ...")
    batch_size: int | None = _option(
        None, "Clips per batch; results do not depend on it. Default: by the model and the memory, up to 32, on a GPU 256."
    )
    precision: str = _option(
        "float32",
        "What models compute in: float32, tf32 (CUDA) or bf16 (autocast; perturbations stay float32). Part of the result's "
        "identity: measure with vbench diff what it changes.",
    )
    executor: str = _option(
        "inline", "Who computes: inline (this process), local (processes of this machine) or ray (processes of a cluster)."
    )
    workers: int | None = _option(
        None, "With --executor local or ray: processes. Default: one per GPU; where there is none, one per two cores."
    )
    address: str | None = _option(
        None, "With --executor ray: address of a running Ray cluster; without one it is started on this machine."
    )

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError("limit", f"{self.limit} is less than 1", "give the number of clips, or leave it out for all")
        if self.batch_size is not None and not 1 <= self.batch_size <= 65536:
            raise InputError("batch-size", f"{self.batch_size} is not from 1 to 65536", "give the number of clips per batch")
        if self.precision not in PRECISIONS:
            raise InputError("precision", f"{self.precision!r} is unknown", did_you_mean(self.precision, PRECISIONS))
        if self.executor not in EXECUTORS:
            raise InputError("executor", f"{self.executor!r} is unknown", did_you_mean(self.executor, EXECUTORS))
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise InputError("workers", f"{self.workers} is not from 1 to 1024", "give the number of processes")
        if self.workers is not None and self.executor == "inline":
            raise InputError("workers", "inline computes in this process", "add --executor local or ray")
        if self.address is not None and self.executor != "ray":
            raise InputError("address", f"{self.executor} needs none", "add --executor ray")
        for name in ("model", "attack", "defense", "threat", "corruption"):
            if getattr(self, name) and not split_list(getattr(self, name)):
                raise InputError(name, "is empty", "leave the option out, or name one")

    @classmethod
    def merge(cls, given: Mapping[str, Any], grid: Path | None) -> "Request":
        """Options that were given, over those of a TOML file, over the defaults.

        Raises:
            InputError: The file cannot be read, or has an unknown key or a value of the wrong type.
        """
        chosen = {} if grid is None else _read_toml(cls, grid)
        return cls(**(chosen | {name: value for name, value in given.items() if value is not None}))

    def check(self) -> None:
        """Resolves names and values without torch, so that a typo is told at once.

        Raises:
            InputError: One of them is unknown.
        """
        for part in (self.models, self.attacks, self.data, self.corruptions, self.severities):
            part()

    def models(self) -> tuple[Component, ...]:
        """The models, with `weights` put in."""
        texts = split_list(self.model or [])
        if not texts:
            raise InputError("model", "none is given", "write --model tsm, or see vbench list model")
        if self.weights is None:
            return tuple(resolve_model(text) for text in texts)
        if len(texts) > 1:
            raise InputError("weights", "is given for several models", "write --model NAME:weights=FILE for each")
        return (resolve_model(texts[0], weights=self.weights),)

    def attacks(self) -> tuple[Component, ...]:
        """The attacks."""
        return tuple(resolve("attack", text) for text in split_list(self.attack or []))

    def corruptions(self) -> tuple[Component, ...]:
        """The corruptions, patterns resolved, each once."""
        found = [one for text in split_list(self.corruption or []) for one in matching("corruption", text)]
        return tuple({one.text: one for one in found}.values())

    def severities(self) -> tuple[int, ...]:
        """The severities, in order, each once."""
        return severities(self.severity)

    def data(self) -> Component:
        """The data set, with `root` put in."""
        return resolve("dataset", self.dataset, **({} if self.root is None else {"root": self.root}))


def severities(given: str | int | Sequence[int]) -> tuple[int, ...]:
    """`3`, `1-5` or `1,3,5`, or numbers, as numbers in order, each once.

    Raises:
        InputError: It is none of these, or leaves 1 to 5.
    """
    text = given if isinstance(given, str) else ",".join(str(one) for one in ([given] if isinstance(given, int) else given))
    found: set[int] = set()
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(end.strip() in ("1", "2", "3", "4", "5") for end in ends) or int(ends[0]) > int(ends[-1]):
            raise InputError("severity", f"{text!r} is unknown", "it must be from 1 to 5, such as 3, 1-5 or 1,3,5")
        found |= set(range(int(ends[0]), int(ends[-1]) + 1))
    return tuple(sorted(found))


def _read_toml(cls: type[Request], path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("grid", f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("grid", f"{path} is not TOML: {error}") from None
    known = {field.name: field for field in dataclasses.fields(cls)}
    chosen = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InputError("grid", f"{path} has an unknown key {key!r}", did_you_mean(name, known))
        kind = str(known[name].type)
        if "list" in kind and isinstance(value, str):
            value = [value]
        if name == "severity" and isinstance(value, (int, list)):
            value = ",".join(str(one) for one in ([value] if isinstance(value, int) else value))
        wanted = list if "list" in kind else int if "int" in kind else str
        texts = value if isinstance(value, list) else []
        if not isinstance(value, wanted) or isinstance(value, bool) or not all(isinstance(one, str) for one in texts):
            raise InputError("grid", f"{path}: {key} is {value!r}", f"it must be a {wanted.__name__}")
        chosen[name] = value
    return chosen
