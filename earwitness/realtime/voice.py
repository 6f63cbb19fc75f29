"""Text that is still being written -> speech, clause by clause.

``Voice`` is the one protocol of everything that speaks. The embedded default is espeak-ng in this process (extra
``realtime``), through ``soundworld.voices``; it says a first clause in a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from earwitness.realtime.response import Speech

_END = re.compile(r"[.!?;:,]+[\"')\]]*\s+|\n+|[\u3002\uff01\uff1f\uff0c\uff1b]\s*")
_SETTLED = re.compile(r"[^\W\d][.!?;:,]+[\"')\]]*$")  # after a digit more of the number may come
_PAUSES = {",": 0.10, ";": 0.15, ":": 0.15, ".": 0.25, "!": 0.25, "?": 0.25}  # seconds; ours
_ABBREVIATED = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e)\.\s+$")
# The protocol's voice names, for clients that name one; espeak-ng's variants, alike in nothing but that they differ.
VOICES = {
    "default": "en-US+m3",
    "alloy": "en-US+f2",
    "ash": "en-US+m1",
    "ballad": "en-US+m2",
    "cedar": "en-US+m3",
    "coral": "en-US+f1",
    "echo": "en-US+m4",
    "marin": "en-US+f3",
    "sage": "en-US+f4",
    "shimmer": "en-US+f5",
    "verse": "en-US+m5",
}


class Voice(Protocol):
    """Speaks clauses. One object serves one answer; ``say`` may be called from a worker's thread."""

    rate: int
    """Samples a second of what ``say`` returns."""

    def say(self, clause: str) -> np.ndarray:
        """Return the sound of a clause, (samples,) float32 in -1 to 1, with the pause that follows it."""


class Clauses:
    """Cuts text that is still being written into clauses; words, numbers and abbreviations stay whole.

    The clauses put together are the text, character for character.
    """

    def __init__(self, longest: int = 80, first: int | None = None) -> None:
        self.longest = longest
        """Characters after which a clause is cut between words, even without punctuation."""
        self.first = longest if first is None else first
        """The same for the very first clause, which somebody waits for."""
        self.rest = ""

    def push(self, text: str) -> list[str]:
        """Return the clauses that are complete once ``text`` was added."""
        self.rest += text
        found, start = [], 0
        for match in _END.finditer(self.rest):
            clause = self.rest[start : match.end()]
            if not _ABBREVIATED.search(clause) and any(c.isalnum() for c in clause):
                found.append(clause)
                start = match.end()
        self.rest = self.rest[start:]
        self.first = self.longest if found else self.first
        while len(self.rest) > self.first and (space := self.rest.rfind(" ", 1, self.first)) > 0:
            found.append(self.rest[: space + 1])
            self.rest = self.rest[space + 1 :]
            self.first = self.longest
        return found

    def settle(self) -> list[str]:
        """Return what is left if it ends as clauses do, because nothing more comes for a while."""
        return self.end() if _SETTLED.search(self.rest) and not _ABBREVIATED.search(f"{self.rest} ") else []

    def end(self) -> list[str]:
        """Return what is left, as a last clause."""
        rest, self.rest = self.rest, ""
        return [rest] if rest else []


class EspeakVoice:
    """espeak-ng. ``voice`` is a name of the protocol or one of espeak-ng's own such as ``en-US+f2``."""

    rate = 16_000

    def __init__(self, voice: str = "default", speed: float = 1.0) -> None:
        self.voice = VOICES.get(voice, voice)
        self.rate_wpm = round(min(max(170 * speed, 80), 450))

    def say(self, clause: str) -> np.ndarray:
        """Return the sound of a clause; of one without words, only its pause."""
        from earwitness.soundworld.voices import synthesise

        wave = np.zeros(0, np.float32)
        if any(c.isalnum() for c in clause):
            wave, _ = synthesise(clause.strip(), self.voice, rate_wpm=self.rate_wpm)
        return np.concatenate([wave, pause_after(clause, self.rate)])


def pause_after(clause: str, rate: int) -> np.ndarray:
    """Return the silence that the last mark of a clause asks for."""
    marks = re.findall(r"[.!?;:,]", clause[-4:])
    return np.zeros(int((_PAUSES[marks[-1]] if marks else 0.0) * rate), np.float32)


def speak(pieces: Iterable[str], voice: Voice) -> Iterator[Speech]:
    """Yield the clauses of a text that comes in pieces, each with its sound as soon as it is complete."""
    clauses = Clauses()
    for piece in pieces:
        for clause in clauses.push(piece):
            yield Speech(clause, voice.say(clause), voice.rate)
    for clause in clauses.end():
        yield Speech(clause, voice.say(clause), voice.rate)
