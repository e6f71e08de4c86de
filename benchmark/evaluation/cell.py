"""A cell: one thing to measure."""

from dataclasses import dataclass

from ..core.registry import Component
from .threat import Threat


@dataclass(frozen=True)
class Cell:
    """What is measured, as resolved components; the bench has the live objects.

    Attributes:
        dataset: The data set.
        split: Its split.
        limit: First clips of the class-balanced order; None for all.
        model: The model under test.
        attack: None for clean clips.
        defense: Links of the chain; empty for none.
        threat: What the attacker knows; None for clean clips.
        source: The other model that a transfer attack is crafted on; None for other threats.
        full: Whether the attack runs to full strength on every clip, because its clips are handed on to a defence or another
            model; otherwise a clip leaves the batch when it is fooled.
        seed: Seed of every clip's randomness.
        corruption: None for clean and attacked clips.
        severity: 1 to 5; 0 where there is no corruption.
        shifts: How often each clip is judged again, every time one frame later, for the flip probability.
    """

    dataset: Component
    split: str
    limit: int | None
    model: Component
    attack: Component | None = None
    defense: tuple[Component, ...] = ()
    threat: Threat | None = None
    source: Component | None = None
    full: bool = True
    seed: int = 0
    corruption: Component | None = None
    severity: int = 0
    shifts: int = 0

    @property
    def kind(self) -> str:
        """`clean`, `attack` or `corruption`."""
        return "attack" if self.attack else "corruption" if self.corruption else "clean"

    @property
    def defense_text(self) -> str:
        """The canonical chain, `none` where there is none."""
        return "+".join(link.text for link in self.defense) or "none"

    @property
    def crafted_on_judged(self) -> bool:
        """Whether the attack was made on the very pipeline that is judged, so that its strength can be checked there."""
        return self.threat is not None and self.threat.on_the_judged

    @property
    def handed_on(self) -> bool:
        """Whether its adversarial clips serve other cells too: made to full strength on an undefended model."""
        return self.attack is not None and self.full and self.threat is not None and not self.threat.on_the_defence

    def __str__(self) -> str:
        attack = f"{self.attack.entry.name} ({self.threat.name})" if self.attack and self.threat else "clean"
        if self.corruption:
            attack = f"{self.corruption.entry.name} {self.severity}"
        defense = "+".join(link.entry.name for link in self.defense)
        return f"{self.model.entry.name}, {attack}" + (f", {defense}" if defense else "")
