"""Published checkpoints: which there are, and how a text becomes a file."""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.errors import InputError
from ..core.files import cache_root, sha256
from ..core.registry import Component, did_you_mean, resolve
from ..core.specs import Spec
from . import cards
from .cards import Checkpoint

_DATE = re.compile(r"20[0-3]\d(0[1-9]|1[0-2])([0-2]\d|3[01])")


@dataclass(frozen=True)
class Located:
    """A checkpoint file on this machine, and what is known of it where it is a published one."""

    path: Path
    checkpoint: Checkpoint | None = None


def checkpoints(model: str | None = None) -> tuple[Checkpoint, ...]:
    """The published checkpoints of a model, or of all models that have a card."""
    names = cards.models() if model is None else [name for name in cards.models() if name == model]
    return tuple(one for name in names for one in cards.card(name).checkpoints)


def named(model: str, text: str) -> Checkpoint | None:
    """The checkpoint that `weights=` names, as `name` or `name@file`; None where it names none."""
    name = text.partition("@")[0]
    return next((one for one in checkpoints(model) if one.name == name), None)


def find(model: str, name: str) -> Checkpoint:
    """The checkpoint of a model by its name.

    Raises:
        InputError: There is none of that name.
    """
    found = named(model, name)
    if found is None:
        raise InputError(f"model {model}: weights", f"no published checkpoint is named {name!r}", _suggest(name, model))
    return found


def resolve_model(text: str, **values: str) -> Component:
    """A model spec to a component; a published checkpoint sets the preset and the frames that the user left open.

    Raises:
        InputError: The spec is wrong, or asks for another preset than the checkpoint's.
    """
    component = resolve("model", text, **values)
    model, given = component.entry.name, dict(Spec.parse(text, "model").values) | values
    checkpoint = named(model, given.get("weights", ""))
    if checkpoint is None:
        return component
    if given.get("preset", checkpoint.preset) != checkpoint.preset:
        problem = f"it is {given['preset']}, and checkpoint {checkpoint.name} is for {checkpoint.preset}"
        raise InputError(f"model {model}: preset", problem, "leave preset out")
    asked = {"preset": checkpoint.preset} | ({"frames": str(checkpoint.frames)} if checkpoint.frames else {})
    return resolve("model", text, **(asked | given))


def locate(text: str, model: str, dataset: str = "") -> Located:
    """The file that `weights=` names; what is not here yet is downloaded.

    Args:
        text: Name of a published checkpoint, `name@file` for one that is on this machine, a URL, or a file.
        model: Name of the model in the registry.
        dataset: Name of the data set that it shall be used on; empty for any.

    Raises:
        InputError: There is no such file or name, it knows another data set's classes, it cannot be downloaded, or it is not
            the published file.
    """
    where = f"model {model}: weights"
    checkpoint = named(model, text)
    if checkpoint:
        if dataset in cards.KNOWN_CLASSES and dataset != checkpoint.dataset:  # their number may not tell
            problem = f"checkpoint {checkpoint.name} knows the classes of {checkpoint.dataset}, the data set is {dataset}"
            raise InputError(where, problem, f"choose that data set, or another of vbench weights list --model {model}")
        own = text.partition("@")[2]
        path = Path(own).expanduser() if own else fetch(checkpoint)
        _check(path, checkpoint.sha256, checkpoint.name, where)
        return Located(path, checkpoint)
    if re.match(r"https?://", text):
        return Located(_fetch_url(text, where))
    path = Path(text).expanduser()
    name = text.partition("@")[0]
    if "/" not in name and not path.exists() and checkpoints(model):
        raise InputError(where, f"there is no file {text} and no published checkpoint {name!r}", _suggest(name, model))
    return Located(path)


def prefetch(component: Component, dataset: str) -> None:
    """Downloads what a model will need, before a run on a data set begins.

    Raises:
        InputError: As `locate`.
    """
    text, model = component.values.get("weights") or "", component.entry.name
    if re.match(r"https?://", text) or named(model, text):
        locate(text, model, dataset)


def cached(checkpoint: Checkpoint) -> Path | None:
    """The downloaded file; None where there is none."""
    path = _place(checkpoint.url)
    return path if checkpoint.url and path.is_file() else None


def fetch(checkpoint: Checkpoint) -> Path:
    """The file in the cache, downloaded if it is not there yet.

    Raises:
        InputError: It must be downloaded by hand, or the download fails.
    """
    where = f"model {checkpoint.model}: weights"
    if not checkpoint.url:
        note = f" ({checkpoint.note})" if checkpoint.note else ""
        problem = f"{checkpoint.name}, licence {checkpoint.licence}, must be downloaded by hand from {checkpoint.page}{note}"
        raise InputError(where, problem, f"then write weights={checkpoint.name}@FILE")
    found = cached(checkpoint)
    if found:
        return found
    about = f"{checkpoint.name} of {checkpoint.model}, licence {checkpoint.licence}"
    return _download(checkpoint.url, checkpoint.sha256, about, where)


def _suggest(name: str, model: str) -> str:
    hint = did_you_mean(name, [one.name for one in checkpoints(model)])
    return hint if hint.startswith("did you mean") else f"see vbench weights list --model {model}"


def _fetch_url(text: str, where: str) -> Path:
    url, _, fragment = text.partition("#")
    try:
        name = Path(urlsplit(url).path).stem
    except ValueError as error:
        raise InputError(where, f"{text} is no address ({error})") from None
    digest = fragment.removeprefix("sha256=")
    if fragment and not re.fullmatch(r"sha256=[0-9a-f]{8,64}", fragment):
        raise InputError(where, f"{fragment!r} is no hash", "write URL#sha256=<8 to 64 hex digits>, or the URL alone")
    if not fragment:
        suffix = re.search(r"-([0-9a-f]{8})$", name)  # as mmaction2 and torchvision name files
        digest = suffix[1] if suffix and not _DATE.fullmatch(suffix[1]) else ""
    path = _place(url)
    if not path.is_file():
        return _download(url, digest, "weights of unknown licence", where)
    _check(path, digest, url, where)
    return path


def _download(url: str, digest: str, about: str, where: str) -> Path:
    from .download import download  # brings urllib, which listing components should not wait for

    path = _place(url)
    found = download(url, path, digest, about, where)
    if not digest:
        print(f"not checked, for no sha256 of it is published: {path}, sha256 {found}", file=sys.stderr)
    return path


def _place(url: str) -> Path:
    """Where a URL's file lies: in a folder of its own, for file names repeat."""
    name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2]) or "checkpoint"
    return cache_root() / "weights" / hashlib.sha256(url.encode()).hexdigest()[:12] / name


def _check(path: Path, digest: str, name: str, where: str) -> None:
    if digest and path.is_file():
        found = sha256(path)
        if not found.startswith(digest):
            problem = f"{path} is not {name}: its sha256 begins with {found[: max(8, len(digest))]}, not {digest}"
            raise InputError(where, problem, "delete it and download it again")
