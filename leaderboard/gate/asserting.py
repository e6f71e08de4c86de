"""The gate as an assertion, for a test suite of one's own."""

from collections.abc import Sequence
from os import PathLike

# Nothing else at the top: pytest loads this file in every run on a machine where vbench is installed.


def assert_no_regression(
    store: str | PathLike[str] | Sequence[str | PathLike[str]],
    baseline: str | PathLike[str],
    policy: str | PathLike[str] | None = None,
    allow_inconclusive: bool = False,
) -> None:
    """Fails where `vbench check` would.

    Args:
        store: Folder of results, or several.
        baseline: File that `vbench baseline` wrote.
        policy: TOML file of tolerances; None for the default ones.
        allow_inconclusive: Whether cells with too few clips to see a forbidden drop may pass.

    Raises:
        AssertionError: A cell regressed, failed, is missing or cannot be judged; it names those cells and their lost clips.
        InputError: A file is missing, damaged or of another schema.
    """
    __tracebackhide__ = True
    from . import text
    from .check import check, end_of

    report = check([store] if isinstance(store, (str, PathLike)) else store, baseline, policy)
    end = end_of(report, allow_inconclusive)
    if end:
        raise AssertionError("\n" + text.failures(report))
