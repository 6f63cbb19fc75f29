"""Numbers and lists in plain English."""

from __future__ import annotations

from collections.abc import Sequence

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def ordinal(k: int) -> str:
    """Return the ordinal word of a position from 1 to 10: ``first`` for 1."""
    if not 1 <= k <= len(_ORDINALS):
        raise ValueError(f"position {k} has no ordinal word here; give 1 to {len(_ORDINALS)}")
    return _ORDINALS[k - 1]


def number_word(n: int) -> str:
    """Return the word of a number from 0 to 10: ``zero`` for 0."""
    if not 0 <= n < len(_NUMBERS):
        raise ValueError(f"number {n} has no word here; give 0 to {len(_NUMBERS) - 1}")
    return _NUMBERS[n]


def join_and(parts: Sequence[object]) -> str:
    """Return parts as an English list, ``a, b and c``; ``none`` where there are no parts."""
    words = [str(part) for part in parts]
    if len(words) < 2:
        return words[0] if words else "none"
    return f"{', '.join(words[:-1])} and {words[-1]}"
