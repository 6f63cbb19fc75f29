"""A chain -> its acoustic claims, whole or while it streams."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from earwitness.grounding import comparisons, listing, qualities, sentences, shapes, values
from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.scene import Scene
from earwitness.grounding.sentences import Sentence

_FINDERS = (listing, values, comparisons, qualities, shapes)
_LIST = re.compile(r"\bI hear:?\s+1\s", re.IGNORECASE)
# "I look for soft lowest": from here on, the lowest is the lowest of the soft ones.
_GOAL = re.compile(
    r"\bI look for (?:after )?(loud|soft|quiet|long|short) (?:high|low|long|short|loud|soft)est\b", re.IGNORECASE
)
# "From C4 up to E4: C#4 1, D4 2": semitones counted, not notes heard.
_WALK = re.compile(r"^\W*From [A-G]#?\d up to [A-G]#?\d:")
# Letters that mark up a text and would part words that belong together.
_MARKUP = str.maketrans({"*": " ", "_": " ", "`": " "})


class Extractor:
    """Reads a chain sentence by sentence and remembers what it last spoke about."""

    def __init__(self) -> None:
        self._carried: Subject | None = None
        self._unit = "note"
        self._among = ""

    def read(self, sentence: Sentence) -> list[Claim]:
        """Return the claims of the next sentence, in the order of their places, each once."""
        sentence = Sentence(sentence.text.translate(_MARKUP), sentence.start)
        if goal := _GOAL.search(sentence.text):
            self._among = goal[1].lower()
        if _WALK.search(sentence.text):
            return []
        if _LIST.search(sentence.text):
            found = list(listing.find(sentence))
            if found:
                self._unit = found[-1].subject.unit
                self._carried = None
            return found
        scene = Scene(sentence, self._carried, self._unit)
        claims = [claim for finder in _FINDERS[1:] for claim in finder.find(scene)]  # type: ignore[attr-defined]
        self._remember(scene)
        if self._among:
            claims = [dataclasses.replace(c, unit=self._among) if c.kind == "extreme" else c for c in claims]
        return _once(claims)

    def _remember(self, scene: Scene) -> None:
        named = [m.subject for m in scene.mentions if m.subject.span is None]
        for subject in named:
            if subject.unit in ("note", "sound", "word") and subject.index is not None:
                self._unit = subject.unit
        spoken = [s for s in named if s.unit != "clip" or s.part]
        if spoken:
            self._carried = spoken[0]  # "the second note is higher than the first. It is also louder."


def extract(chain: str) -> list[Claim]:
    """Return the acoustic claims of a chain in the order in which they stand there.

    A claim that is only supposed, asked, general or an option of the question is left out; one that is denied has
    ``is_negated``.
    """
    reader = Extractor()
    return [claim for sentence in sentences.split(chain) for claim in reader.read(sentence)]


class ClaimStream:
    """Yields the claims of a growing chain as its sentences end."""

    def __init__(self) -> None:
        self._reader, self._left, self._offset = Extractor(), "", 0

    def feed(self, text: str) -> list[Claim]:
        """Take the next piece of text and return the claims of the sentences that it finished."""
        self._left += text
        end = sentences.finished(self._left)
        return self._take(end) if end else []

    @property
    def position(self) -> int:
        """Where the first sentence begins that has not ended yet, in characters."""
        return self._offset

    def flush(self) -> list[Claim]:
        """Return the claims of what is left when the chain has ended."""
        return self._take(len(self._left))

    def _take(self, end: int) -> list[Claim]:
        found = sentences.split(self._left[:end], self._offset)
        self._left, self._offset = self._left[end:], self._offset + end
        return [claim for sentence in found for claim in self._reader.read(sentence)]


def _once(claims: list[Claim]) -> list[Claim]:
    """Return claims without those that say the same of the same, by place."""
    out: list[Claim] = []
    for claim in sorted(claims, key=lambda c: (c.start, c.end)):
        same = [
            c
            for c in out
            if (c.kind, c.subject, c.value, c.aspect) == (claim.kind, claim.subject, claim.value, claim.aspect)
        ]
        if not same:
            out.append(claim)
    return out


def pieces(chain: str, size: int = 7) -> Iterator[str]:
    """Yield a chain in pieces of ``size`` characters, as a server streams it."""
    for start in range(0, len(chain), size):
        yield chain[start : start + size]
