"""The gallery: every attack on one page, that needs no other file, no script and no net."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ...core.params import REQUIRED
from ...core.registry import Entry
from ..look import Look
from .sheet import draw

STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 0 1rem 3rem }
body { color: #1d1d1f; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin: 0 }
section { border-top: 1px solid #ccc; margin-top: 2rem; padding-top: 1rem }
nav a { display: inline-block; margin: 0 .8rem .3rem 0 }
.formula { background: #f3f4f6; border-radius: .4rem; padding: .5rem .8rem; overflow-wrap: anywhere }
.source, .brief { color: #555; font-size: .9rem }
.brief { color: #7a4b00 } .error { color: #b00018; font-weight: 600 }
.wide { overflow-x: auto } .wide img { display: block; width: 100%; min-width: 46rem; height: auto }
code { overflow-wrap: anywhere; font-size: .85rem }
dl { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .6rem 0 } dl div { display: flex; gap: .35rem }
dt { color: #555 } dd { margin: 0; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; font-size: .85rem }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top }
"""


@dataclass(frozen=True)
class Shown:
    """One attack of the page.

    Attributes:
        entry: The attack.
        spec: As it was run.
        changed: Parameters that differ from the defaults to keep the gallery brief, as `name = value instead of default`.
        look: What it made; None where it failed.
        error: Why it failed, in one line.
    """

    entry: Entry
    spec: str
    changed: tuple[str, ...] = ()
    look: Look | None = None
    error: str = ""


def paragraphs(doc: str) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in doc.split("\n\n") if part.strip()]


def render(shown: Sequence[Shown], about: str) -> str:
    """The page as HTML.

    Args:
        shown: The attacks, in the order of the page.
        about: What they were run on.
    """
    names = [one.entry.name for one in shown]
    links = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    failed = sum(1 for one in shown if one.look is None)
    count = f"{len(shown)} attacks" + (f", {failed} of them failed" if failed else "")
    sections = "\n".join(_section(one) for one in shown)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vbench: attacks on a clip</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Attacks on a clip</h1>
<p>{escape(about)}. {count}. Each picture: the clip, the adversarial clip, and their difference, magnified, grey where nothing
changes; below each frame the norms of its change and what the model says when this frame and those before it are adversarial.</p>
<p class="brief">Settings are brief where it says so, and without a defence
an attack ends when the clip is fooled: the pictures show what attacks look like, not how strong they are.</p>
<nav>{links}</nav>
{sections}
</body>
</html>
"""


def _section(one: Shown) -> str:
    entry = one.entry
    summary, *others = paragraphs(entry.doc) or [""]
    formula = [text for text in others if text.startswith("Formula:")]
    source = [text for text in others if text.startswith("Source:")]
    parts = [f'<section id="{escape(entry.name)}">', f"<h2>{escape(entry.name)}</h2>", f"<p>{escape(summary)}</p>"]
    parts += [f'<p class="formula">{escape(text)}</p>' for text in formula]
    if one.look is None:
        parts.append(f'<p class="error">It failed: {escape(one.error)}</p>')
    else:
        parts += _made(one.look)
    if one.changed:
        parts.append(f'<p class="brief">Brief settings: {escape("; ".join(one.changed))}.</p>')
    parts += [_parameters(one), *(f'<p class="source">{escape(text)}</p>' for text in source), "</section>"]
    return "\n".join(part for part in parts if part)


def _made(look: Look) -> list[str]:
    picture = base64.b64encode(draw(look)).decode()
    (clean, clean_score, _), (said, score, right) = look.says(0), look.says(look.frames)
    outcome = f"{clean} {100 * clean_score:.1f} % \u2192 {said} {100 * score:.1f} % ({'not fooled' if right else 'fooled'})"
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in look.figures.items())
    alt = f"Contact sheet of {look.cell.attack and look.cell.attack.entry.name}: {outcome}"
    return [
        f"<p><strong>{escape(outcome)}</strong> {escape(look.remark)}</p>",
        f'<div class="wide"><img alt="{escape(alt)}" src="data:image/png;base64,{picture}"></div>',
        f"<dl>{figures}</dl>",
    ]


def _parameters(one: Shown) -> str:
    """The parameters with their defaults, folded away."""
    fields = one.entry.fields
    if not fields:
        return ""
    rows = [
        "<tr>"
        + "".join(
            f"<td>{escape(text)}</td>"
            for text in (
                field.name,
                "required" if field.default is REQUIRED else field.format(field.default),
                field.unit,
                field.help,
            )
        )
        + "</tr>"
        for field in fields
    ]
    head = "<tr><th>parameter</th><th>default</th><th>unit</th><th>what it does</th></tr>"
    table = f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'
    return f"<details><summary>Defaults</summary><p><code>{escape(one.spec)}</code> as run here</p>{table}</details>"
