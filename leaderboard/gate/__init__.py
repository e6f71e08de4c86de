"""The regression gate: a store against a baseline, paired on the same clips."""

from .asserting import assert_no_regression

__all__ = ["assert_no_regression"]
