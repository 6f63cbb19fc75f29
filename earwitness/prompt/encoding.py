"""Segments -> ids, with special tokens disarmed in what users wrote."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from earwitness.prompt.tokens import Segment

_ADDED: weakref.WeakKeyDictionary[Any, tuple[frozenset[str], tuple[int, ...], frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)


def encode(tokenizer: Any, pieces: Sequence[Segment]) -> list[int]:
    """Return the ids of a prompt; special tokens inside plain segments become ordinary text.

    The whole string is tokenised at once, as the published code does, and cut only inside a special token that plain
    text spells out, so that each half is tokenised alone and the token is never recognised.
    """
    text = "".join(piece.text for piece in pieces)
    if len(_added(tokenizer)[0]) == 0:
        return tokenizer.encode(text, add_special_tokens=False)
    plain: list[tuple[int, int]] = []
    start = 0
    for piece in pieces:
        if not piece.is_control:
            plain.append((start, start + len(piece.text)))
        start += len(piece.text)
    cuts = sorted({cut for low, high in plain for cut in _cuts(tokenizer, text, low, high)})
    bounds = [0, *cuts, len(text)]
    ids: list[int] = []
    for low, high in zip(bounds, bounds[1:]):
        ids += tokenizer.encode(text[low:high], add_special_tokens=False)
    return ids


def _added(tokenizer: Any) -> tuple[frozenset[str], tuple[int, ...], frozenset[str]]:
    if tokenizer not in _ADDED:
        tokens = frozenset(token for token in tokenizer.get_added_vocab() if len(token) > 1)
        lengths = tuple(sorted({len(token) for token in tokens}))
        _ADDED[tokenizer] = (tokens, lengths, frozenset(token[0] for token in tokens))
    return _ADDED[tokenizer]


def _cuts(tokenizer: Any, text: str, low: int, high: int) -> list[int]:
    """Return a position inside every special token that overlaps ``text[low:high]``."""
    tokens, lengths, first = _added(tokenizer)
    start = max(0, low - lengths[-1] + 1)
    return [
        max(p + 1, min(low, p + length - 1))
        for p in range(start, high)
        if text[p] in first
        for length in lengths
        if p + length > low and text[p : p + length] in tokens
    ]
