"""Chains and their claims as HTML: what a page that shows reasoning beside its sound is made of.

A page is one file without anything from elsewhere: styles, pictures and sound are in it. Templates extend
``page.html.jinja`` and take ``told`` from ``told.html.jinja``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from earwitness import audio
from earwitness.grounding.verdict import REFUTED, UNCHECKABLE, VERIFIED, Verdict

_WORST_FIRST = (REFUTED, UNCHECKABLE, VERIFIED)


@dataclass(frozen=True)
class Told:
    """One reply as a page shows it."""

    name: str
    """Of who said it, such as ``round 2``."""
    chain: Markup
    """With its claims marked."""
    answer: str
    remark: str = ""
    """What is to be said of it in a few words, such as ``right``."""


def marked(chain: str, verdicts: Sequence[Verdict]) -> Markup:
    """Return a chain as HTML in which every claim is a ``mark`` of the class of its outcome, its reason as a tooltip.

    Claims may overlap: what several share has the class of the worst outcome (refuted, uncheckable, verified).
    """
    edges = sorted({0, len(chain), *(v.claim.start for v in verdicts), *(v.claim.end for v in verdicts)})
    out = Markup()
    for start, end in zip(edges, edges[1:]):
        here = [v for v in verdicts if v.claim.start <= start and end <= v.claim.end]
        text = chain[start:end]
        if not here:
            out += text
            continue
        outcome = min((v.outcome for v in here), key=_WORST_FIRST.index)
        why = "; ".join(f"{v.claim.text}: {v.outcome}, {v.reason}" for v in here)
        ends = " ends" if any(v.claim.end == end for v in here) else ""
        out += Markup('<mark class="{}{}" title="{}">{}</mark>').format(outcome, ends, why, text)
    return out


def player(wave: np.ndarray) -> Markup:
    """Return an ``audio`` element that holds a waveform (samples,) at 16 kHz."""
    data = base64.b64encode(audio.encode_wav(wave)).decode()
    return Markup('<audio controls preload="none" src="data:audio/wav;base64,{}"></audio>').format(data)


def render(package: str, template: str, **values: Any) -> str:
    """Return a page from a template beside a package's code; it may extend and import the templates here."""
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader("earwitness.grounding", "")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)
