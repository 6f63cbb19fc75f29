"""What a chain says about the sound: a ``Claim`` is a statement that a measurement can bear out or contradict."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "pitch_value",  # the second note is C4; the voice is at about 200 Hz
    "order",  # A is higher, louder, longer, brighter than B, or equal to it; ``aspect`` says in what
    "extreme",  # A is the highest, loudest, longest ... of all
    "level",  # A is high, loud, long ... among the others
    "interval",  # A and B are 12 semitones, or an octave, apart
    "contour",  # the line rises, falls, goes up then down, stays
    "steps",  # how many notes are higher or lower than the one before
    "count",  # there are three notes
    "duration",  # it lasts 2.5 s
    "time",  # it begins at 1.2 s
    "tempo",  # 120 beats a minute; fast
    "rate",  # the speaker talks fast; 5 syllables a second
    "pause",  # there is a pause; of 0.5 s; none
    "intonation",  # the voice rises or falls at its end
    "liveliness",  # the voice is flat or lively
    "register",  # a deep voice, a high voice, a man, a woman
    "trend",  # it gets louder, it fades, it comes nearer
    "key",  # C# minor; a minor key
    "chord",  # the chord is minor
    "rhythm",  # long and short notes take turns
    "timbre",  # bright, dark, noisy, tonal, with vibrato, struck, held
    "noise",  # a clean or a noisy recording
    "overlap",  # two sounds at the same time
    "identity",  # a flute, a dog, a spoken word
    "speakers",  # one voice or two
)
"""Each has a check in ``verify``; some can only be contradicted, and a few never checked."""

ASPECTS = ("pitch", "loudness", "duration", "brightness", "speed", "distance")


@dataclass(frozen=True)
class Subject:
    """What a claim is about: which note, sound or voice, or which part of the clip."""

    unit: str = "clip"
    """``note``, ``sound``, ``word``, ``voice``, ``line`` (the notes as a melody) or ``clip``."""
    index: int | None = None
    """From 1; negative counts from the end."""
    extreme: tuple[str, str] | None = None
    """(aspect, ``most`` or ``least``): the highest note is ("pitch", "most")."""
    name: str = ""
    """The instrument, sound, person or word that is named, in lower case."""
    span: tuple[float, float] | None = None
    """Seconds, where the text gives them."""
    part: str = ""
    """``start``, ``middle`` or ``end`` of the clip."""

    def __str__(self) -> str:
        if self.span is not None:
            return f"{self.unit} at {self.span[0]:g} to {self.span[1]:g} s"
        number = {None: "", -1: "last "}.get(self.index, f"{self.index} ")
        words = [self.unit if not number or self.index == -1 else f"{self.unit} {self.index}"]
        words = [number.strip(), *words] if self.index == -1 else words
        if self.extreme:
            words.insert(0, f"{self.extreme[1]} in {self.extreme[0]}:")
        return " ".join([*words, self.name, f"({self.part})" if self.part else ""]).strip()


@dataclass(frozen=True)
class Claim:
    """One statement about the sound."""

    kind: str
    text: str
    """The words of the chain that make it."""
    start: int
    """Where they are in the chain, with ``end``, in characters."""
    end: int
    subject: Subject = field(default_factory=Subject)
    value: Any = None
    """A text such as ``rising`` or ``C4``, a number, or for comparisons ``more``, ``less`` or ``equal``."""
    aspect: str = ""
    """One of ``ASPECTS`` where the kind needs it."""
    other: Subject | None = None
    """What the subject is compared with; None where the text leaves it open."""
    unit: str = ""
    is_rough: bool = False
    """The text says about, around or roughly."""
    is_negated: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a claim cannot be of kind {self.kind!r}; it is one of {', '.join(KINDS)}")

    def moved(self, offset: int) -> Claim:
        """Return the claim at a place ``offset`` characters later."""
        return dataclasses.replace(self, start=self.start + offset, end=self.end + offset)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that say something."""
        record = {"kind": self.kind, "text": self.text, "start": self.start, "end": self.end}
        record |= {"subject": str(self.subject), "value": self.value, "aspect": self.aspect, "unit": self.unit}
        record |= {"other": str(self.other) if self.other else "", "negated": self.is_negated}
        return {k: v for k, v in record.items() if v not in ("", None) and v is not False}
