"""What is trained how: the recipe of a training, and those of the tiny zoo."""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.errors import InputError
from ..core.registry import did_you_mean, entries, find
from ..core.specs import Spec

FILE = Path(__file__).parent / "zoo.toml"
DEFENSES = Path(__file__).parent / "defenses.toml"
DATASET = "shapes"
"""What the shipped defences are trained on."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips per step.
        lr: Highest learning rate; after the warm-up it falls to 0 along a cosine over the remaining steps.
        weight_decay: Decoupled for AdamW, L2 for SGD.
        optimizer: `adamw`, or `sgd` with Nesterov momentum 0.9.
        seed: Of the order of clips and of whatever the model draws while it trains.
        warmup: Steps over which the learning rate rises to `lr` on a straight line.
        clip_norm: Largest L2 norm of the gradient of all weights together; 0 for no limit.
        corruption: Spec of a corruption that training clips go through as the model takes them, whatever its `size`, with new
            draws in every epoch; empty for none.
        severity: Of that corruption, 1 to 5.
        keep: Whose weights are kept: the `last` epoch's, or the `best` one's on the validation clips.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    seed: int = 0
    warmup: int = 0
    clip_norm: float = 0.0
    corruption: str = ""
    severity: int = 2
    keep: Literal["last", "best"] = "last"

    def described(self) -> dict[str, Any]:
        """What a card says of it: all values but those that say nothing: no corruption, and the last epoch's weights."""
        hidden = {"corruption", "severity"} if not self.corruption else set()
        return {key: value for key, value in asdict(self).items() if key not in hidden and (key, value) != ("keep", "last")}


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the zoo.

    Attributes:
        model: Spec of the model.
        dataset: Spec of the data set.
        recipe: How it is trained.
        threads: CPU threads of the training; sums run in another order with another number, so the weights differ.
        defense: Spec of the defence that is trained for the model; empty for the model itself.
    """

    model: str
    dataset: str
    recipe: Recipe
    threads: int
    defense: str = ""

    @property
    def name(self) -> str:
        """`tsm/shapes`, or `tsm/shapes/cat` for a defence."""
        return f"{self.model}/{self.dataset}" + (f"/{self.defense}" if self.defense else "")


def zoo_entries() -> dict[str, Entry]:
    """All checkpoints of the zoo by name: every model with the preset `tiny`, on the data sets that `zoo.toml` gives it."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    defaults = table.pop("defaults")
    tiny = [name for name, entry in sorted(entries("model").items()) if _has_tiny(entry)]
    made = [
        _entry(model, dataset, defaults, table.get(model, {})) for model in tiny for dataset in _datasets(table, defaults, model)
    ]
    return {entry.name: entry for entry in made}


def default_recipe() -> Recipe:
    """The recipe of a tiny model without one of its own: the defaults of `zoo.toml`."""
    return _entry("", "", tomllib.loads(FILE.read_text(encoding="utf-8"))["defaults"], {}).recipe


def defended_entries() -> dict[str, Entry]:
    """All checkpoints of trained defences that are shipped, by name."""
    table = tomllib.loads(DEFENSES.read_text(encoding="utf-8"))
    threads = table["defaults"]["threads"]
    made = [
        Entry(model, DATASET, defended_recipe(defense, model), threads, defense)
        for defense, models in table["shipped"].items()
        for model in models
    ]
    return {entry.name: entry for entry in made}


def defended_recipe(defense: str, model: str) -> Recipe:
    """How a defence is trained for a model, both by spec: defaults, the defence's own values, those for it, those for the model.

    Raises:
        InputError: There is no such defence, or it is not trained.
    """
    table = tomllib.loads(DEFENSES.read_text(encoding="utf-8"))
    name, architecture = Spec.parse(defense, "defense").name, Spec.parse(model, "model").name
    for_all = table.get("recipes", {}).get(name, {})
    component = find("defense", name).load()
    if not hasattr(component, "recipe"):
        raise InputError("defense", f"{name} is not trained", "subclass core.trained.Trained or Retrained")
    own = component.recipe | {key: value for key, value in for_all.items() if not isinstance(value, dict)}
    values = table["defaults"] | own | for_all.get(architecture, {})
    del values["threads"]
    return Recipe(**values)


def select(name: str) -> list[Entry]:
    """The entry of a name such as `tsm/shapes` or `tsm/shapes/cat`, or all of them for `all`.

    Raises:
        InputError: There is none of that name; close ones are suggested.
    """
    known = zoo_entries() | defended_entries()
    if name == "all":
        return list(known.values())
    if name not in known:
        raise InputError("zoo", f"{name!r} is unknown", did_you_mean(name, ("all", *known)))
    return [known[name]]


def _has_tiny(entry: Any) -> bool:
    return any(field.name == "preset" and "tiny" in field.choices for field in entry.fields)


def _datasets(table: dict[str, Any], defaults: dict[str, Any], model: str) -> list[str]:
    return table.get(model, {}).get("datasets", defaults["datasets"])


def _entry(model: str, dataset: str, defaults: dict[str, Any], own: dict[str, Any]) -> Entry:
    for_all = {key: value for key, value in own.items() if not isinstance(value, dict)}
    values = defaults | for_all | own.get(dataset, {})
    del values["datasets"]
    threads = values.pop("threads")
    return Entry(model, dataset, Recipe(**values), threads)
