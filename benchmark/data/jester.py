"""Jester."""

from dataclasses import dataclass
from typing import ClassVar

from ..core.params import param
from ..core.registry import register
from .ssv1 import FrameFolders


@register("dataset", "jester")
@dataclass(frozen=True)
class Jester(FrameFolders):
    """20BN-Jester V1 (Materzynska et al. 2019): 133,349 labelled clips of 27 hand gestures, as folders of frames.

    Splits `train` and `val`. Labels follow jester-v1-labels.csv. Every clip is its own group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "jester"
    splits: ClassVar[tuple[str, ...]] = ("val", "train")
    default_split: ClassVar[str] = "val"
    sizes: ClassVar[dict[str, int]] = {"val": 14787, "train": 118562}
    count: ClassVar[int] = 27
    homes: ClassVar[tuple[str, ...]] = ("20bn-jester-v1", "rawframes", "frames", "videos")
    example: ClassVar[str] = "20bn-jester-v1/1/00001.jpg"
    caveats: ClassVar[tuple[str, ...]] = ("there are no videos, only JPEGs 100 px high", "a horizontal flip changes labels")
    prefix: ClassVar[str] = "jester-v1"

    root: str = param(help="folder of the copy: numbered frame folders, or 20bn-jester-v1", identity=False)
    annotations: str = param("", help="folder of jester-v1-*.csv; empty: looked for near root", identity=False)
