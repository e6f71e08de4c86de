"""From what the user asked for to the list of cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import InputError
from ..core.registry import Component, resolve
from ..core.specs import split_chain
from ..models.published import resolve_model
from .cell import Cell
from .threat import Threat, check_order, grey_box_differs

DEFAULT = Threat("oblivious"), Threat("grey-box"), Threat("adaptive")
"""How the attacker meets a defence unless told otherwise; grey-box is left out where it is another of them."""


@dataclass(frozen=True)
class Grid:
    """Models x (clean, attacks and corruptions) x defences x threats, resolved.

    Attributes:
        dataset: The data set.
        split: Its split.
        models: Models under test.
        attacks: Attacks; clean clips are always measured.
        defenses: Chains; no defence is always measured beside them.
        threats: For defended cells: how the attacker meets the defence; transfers are run without defence as well.
        limit: First clips of the class-balanced order.
        seed: Seed.
        corruptions: Corruptions; never together with attacks.
        severities: Of each corruption, 1 to 5.
        shifts: How often clean and corrupted clips are judged again, every time one frame later.

    Raises:
        InputError: There are attacks and corruptions, or fewer than 0 shifts.
    """

    dataset: Component
    split: str
    models: tuple[Component, ...]
    attacks: tuple[Component, ...] = ()
    defenses: tuple[tuple[Component, ...], ...] = ()
    threats: tuple[Threat, ...] = DEFAULT
    limit: int | None = None
    seed: int = 0
    corruptions: tuple[Component, ...] = ()
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    shifts: int = 0

    def __post_init__(self) -> None:
        if self.shifts < 0:
            raise InputError("shifts", f"{self.shifts} is less than 0", "give a number of frames, such as 4")
        if self.attacks and self.corruptions:
            raise InputError(
                "corruption",
                "no threat model says what an attacker of a corrupted clip knows and where the budget holds, so such a number "
                "could not be compared with any other",
                "run attacks and corruptions one after the other, into the same store",
            )

    def cells(self) -> list[Cell]:
        """All cells, each once: clean ones first, then corrupted or undefended attacked ones, then defended attacked ones."""
        chains = [(), *(chain for chain in self.defenses if chain)]
        between_models = any(threat.name == "transfer" and not threat.source for threat in self.threats)
        handed_on = len(chains) > 1 or between_models and len(self.models) > 1
        cells = [self._cell(model, defense=chain, shifts=self.shifts) for model in self.models for chain in chains]
        cells += self._corrupted(chains)
        for model in self.models:
            for attack in self.attacks:
                threats = self._threats(model, attack)
                transfers = [threat for threat in threats if threat["source"]]
                cells.append(self._cell(model, attack=attack, threat=Threat("white-box"), full=handed_on))
                cells += [self._cell(model, attack=attack, **threat) for threat in transfers]
                cells += [
                    self._cell(model, attack=attack, defense=chain, **threat)
                    for chain in chains[1:]
                    for threat in _met_by(chain, threats)
                ]
        return list({_place(cell): cell for cell in cells}.values())

    def _corrupted(self, chains: Sequence[tuple[Component, ...]]) -> list[Cell]:
        """Models and defences go last, for they look at the same corrupted clips."""
        return [
            self._cell(model, defense=chain, corruption=corruption, severity=severity, shifts=self.shifts)
            for corruption in self.corruptions
            for severity in self.severities
            for model in self.models
            for chain in chains
        ]

    def _threats(self, model: Component, attack: Component) -> list[dict[str, Any]]:
        """The threats as a model and an attack meet them: every other model as a source, the draws that the attack asks for."""
        met = []
        for threat in self.threats:
            if threat.name == "adaptive":
                met.append({"threat": replace(threat, eot=max(threat.eot, attack.create().eot)), "source": None})
            elif threat.name != "transfer":
                met.append({"threat": threat, "source": None})
            else:
                others = [other for other in self.models if other.text != model.text]
                for source in [resolve_model(threat.source)] if threat.source else others:
                    met.append({"threat": Threat("transfer", source=source.text), "source": source})
        return met

    def _cell(self, model: Component, **parts: object) -> Cell:
        return Cell(self.dataset, self.split, self.limit, model, seed=self.seed, **parts)  # type: ignore[arg-type]


def _place(cell: Cell) -> tuple[Any, ...]:
    """What tells two cells of a grid apart."""
    attacked = str(cell.attack), str(cell.threat)
    return (str(cell.model), *attacked, str(cell.corruption), cell.severity, tuple(str(link) for link in cell.defense))


def _met_by(chain: Sequence[Component], threats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The threats that a chain meets: grey-box only where that is a setting of its own."""
    differs = grey_box_differs([link.create() for link in chain])
    return [threat for threat in threats if differs or threat["threat"].name != "grey-box"]


def resolve_chain(text: str) -> tuple[Component, ...]:
    """A defence chain `first+second`; `none` is the empty one.

    Raises:
        InputError: A link is unknown or has a bad parameter, or their order cannot work.
    """
    if text == "none":
        return ()
    chain = tuple(resolve("defense", part) for part in split_chain(text))
    if len(chain) > 1:
        check_order([link.create() for link in chain], [link.entry.name for link in chain])
    return chain


def resolve_threats(texts: Sequence[str]) -> tuple[Threat, ...]:
    """Threats for defended cells, by default all but transfers; no defended row is made without its adaptive counterpart.

    Raises:
        InputError: An unknown threat, or `white-box`, which is the name of undefended rows.
    """
    threats = tuple(Threat.parse(text) for text in texts)
    for threat in threats:
        if threat.name == "white-box":
            raise InputError(
                "threat",
                "white-box is what undefended models get anyway",
                "use oblivious, grey-box, adaptive or transfer:<model>",
            )
    if not threats:
        return DEFAULT
    if not any(threat.name == "adaptive" for threat in threats):
        threats = (*threats, Threat("adaptive"))
    return threats
