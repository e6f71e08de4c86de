"""A verdict as a JUnit file, which every CI server reads."""

from itertools import groupby
from xml.etree import ElementTree

from .judged import Judged, Report
from .words import counts, flips, plain, told

OUTCOMES = {"REGRESSED": "failure", "ERROR": "error", "MISSING": "error", "INCOMPARABLE": "error", "INCONCLUSIVE": "skipped"}
"""What JUnit calls them; SUSPECT, IMPROVED and PASS are passed tests."""


def render(report: Report) -> str:
    """XML: a suite per model and defence, a case per attack or corruption and threat.

    What fails nothing, because its tier is advisory or somebody accepted it, is skipped.
    """
    root = ElementTree.Element("testsuites", name="vbench check")
    cells = sorted((*report.models, *report.cells), key=_suite)  # stable: the worst first within a suite
    for name, group in groupby(cells, key=_suite):
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        found = [_case(suite, name, cell) for cell in group]
        totals = {"tests": len(found), "failures": found.count("failure"), "errors": found.count("error")}
        for key, value in (totals | {"skipped": found.count("skipped")}).items():
            suite.set(key, str(value))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _suite(cell: Judged) -> str:
    return plain("|".join(cell.name.split("|", 2)[:2]))


def _case(suite: ElementTree.Element, name: str, cell: Judged) -> str:
    """Adds the cell; returns its outcome."""
    case = ElementTree.SubElement(suite, "testcase", classname=name, name=plain(cell.name.split("|", 2)[-1]))
    outcome = OUTCOMES.get(cell.verdict, "")
    if outcome and not counts(cell):
        outcome = "skipped"
    text = "\n".join([f"{cell.verdict}: {told(cell)}", *(f"{way}: {named}" for way, named in flips(cell))])
    if outcome == "skipped":
        ElementTree.SubElement(case, outcome, message=text)
    elif outcome:
        ElementTree.SubElement(case, outcome, type=cell.verdict, message=f"{cell.verdict} {plain(cell.name)}").text = text
    else:
        ElementTree.SubElement(case, "system-out").text = text
    return outcome
