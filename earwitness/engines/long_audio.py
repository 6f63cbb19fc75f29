"""Questions about recordings of any length, for every engine: windows, notes with times, one answer.

A recording that fits the model's context is better heard whole; see ``fits``. Beyond it, it is decoded window by
window, so memory does not grow with it, and windows run together as the engine allows.

    recording = audio.Recording("night.flac")
    reply = ask_long(engine, recording, "When is there an alarm?")
    print(reply.answer, reply.notes)
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from earwitness import audio, prompt
from earwitness.audio import Recording, Span
from earwitness.engines.long_questions import (
    Note,
    WindowQuestion,
    clock,
    condensing_question,
    event_answer,
    final_question,
    is_heard,
    join_transcripts,
    merge_events,
    merge_open,
    notes_of,
    window_question,
)
from earwitness.engines.protocol import Engine, OnEvent, Request, Sampling
from earwitness.records import Reply

_UNKNOWN_CONTEXT = 16_384  # of a server that does not say: the smallest of the published models
_TOKENS_PER_SECOND = 12.5
_FRAME_TOKENS = 64  # of roles and markers
_WINDOWS_IN_CONTEXT = 32  # a window of 10 s for the small model, 164 s for the largest
_WINDOW_RANGE = (2.0, 1200.0)
_PRECISE_SECONDS = 10.0  # a window that heard an event is narrowed down to this
_SECOND_HEARING_SECONDS = 0.5
_BATCH_WINDOWS, _BATCH_SECONDS = 128, 600.0  # sound that is held at once

OnNote = Callable[[Note, Any], None]


@dataclass
class LongReply(Reply):
    """A reply with the notes that it rests on."""

    notes: tuple[Note, ...] = ()
    windows: int = 0
    """How many were asked."""


def context_of(engine: Engine) -> int:
    """Return how many tokens an engine reads at once; a cautious number where it does not say."""
    return getattr(engine, "context", None) or _UNKNOWN_CONTEXT


def fits(engine: Engine, seconds: float, question: str, sampling: Sampling | None = None) -> bool:
    """Return whether a recording is heard whole: as a clip of one window, or one that leaves room for the reply."""
    if seconds <= _window_seconds(engine):
        return True
    room = min((sampling or Sampling()).max_new_tokens, context_of(engine) // 4)
    return _audio_tokens(seconds) + count_tokens(engine, question) + _FRAME_TOKENS + room <= context_of(engine)


def _window_seconds(engine: Engine) -> float:
    return min(max(context_of(engine) / _WINDOWS_IN_CONTEXT / _TOKENS_PER_SECOND, 5.0), 300.0)


def count_tokens(engine: Engine, text: str) -> int:
    """Return the tokens of a text, by the engine's tokenizer if it has one, else at most so many as usual."""
    tokenizer = getattr(engine, "tokenizer", None)
    return len(tokenizer.encode(text, add_special_tokens=False)) if tokenizer is not None else len(text) // 3 + 1


def _audio_tokens(seconds: float) -> int:
    chunks = math.ceil(seconds / audio.CHUNK_SECONDS)
    return math.ceil(seconds * _TOKENS_PER_SECOND) + 3 * chunks


def ask_long(
    engine: Engine,
    recording: Recording,
    question: str,
    *,
    choices: Sequence[str] = (),
    think: bool | None = True,
    seed: int = 0,
    sampling: Sampling | None = None,
    window_seconds: float | None = None,
    on_note: OnNote | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_event: OnEvent | None = None,
) -> LongReply:
    """Return the answer to a question about a recording that is heard window by window.

    Args:
        engine: any.
        recording: as opened by ``Recording``.
        question: about the whole recording; ``window_question`` says how windows are asked.
        choices: options of the final answer; then the model gives it.
        think: as in ``Request``, for windows and the final answer.
        seed: of every request.
        sampling: of every request.
        window_seconds: the longest window; by default what takes a thirty-second of the context.
        on_note: gets each note as it is taken, and the waveform of its window.
        on_progress: gets the seconds of the recording that are done.
        on_event: gets the pieces of the final answer, where a model writes it.

    Raises:
        ValueError: a window with its question that does not fit the context, before anything is computed.
        OSError: see ``Engine.generate``.
    """
    begun = time.perf_counter()
    asked = window_question(question) if not choices else WindowQuestion("open", question)
    job = _Job(engine, recording, asked, sampling or Sampling(), think, seed, on_note)
    window = job.check(window_seconds or _window_seconds(engine))
    notes = job.notes(window, on_progress)
    if asked.is_event:
        merged = merge_events(notes)
        reply = Reply(thinking="", answer=event_answer(asked.kind, merged))
    elif asked.kind == "transcript":
        merged = notes
        reply = Reply(thinking="", answer=join_transcripts(notes))
    else:
        merged = merge_open(notes, window / 10)
        reply = job.answer(prompt.question_text(question, choices), merged, on_event)
    fields = {f.name: getattr(reply, f.name) for f in dataclasses.fields(Reply)}
    fields |= {"audio_seconds": recording.seconds, "audio_tokens": job.audio_tokens}
    fields["seconds"] = time.perf_counter() - begun
    return LongReply(**fields, notes=tuple(merged), windows=job.windows)


@dataclass(frozen=True)
class _Window:
    """A window with the sound around it."""

    span: Span
    around: Span
    sound: Any
    """The waveform of ``around``."""

    @property
    def wave(self) -> Any:
        """The waveform of the window."""
        first = _sample(self.span.start - self.around.start)
        return self.sound[first : first + _sample(self.span.seconds)]


class _Job:
    """One question on its way through a recording."""

    def __init__(
        self,
        engine: Engine,
        recording: Recording,
        asked: WindowQuestion,
        sampling: Sampling,
        think: bool | None,
        seed: int,
        on_note: OnNote | None,
    ) -> None:
        self._engine, self._recording, self._asked = engine, recording, asked
        self._sampling, self._think, self._seed, self._on_note = sampling, think, seed, on_note
        self.windows = self.audio_tokens = 0

    def check(self, seconds: float) -> float:
        """Return the longest window; ``ValueError`` where it is out of range or cannot fit the context."""
        low, high = _WINDOW_RANGE
        if not low <= seconds <= high:
            raise ValueError(f"a window of {seconds:g} s is out of range; give {low:g} to {high:g} s")
        text = self._asked.for_window(Span(0.0, seconds), self._recording.seconds)
        tokens = _audio_tokens(seconds) + count_tokens(self._engine, text) + _FRAME_TOKENS
        context = context_of(self._engine)
        if tokens >= context:
            raise ValueError(
                f"a window of {seconds:g} s and the question have {tokens:,} tokens, {tokens - context + 1:,} more "
                f"than {self._engine.name or 'the model'} can read with a context of {context:,}; use a shorter "
                "window or a shorter question"
            )
        return seconds

    def notes(self, seconds: float, on_progress: Callable[[float], None] | None) -> list[Note]:
        """Return the notes of all windows, in order."""
        spans = self._recording.windows(seconds, events_only=self._asked.is_event)
        sounds = self._recording.sounds([self._around(span) for span in spans])
        notes: list[Note] = []
        for batch in _batches(spans):
            windows = [_Window(span, self._around(span), next(sounds)) for span in batch]
            for window, reply in self._events(windows) if self._asked.is_event else self._ask(windows):
                found = self._taken(window.span, reply)
                notes += found
                for note in found:
                    if self._on_note is not None:
                        self._on_note(note, window.wave)
            if on_progress is not None:
                on_progress(batch[-1].end)
        if on_progress is not None:
            on_progress(self._recording.seconds)
        return notes

    def _around(self, span: Span) -> Span:
        """Return the stretch that is held for a window: what is needed to hear an event a second time."""
        more = _SECOND_HEARING_SECONDS if self._asked.is_event else 0.0
        return Span(max(0.0, span.start - more), min(self._recording.seconds, span.end + more))

    def _taken(self, span: Span, reply: Reply) -> list[Note]:
        """Return the notes that a reply to a window holds."""
        if self._asked.is_event:
            return [Note(span.start, span.end, "yes", reply.thinking)]
        if self._asked.kind == "transcript":
            return [Note(span.start, span.end, reply.answer, reply.thinking)] if reply.answer else []
        return notes_of(reply.answer, span, reply.thinking)

    def _events(self, windows: list[_Window]) -> list[tuple[_Window, Reply]]:
        """Return the windows that hold the event, with their replies, narrowed down to where it is.

        Every yes is asked again with more sound around it, and only what is heard both times counts: in hours of
        sound a model that is wrong once in a hundred would say more than is there.
        """
        heard: list[tuple[_Window, Reply]] = []
        asked = self._yes(windows)
        while asked:
            narrower: list[tuple[_Window, Reply]] = []
            for window, reply in asked:
                parts: list[tuple[_Window, Reply]] = []
                if window.span.seconds > _PRECISE_SECONDS:
                    cuts = self._recording.cut(window.span, window.span.seconds * 0.6)
                    parts = self._yes([dataclasses.replace(window, span=cut) for cut in cuts])
                narrower += parts
                heard += [] if parts else [(window, reply)]  # where only the whole gives it away, it stays
            asked = narrower
        again = [dataclasses.replace(window, span=self._wider(window)) for window, _ in heard]
        both = [is_heard(reply) for _, reply in self._ask(again)]
        return sorted((pair for pair, sure in zip(heard, both) if sure), key=lambda pair: pair[0].span.start)

    @staticmethod
    def _wider(window: _Window) -> Span:
        span, around, more = window.span, window.around, _SECOND_HEARING_SECONDS
        return Span(max(around.start, span.start - more), min(around.end, span.end + more))

    def _yes(self, windows: Sequence[_Window]) -> list[tuple[_Window, Reply]]:
        return [(window, reply) for window, reply in self._ask(windows) if is_heard(reply)]

    def _ask(self, windows: Sequence[_Window]) -> list[tuple[_Window, Reply]]:
        sampling = self._sampling
        most = max(64, context_of(self._engine) // 8)
        if sampling.max_new_tokens > most:
            sampling = dataclasses.replace(sampling, max_new_tokens=most)
        whole = self._recording.seconds
        requests = (self._request(self._asked.for_window(w.span, whole), [w.wave]) for w in windows)
        replies = list(self._engine.generate(requests, sampling))
        self.windows += len(replies)
        self.audio_tokens += sum(reply.audio_tokens for reply in replies)
        return list(zip(windows, replies, strict=True))

    def _request(self, text: str, clips: Sequence[Any] = ()) -> Request:
        return Request([prompt.user_message(text, clips)], think=self._think, seed=self._seed)

    def answer(self, question: str, notes: Sequence[Note], on_event: OnEvent | None) -> Reply:
        """Return the model's answer from the notes, shortened by itself as often as they are too long."""
        lines = [f"[{clock(note.start)}] {note.text}" for note in notes]
        room = context_of(self._engine) * 3 // 4
        while self._count(question, lines) > room and len(lines) > 1:
            groups = self._groups(question, lines, room)
            requests = [self._request(condensing_question(question, group)) for group in groups]
            short = [reply.answer for reply in self._engine.generate(requests, self._sampling)]
            # Each group may keep half of its room, so that this ends.
            lines = [text[: room // len(groups)] for text in short if text]
        text = final_question(question, lines, self._recording.seconds)
        return next(iter(self._engine.generate([self._request(text)], self._sampling, on_event)))

    def _count(self, question: str, lines: Sequence[str]) -> int:
        return count_tokens(self._engine, final_question(question, lines, self._recording.seconds)) + _FRAME_TOKENS

    def _groups(self, question: str, lines: Sequence[str], room: int) -> list[list[str]]:
        groups: list[list[str]] = [[]]
        for line in lines:
            if groups[-1] and self._count(question, [*groups[-1], line]) > room:
                groups.append([])
            groups[-1].append(line)
        return groups


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield runs of windows that are held in memory together."""
    batch: list[Span] = []
    for span in spans:
        if batch and (len(batch) == _BATCH_WINDOWS or sum(s.seconds for s in batch) + span.seconds > _BATCH_SECONDS):
            yield batch
            batch = []
        batch.append(span)
    if batch:
        yield batch


def _sample(seconds: float) -> int:
    return round(seconds * audio.SAMPLE_RATE)
