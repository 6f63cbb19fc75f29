"""The part of ``ask`` that listens to a recording in windows: notes and progress on stderr while it listens."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from earwitness.commands.progress import Progress

if TYPE_CHECKING:
    from earwitness.audio import Recording
    from earwitness.engines import Engine, OnEvent, Sampling
    from earwitness.engines.long_audio import LongReply, Note

# A longer file is decoded in pieces from the start: most contexts cannot hold it, and memory should not.
_HELD_SECONDS = 1800.0


def opened(args: argparse.Namespace, names: list[str]) -> Recording | None:
    """Return the one recording that is too long to be held in memory, or that ``--window`` is given for."""
    from earwitness import audio

    if args.window is not None and len(names) > 1:
        raise ValueError(f"--window listens to one recording and {len(names)} are given; give one, or leave it out")
    if len(names) > 1 or names[0].startswith("soundworld:"):
        return None
    if args.window is None and audio.duration_seconds(names[0]) <= _HELD_SECONDS:
        return None
    return audio.Recording(names[0])


def is_whole(args: argparse.Namespace, engine: Engine, seconds: float, text: str, sampling: Sampling) -> bool:
    """Return whether a recording is heard as one clip."""
    from earwitness.engines import long_audio

    return args.window is None and long_audio.fits(engine, seconds, text, sampling)


def beyond(
    args: argparse.Namespace, engine: Engine, clips: list[Any], text: str, sampling: Sampling
) -> Recording | None:
    """Return the one clip that does not fit the context, opened for windows; None where it fits."""
    from earwitness import audio

    if len(clips) > 1 or is_whole(args, engine, len(clips[0]) / audio.SAMPLE_RATE, text, sampling):
        return None
    return audio.Recording(clips[0])


def answer(
    args: argparse.Namespace,
    engine: Engine,
    recording: Recording,
    question: str,
    sampling: Sampling,
    on_event: OnEvent | None,
) -> tuple[LongReply, list[dict[str, Any]]]:
    """Return (the reply, the notes for JSON); ``--verify`` checks each note's chain against its own window."""
    from earwitness.commands import ask
    from earwitness.engines import long_audio

    taken = _Notes(args.verify, is_shown=not args.json)
    with Progress(round(recording.seconds), "s of audio") as progress:
        reply = long_audio.ask_long(
            engine,
            recording,
            question,
            choices=ask.choices_of(args),
            think=ask.thinks(args),
            seed=args.seed,
            sampling=sampling,
            window_seconds=args.window,
            on_note=taken.add,
            on_progress=lambda done: progress.advance(round(done) - progress.done, f"{taken.count:,} notes"),
            on_event=on_event,
        )
    return reply, [taken.record(note) for note in reply.notes]


class _Notes:
    """Shows notes as they are taken, and keeps the verdicts on the chains that led to them."""

    def __init__(self, verify: bool, is_shown: bool) -> None:
        self._verify, self._is_shown, self.count = verify, is_shown, 0
        self._claims: list[tuple[Note, list[dict[str, Any]]]] = []

    def add(self, note: Note, wave: Any) -> None:
        """Take a note and the sound of its window."""
        from earwitness.engines.long_questions import clock

        self.count += 1
        chain = note.thinking
        if self._verify:
            from earwitness.acoustics import Measurements
            from earwitness.commands.claim_marks import ClaimMarks

            marks = ClaimMarks(Measurements(wave))
            chain = marks.feed(chain) + marks.flush()
            self._claims.append((note, [v.to_json() for v in marks.verdicts]))
        if self._is_shown:
            print(f"[{clock(note.start)}] {note.text}" + (f"  {chain}" if self._verify else ""), file=sys.stderr)

    def record(self, note: Note) -> dict[str, Any]:
        """Return a note for JSON."""
        row: dict[str, Any] = {"start": round(note.start, 2), "end": round(note.end, 2), "text": note.text}
        row |= {"thinking": note.thinking} if note.thinking else {}
        if self._verify:  # merged notes keep the chain of one of them, and lie within its window
            near = [c for n, c in self._claims if n.thinking == note.thinking and n.start <= note.start <= n.end]
            row["claims"] = near[0] if near else []
        return row
