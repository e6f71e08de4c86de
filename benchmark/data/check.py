"""What is wrong with a copy of a data set, said before a run does."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ..core.errors import InputError
from ..core.interfaces import ClipRecord, Dataset
from .frame_folder import frame_files
from .labels import check_split
from .official import Official
from .probe import probe
from .selection import balanced, missing
from .tree import fold

_SHOWN = 3


class Finding(NamedTuple):
    """One line of the report: a `problem` makes the copy unfit or incomplete, a `note` is good to know."""

    kind: Literal["problem", "note", "fine"]
    text: str


@dataclass
class Report:
    """What was found, in order."""

    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: Literal["problem", "note", "fine"], text: str) -> None:
        """One more line."""
        self.findings.append(Finding(kind, text))

    @property
    def problems(self) -> int:
        """How many lines are problems."""
        return sum(finding.kind == "problem" for finding in self.findings)


def check(
    data: Dataset, split: str, decode: int | None, track: Callable[[Sequence[ClipRecord]], Iterable[ClipRecord]] = iter
) -> Report:
    """Holds a split of a copy against its annotation, and the official data set where it is one.

    Args:
        data: The data set.
        split: Its split.
        decode: How many clips to decode, of an order that goes round the classes; None: all.
        track: Wraps the clips that are decoded, for progress.

    Raises:
        InputError: The copy cannot be read at all.
    """
    report, records = Report(), data.records(split)
    gone = missing(records)
    kind = "problem" if gone else "fine"
    report.add(kind, f"{len(records) - len(gone):,} of {len(records):,} clips of split {split} are there{_some(gone)}")
    if isinstance(data, Official):
        _sizes(report, data, split, records)
        _folders(report, data, split)
        _others(report, data, split, records)
        _counts(report, data, split, records)
    absent = {record.id for record in gone}
    present = [record for record in records if record.id not in absent]
    _decode(report, balanced(present, None)[:decode] if present else [], track)
    for caveat in data.caveats if isinstance(data, Official) else ():
        report.add("note", caveat)
    return report


def _sizes(report: Report, data: Official, split: str, records: Sequence[ClipRecord]) -> None:
    official, listed = data.sizes.get(split), len(records)
    if official and listed != official:
        report.add("problem", f"{listed:,} clips are listed; the official split {split} has {official:,}")
    if len(data.classes) != data.count:
        report.add("problem", f"{len(data.classes)} classes are named; {data.name} has {data.count}")
    used = len({record.label for record in records})
    if used < len(data.classes):
        report.add("note", f"{used} of {len(data.classes)} classes occur in split {split}")


def _folders(report: Report, data: Official, split: str) -> None:
    """Class folders that are missing, spelt otherwise, or no class."""
    if not data.by_class:
        return
    tree = data.tree(split)
    if not tree.folders:
        report.add("note", f"there are no class folders in {data.bases(split)[0]}; clips are found by their names")
        return
    there = {fold(name) for name in tree.folders}
    lost = [name for name in data.classes if fold(name) not in there]
    if lost:
        report.add("problem", f"{len(lost)} classes have no folder: {_names(lost)}")
    other = sorted(tree.folders - set(data.classes) - {name.replace(" ", "_") for name in data.classes})
    if other:
        report.add("note", f"{len(other)} class folders are spelt otherwise than the class, which is no harm: {_names(other)}")
    strange = sorted(path.name for path in _strange(data, split))
    if strange:
        report.add("note", f"{len(strange)} folders are no class: {_names(strange)}")


def _strange(data: Official, split: str) -> set[Path]:
    """Folders among the class folders that are neither a class nor the annotation's."""
    own = {folder for each in data.splits for source in _sources(data, each) for folder in source.parents}
    found = {path for base in data.bases(split) for path in base.iterdir() if not path.name.startswith(".") and path.is_dir()}
    return {path for path in found - own if fold(path.name) not in data.index} if data.by_class else set()


def _others(report: Report, data: Official, split: str, records: Sequence[ClipRecord]) -> None:
    """The other splits whose annotation is there, and the files that no split lists; a list file says nothing of either."""
    if data.list:
        return
    known, strange = {record.path for record in records}, _strange(data, split)
    for other in data.splits:
        if other != split and _sources(data, other):
            found = _records(data, other)
            known |= {record.path for record in found}
            there = len(found) - len(missing(found))
            if found:
                report.add(
                    "fine" if there == len(found) else "note", f"{there:,} of {len(found):,} clips of split {other} are there"
                )
    either = known | strange
    extra = sorted(str(path) for _, path in data.tree(split).clips() if path not in either)
    if extra:
        report.add("note", f"{len(extra):,} files or folders are in no list: {_names(extra)}")


def _counts(report: Report, data: Official, split: str, records: Sequence[ClipRecord]) -> None:
    """Frame folders that hold another number of frames than the annotation says; a run trusts the files."""
    counted = {row.id: row.frames or (row.stop or 0) for row in data.listed(split)}
    wrong = []
    for record in records:
        if counted[record.id] and record.path.is_dir():
            found = len(frame_files(record.path, record.template))
            wanted = max(counted[record.id], record.stop or 0)
            if found < wanted or (found != wanted and record.stop is None):
                wrong.append(f"{record.path.name} ({wanted} listed, {found} there)")
    if wrong:
        report.add("problem", f"{len(wrong):,} frame folders have another number of frames than listed: {_names(wrong)}")


def _decode(report: Report, records: Sequence[ClipRecord], track: Callable[[Sequence[ClipRecord]], Iterable[ClipRecord]]) -> None:
    """Decodes clips from the first frame to the last; what a run copes with is a note, what it cannot use a problem."""
    failed, odd = [], Counter[str]()
    for record in track(records):
        try:
            odd.update(probe(record))
        except InputError as error:
            failed.append(str(error))
    if not records:
        return
    report.add("problem" if failed else "fine", f"{len(records) - len(failed):,} of {len(records):,} decoded clips are sound")
    for reason in failed[:_SHOWN]:
        report.add("problem", reason)
    if len(failed) > _SHOWN:
        report.add("problem", f"and {len(failed) - _SHOWN:,} more")
    for trait, count in sorted(odd.items()):
        report.add("note", f"{count:,} of them: {trait}")


def _records(data: Official, split: str) -> Sequence[ClipRecord]:
    try:
        return data.records(split)
    except InputError:  # another split's files need not be here
        return ()


def _sources(data: Official, split: str) -> Sequence[Path]:
    try:
        check_split(split, data.splits, data.owner)
        return data.sources(split)
    except InputError:
        return ()


def _some(gone: Sequence[ClipRecord]) -> str:
    return f"; missing: {_names([str(record.path) for record in gone])}" if gone else ""


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]).encode(errors="replace").decode() + more
