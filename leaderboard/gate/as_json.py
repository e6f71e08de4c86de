"""A verdict as JSON, whole."""

import dataclasses
import json
from typing import Any

from .judged import Exit, Judged, Report

SCHEMA = 1


def render(report: Report, end: Exit | None = None) -> str:
    """Everything the gate found; `null` where there is no number. Fractions are in [0, 1]."""
    found: dict[str, Any] = {"schema": SCHEMA, "exit": int(report.exit if end is None else end)}
    found |= {name: getattr(report, name) for name in ("baseline", "stores", "policy", "draws", "seed", "new")}
    found |= {"models": [_cell(one) for one in report.models], "cells": [_cell(one) for one in report.cells]}
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _cell(cell: Judged) -> dict[str, Any]:
    whole = dataclasses.asdict(cell) | {"drop": cell.drop}
    return {name: None if value != value else value for name, value in whole.items()}
