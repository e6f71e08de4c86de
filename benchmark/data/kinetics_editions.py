"""Kinetics 400, 600 and 700, and Mini-Kinetics."""

from dataclasses import dataclass
from typing import ClassVar

from ..core.errors import InputError
from ..core.params import param
from ..core.registry import register
from .kinetics import Kinetics


@register("dataset", "kinetics400")
@dataclass(frozen=True)
class Kinetics400(Kinetics):
    """Kinetics-400 (Kay et al. 2017): ten-second YouTube clips of 400 actions.

    Splits `val`, `train` and `test`, from the official CSV files (label, youtube_id, time_start, time_end), or, without them,
    from the class folders. Files <id>_<start>_<end>.mp4 lie in class folders, spaces or underscores, or in none. Labels follow
    the alphabet of the 400 names, as in published checkpoints. Clips of one YouTube video form a group.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "kinetics400"
    sizes: ClassVar[dict[str, int]] = {"val": 19907, "train": 246535, "test": 39806}
    count: ClassVar[int] = 400

    def named(self) -> tuple[str, ...]:
        """The 400 names in label order, which torchvision's checkpoints carry."""
        from torchvision.models.video import R2Plus1D_18_Weights

        return tuple(R2Plus1D_18_Weights.DEFAULT.meta["categories"])


@register("dataset", "kinetics600")
@dataclass(frozen=True)
class Kinetics600(Kinetics):
    """Kinetics-600 (Carreira et al. 2018): as kinetics400, with 600 actions; class names from the CSV file or the folders."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "kinetics600"
    sizes: ClassVar[dict[str, int]] = {}
    count: ClassVar[int] = 600


@register("dataset", "kinetics700")
@dataclass(frozen=True)
class Kinetics700(Kinetics):
    """Kinetics-700 (Carreira et al. 2019): as kinetics400, with 700 actions; class names from the CSV file or the folders."""

    version: ClassVar[int] = 1
    name: ClassVar[str] = "kinetics700"
    sizes: ClassVar[dict[str, int]] = {}
    count: ClassVar[int] = 700


@register("dataset", "mini-kinetics")
@dataclass(frozen=True)
class MiniKinetics(Kinetics):
    """Mini-Kinetics: 200 classes of a Kinetics-400 copy, numbered among themselves.

    There are two: Xie et al. 2018 list YouTube ids, and the labels follow the alphabet of their classes; IBM lists 200 class
    names, and the labels follow that list. To keep the labels of Kinetics-400, use kinetics400 with `subset`.
    """

    version: ClassVar[int] = 1
    name: ClassVar[str] = "mini-kinetics"
    sizes: ClassVar[dict[str, int]] = {}
    count: ClassVar[int] = 200

    root: str = param(help="folder of the Kinetics-400 copy", identity=False)
    subset: str = param("", help="file of the YouTube ids or of the 200 class names; needed", identity=False)

    def named(self) -> tuple[str, ...]:
        """The names that the subset lists, else the classes of its clips by the alphabet."""
        if not self.subset and not self.list:
            raise InputError(f"{self.owner}: subset", "is missing", "give subset=FILE of YouTube ids or of class names")
        return self.chosen_names or super().named()
