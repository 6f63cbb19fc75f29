"""What to ask of each window of a long recording, and how the notes of all windows become one answer.

A question that something occurs at all, such as "When is there an alarm?", is asked of every window as yes or no ("Is
there an alarm?"), and times and counts are read off the notes: arithmetic is no work for a model. Transcripts are
joined. For any other question each window's notes are taken in words, and the model answers from these.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from earwitness import prompt
from earwitness.audio import Span
from earwitness.records import Reply

Kind = Literal["times", "count", "presence", "transcript", "open"]
YES_NO = ("yes", "no")

_TIMES = re.compile(r"(?:when|at (?:what|which) times?)\s+(?P<rest>\S.*)", re.IGNORECASE | re.DOTALL)
_COUNT = re.compile(r"how (?:often|many times)\s+(?P<rest>\S.*)", re.IGNORECASE | re.DOTALL)
_PRESENCE = re.compile(r"(?P<rest>(?:(?:is|are|was|were) there|(?:do|can) you hear)\b.*)", re.IGNORECASE | re.DOTALL)
_AUXILIARY = re.compile(r"(?:is|are|was|were|do|does|did|can|could|has|have|had)\b", re.IGNORECASE)
# Then a window alone cannot tell.
_NEEDS_THE_WHOLE = re.compile(
    r"\b(?:first|second|third|last|next|before|after|until|more|most|less|least|\w+est)\b|,", re.IGNORECASE
)
_STAMP = re.compile(r"^\W*(\d{1,3}):(\d\d)(?::(\d\d))?(?:\W*(?:-|to)\W*\d{1,3}:\d\d(?::\d\d)?)?\W*")
_SAME = 0.85


@dataclass(frozen=True)
class Note:
    """What was heard in a stretch of the recording; times in seconds from its beginning."""

    start: float
    end: float
    text: str
    thinking: str = ""
    """The reasoning that led to it."""

    @property
    def span(self) -> Span:
        """Where it was heard."""
        return Span(self.start, self.end)


@dataclass(frozen=True)
class WindowQuestion:
    """How a question is asked of the windows."""

    kind: Kind
    text: str
    """What every window is asked; ``open`` ones are told their place, see ``for_window``."""

    @property
    def is_event(self) -> bool:
        """Whether a window answers with yes or no."""
        return self.kind in ("times", "count", "presence")

    def for_window(self, window: Span, whole_seconds: float) -> str:
        """Return what one window is asked."""
        if self.is_event:
            return prompt.question_text(self.text, YES_NO)
        if self.kind == "transcript":
            return self.text
        return (
            f"This is the part from {clock(window.start)} to {clock(window.end)} of a recording of "
            f"{clock(whole_seconds)}. Later, this will be asked of the whole recording: {self.text}\n"
            "Note what this part holds that bears on it, one note a line, each begun with its time from the start of "
            "this part as m:ss. If there is nothing, write: nothing."
        )


def window_question(question: str) -> WindowQuestion:
    """Return how a question about a whole recording is asked of its windows."""
    plain = question.strip()
    if plain == prompt.TASKS["transcribe"]:
        return WindowQuestion("transcript", plain)
    kinds: tuple[tuple[Kind, re.Pattern[str]], ...] = (("times", _TIMES), ("count", _COUNT), ("presence", _PRESENCE))
    for kind, pattern in kinds:
        match = pattern.fullmatch(plain.rstrip("?. "))
        if match and _AUXILIARY.match(match["rest"]) and not _NEEDS_THE_WHOLE.search(match["rest"]):
            rest = match["rest"]
            return WindowQuestion(kind, f"{rest[0].upper()}{rest[1:]}?")
    return WindowQuestion("open", plain)


def is_heard(reply: Reply) -> bool:
    """Return whether a reply says yes; one that broke off is no testimony."""
    return reply.status == "complete" and re.match(r"\W*yes\b", reply.answer, re.IGNORECASE) is not None


def notes_of(answer: str, window: Span, thinking: str = "") -> list[Note]:
    """Return the notes of an open window; a line without a time, or with one outside, is about all of it."""
    notes = []
    for line in answer.splitlines():
        match = _STAMP.match(line)
        text = line[match.end() :].strip() if match else line.strip(" \t-*")
        if not text or re.fullmatch(r"\W*nothing\b.{0,40}", text, re.IGNORECASE):
            continue
        span = window
        if match:
            parts = [int(part) for part in match.groups() if part is not None]
            at = window.start + sum(part * 60**i for i, part in enumerate(reversed(parts)))
            span = Span(at, at) if at <= window.end else window
        notes.append(Note(span.start, span.end, text, thinking))
    return notes


def merge_events(notes: Sequence[Note]) -> list[Note]:
    """Return notes of one thing in order; what two windows heard in the time that they share is one event."""
    merged: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start, n.end)):
        if merged and merged[-1].span.overlaps(note.span):
            last = merged.pop()
            start, end = max(last.start, note.start), min(last.end, note.end)  # it was heard in both
            note = Note(start, end, last.text, last.thinking)
        merged.append(note)
    return merged


def merge_open(notes: Sequence[Note], overlap_seconds: float) -> list[Note]:
    """Return notes in order without those that say the same within the time in which two windows overlap."""
    merged: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start, n.end)):
        near = [other for other in merged if note.start - other.end <= overlap_seconds]
        if not any(_alike(note.text, other.text) for other in near):
            merged.append(note)
    return merged


def _alike(a: str, b: str) -> bool:
    return difflib.SequenceMatcher(None, a.casefold(), b.casefold()).ratio() >= _SAME


def join_transcripts(notes: Sequence[Note]) -> str:
    """Return the text of all windows; words at the end of one that begin the next are written once."""
    words: list[str] = []
    for note in notes:
        new = note.text.split()
        most = min(len(words), len(new), 60)
        plain = [[re.sub(r"\W", "", w).casefold() for w in part] for part in (words[-most:] if most else [], new)]
        shared = next((n for n in range(most, 0, -1) if plain[0][-n:] == plain[1][:n]), 0)
        words += new[shared:]
    return " ".join(words)


def event_answer(kind: Kind, notes: Sequence[Note]) -> str:
    """Return the answer that merged notes of one thing give."""
    if kind == "count":
        return str(len(notes))
    times = [clock(n.start) if n.span.seconds < 5 else f"{clock(n.start)} to {clock(n.end)}" for n in notes]
    listed = times[0] if len(times) == 1 else f"{', '.join(times[:-1])} and {times[-1]}" if times else ""
    if kind == "presence":
        return f"yes, at {listed}" if notes else "no"
    return f"at {listed}" if notes else "never"


def final_question(question: str, notes: Sequence[str], whole_seconds: float) -> str:
    """Return what the model is asked once all windows were heard; notes are lines with their times."""
    listed = "\n".join(notes) or "(nothing was noted)"
    return (
        f"A recording of {clock(whole_seconds)} was heard part by part. These notes were taken:\n{listed}\n\n"
        f"Answer from these notes, with times where they matter: {question}"
    )


def condensing_question(question: str, notes: Sequence[str]) -> str:
    """Return what the model is asked where the notes are too many for one prompt."""
    listed = "\n".join(notes)
    return (
        f"These notes were taken of one part of a long recording:\n{listed}\n\nShorten them to what bears "
        f"on this question, and keep the times: {question}"
    )


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
