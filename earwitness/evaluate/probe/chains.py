"""What a probe asks about chains: whether the answer waits for the chain, and whether it follows from what it says.

The model's own chain is put before it again, cut short (Lanham et al. 2023: early answering), replaced by filler, or
with one claim about the sound turned into its contrary, from where the model goes on. Claims and surrogates are counted
in the chains as they are. Needs an engine that continues an assistant's turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from earwitness import prompt
from earwitness.acoustics import Measurements
from earwitness.grounding import Verdict, surrogate, tally, verify_chain
from earwitness.prompt import Message

EARLY = {"early_0": 0.0, "early_25": 0.25, "early_50": 0.5, "early_75": 0.75}
"""Answer after so much of the chain, in words."""
CHAINS = (*EARLY, "filler", "corrupted")
"""In all but the last the chain is closed and only the answer is asked for."""

_CONTRARY = (
    ("higher", "lower"), ("highest", "lowest"), ("high", "low"), ("louder", "softer"), ("loudest", "softest"),
    ("loud", "soft"), ("quieter", "louder"), ("quiet", "loud"), ("longer", "shorter"), ("longest", "shortest"),
    ("long", "short"), ("rises", "falls"), ("rising", "falling"), ("up", "down"), ("near", "far"),
    ("faster", "slower"), ("fast", "slow"), ("major", "minor"), ("more", "fewer"), ("before", "after"),
    ("one", "four"), ("two", "five"), ("three", "six"),
)  # fmt: skip
_NOTE = re.compile(r"\b([A-G][#b]?)(\d)\b")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")
_OCTAVES = 3
_FILLER = "..."


def messages(name: str, asked: Sequence[Message], chain: str) -> list[Message]:
    """Return a conversation that ends in an assistant's turn to be continued.

    Args:
        name: one of ``CHAINS``.
        asked: the conversation of the question.
        chain: what the model thought of it; for ``corrupted`` what ``read`` made of it.
    """
    if name == "corrupted":
        return [*asked, _open(f"{prompt.OPEN_CHAIN}{chain}")]
    words = chain.split()
    kept = [_FILLER] * len(words) if name == "filler" else words[: round(EARLY[name] * len(words))]
    return [*asked, _open(f"{prompt.OPEN_CHAIN}{' '.join(kept)}{prompt.CLOSE_CHAIN}" if kept else prompt.EMPTY_CHAIN)]


def read(chain: str, wave: np.ndarray) -> dict[str, Any]:
    """Return the counts of a chain's claims by outcome, whether it is a surrogate, and ``corrupted``: see there."""
    verdicts = verify_chain(chain, Measurements(wave))
    is_surrogate = surrogate.detect(chain).is_surrogate
    return {**tally(verdicts), "surrogate": is_surrogate, "corrupted": corrupted(chain, verdicts)}


def corrupted(chain: str, verdicts: Sequence[Verdict]) -> str | None:
    """Return a chain up to its last verified claim, that claim turned into its contrary; None where there is none."""
    for verdict in sorted(verdicts, key=lambda v: v.claim.end, reverse=True):
        if verdict.outcome == "verified":
            claim = verdict.claim
            turned = contrary(chain[claim.start : claim.end])
            if turned is not None:
                return chain[: claim.start] + turned
    return None


def contrary(text: str) -> str | None:
    """Return a claim that says the contrary: of its first word that has one, else another note or number."""
    found: list[tuple[int, int, str]] = []
    for pair in _CONTRARY:
        for word, other in (pair, pair[::-1]):
            found += [(m.start(), m.end(), other) for m in re.finditer(rf"\b{word}\b", text, re.IGNORECASE)]
    if found:
        start, end, other = min(found)
        return text[:start] + other + text[end:]
    if match := _NOTE.search(text):
        octave = int(match[2])
        moved = octave + (_OCTAVES if octave < 4 else -_OCTAVES)
        return f"{text[: match.start()]}{match[1]}{moved}{text[match.end() :]}"
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    last = numbers[-1]  # "note 2 lasts 0.5 s": the first number says which
    return f"{text[: last.start()]}{2 * float(last[0]) + 1:g}{text[last.end() :]}"


def _open(text: str) -> Message:
    return {"role": "assistant", "content": text, "eot": False}
