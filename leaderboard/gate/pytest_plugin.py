"""The pytest plug-in: the fixture `assert_no_regression`. It is loaded in every pytest run, so it imports nothing heavy."""

from collections.abc import Callable
from typing import Any

import pytest

from .asserting import assert_no_regression as check


@pytest.fixture(name="assert_no_regression", scope="session")
def _assert_no_regression() -> Callable[..., None]:
    """`assert_no_regression(store, baseline, policy=None)`: the gate of vbench as an assertion."""

    def assert_it(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        from ...benchmark.core.errors import InputError

        try:
            check(*args, **kwargs)
        except InputError as error:
            pytest.fail(f"vbench: {error}", pytrace=False)

    return assert_it
