"""Many questions: the clips of a folder, or the samples of a manifest, to a resumable table of answers."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from earwitness.commands import ask
from earwitness.commands.answer_file import AnswerFile
from earwitness.commands.progress import Progress
from earwitness.records import Reply, Sample, read_manifest

if TYPE_CHECKING:
    from earwitness.engines import Engine, Request, Sampling

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .aac .aif .aiff .au .caf .wma .webm .mp4 .mov .mkv .avi .3gp".split()
)
# Then it is not the single file that is wrong, but the folder or the disk.
_MAX_FAILURES_IN_A_ROW = 20


def run(args: argparse.Namespace, source: pathlib.Path, question: str) -> int:
    """Answer everything that has no answer yet; returns 1 where an item failed."""
    samples = _samples(args, source, question)
    if args.dry_run:
        first = _messages(samples[0], _base(source))
        ask.show_plan(args, ask.sampling_of(args), ask.thinks(args), first)
        print(f"questions: {len(samples):,}")
        return 0
    table = AnswerFile(args.out)
    todo = [s for s in samples if s.id not in table.answered]
    if len(todo) < len(samples):
        print(f"{len(samples) - len(todo):,} of {len(samples):,} are answered already", file=sys.stderr)
    if not todo:
        return 0
    job = _Job(args, ask.load_engine(args), ask.sampling_of(args), _base(source))
    with Progress(len(todo), "questions") as progress:
        for sample, reply in job.answers(todo):
            table.append(_row(sample, reply))
            progress.advance(note=f"{job.audio_seconds:,.0f} s of audio")
    if job.failed:
        again = "run the same command again to retry them" if args.out else "see above"
        print(f"earwitness: {job.failed:,} of {len(todo):,} questions failed; {again}", file=sys.stderr)
    return 1 if job.failed else 0


def _samples(args: argparse.Namespace, source: pathlib.Path, question: str) -> list[Sample]:
    choices = tuple(ask.choices_of(args))
    if source.is_dir():
        found = sorted(p for p in source.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
        if not found:
            raise ValueError(f"{source} is a folder without audio files; give a folder with {_some_suffixes()}")
        samples = [
            Sample(id=p.relative_to(source).as_posix(), audio=(str(p),), question=question, choices=choices)
            for p in found
        ]
    else:
        samples = list(read_manifest(source))
        if args.task:
            samples = [dataclasses.replace(s, question=question, messages=(), choices=()) for s in samples]
        if not samples:
            raise ValueError(f"{source} holds no questions; write one JSON object a line with id, audio and question")
        seen: set[str] = set()
        for sample in samples:
            if sample.id in seen:
                raise ValueError(f"{source} holds the id {sample.id!r} twice; ids name the answers and must differ")
            seen.add(sample.id)
    return samples[: args.limit] if args.limit else samples


def _some_suffixes() -> str:
    return ".wav, .flac, .mp3, .m4a or the like"


def _base(source: pathlib.Path) -> pathlib.Path | None:
    """Return the folder that a manifest's relative paths may start from."""
    return None if source.is_dir() else source.parent


def _messages(sample: Sample, base: pathlib.Path | None) -> list[dict[str, Any]]:
    """Return the sample's conversation with its clips loaded, so that a bad file is found before the model runs."""
    from earwitness import prompt

    messages = prompt.sample_messages(sample)
    for message in messages:
        if isinstance(message.get("content"), (list, tuple)):
            message["content"] = [_loaded(part, base) for part in message["content"]]
    return messages


def _loaded(part: Any, base: pathlib.Path | None) -> Any:
    if isinstance(part, dict) and part.get("type") == "audio" and isinstance(part.get("audio"), str):
        return {**part, "audio": ask.clip_of(part["audio"], base)}
    return part


def _row(sample: Sample, reply: Reply) -> dict[str, Any]:
    row: dict[str, Any] = {"id": sample.id, "audio": ";".join(map(str, sample.audio)), "question": sample.question}
    if sample.answer is not None:
        row["expected"] = sample.answer
    row |= {name: getattr(reply, name) for name in ask.JSON_FIELDS}
    return row | {"seconds": round(reply.seconds, 3), "audio_seconds": round(reply.audio_seconds, 3)}


class _Job:
    """Runs samples through the engine; one that fails is named on stderr and does not stop the others."""

    def __init__(self, args: argparse.Namespace, engine: Engine, sampling: Sampling, base: pathlib.Path | None) -> None:
        self._engine, self._sampling, self._base = engine, sampling, base
        self._think, self._seed, self._window = ask.thinks(args), args.seed, args.window
        self._long: list[Sample] = []
        self.failed = 0
        self._failed_in_a_row = 0
        self.audio_seconds = 0.0

    def answers(self, samples: list[Sample]) -> Iterator[tuple[Sample, Reply]]:
        """Yield every sample with its reply, in order, leaving out those that fail."""
        waiting = iter(samples)
        while True:
            pulled: list[tuple[Sample, Request]] = []
            replies = self._engine.generate(self._requests(waiting, pulled), self._sampling)
            answered = 0
            try:
                for reply in replies:
                    yield self._done(pulled[answered][0], reply)
                    answered += 1
                yield from self._in_windows()
                return
            except ValueError:
                # One of the pulled requests cannot be run, such as a prompt past the context. Find it alone.
                if len(pulled) == answered:
                    raise
                yield from self._one_by_one(pulled[answered:])

    def _requests(self, samples: Iterator[Sample], pulled: list[tuple[Sample, Request]]) -> Iterator[Request]:
        from earwitness.engines import Request

        for sample in samples:
            try:
                if self._is_long(sample):
                    self._long.append(sample)
                    continue
                messages = _messages(sample, self._base)
            except (ValueError, OSError) as error:
                self._fail(sample, error)
                continue
            tools = sample.tools or None
            request = Request(messages, think=self._think, tools=tools, seed=self._seed)
            pulled.append((sample, request))
            yield request

    def _is_long(self, sample: Sample) -> bool:
        """Return whether a sample asks about one recording that is to be heard in windows, after all others."""
        from earwitness import audio, prompt
        from earwitness.engines import long_audio

        if sample.messages or len(sample.audio) != 1 or str(sample.audio[0]).startswith("soundworld:"):
            return False
        if self._window is not None:
            return True
        seconds = audio.duration_seconds(ask.path_of(str(sample.audio[0]), self._base))
        text = prompt.question_text(sample.question, sample.choices)
        return not long_audio.fits(self._engine, seconds, text, self._sampling)

    def _in_windows(self) -> Iterator[tuple[Sample, Reply]]:
        from earwitness import audio
        from earwitness.engines import long_audio

        while self._long:
            sample = self._long.pop(0)
            try:
                reply = long_audio.ask_long(
                    self._engine,
                    audio.Recording(ask.path_of(str(sample.audio[0]), self._base)),
                    sample.question,
                    choices=sample.choices,
                    think=self._think,
                    seed=self._seed,
                    sampling=self._sampling,
                    window_seconds=self._window,
                )
            except ValueError as error:
                self._fail(sample, error)
                continue
            yield self._done(sample, reply)

    def _one_by_one(self, pulled: list[tuple[Sample, Request]]) -> Iterator[tuple[Sample, Reply]]:
        for sample, request in pulled:
            try:
                reply = next(iter(self._engine.generate([request], self._sampling)))
            except ValueError as error:
                self._fail(sample, error)
                continue
            yield self._done(sample, reply)

    def _done(self, sample: Sample, reply: Reply) -> tuple[Sample, Reply]:
        self._failed_in_a_row = 0
        self.audio_seconds += reply.audio_seconds
        return sample, reply

    def _fail(self, sample: Sample, error: Exception) -> None:
        self.failed += 1
        self._failed_in_a_row += 1
        print(f"earwitness: {sample.id}: {error}", file=sys.stderr)
        if self._failed_in_a_row >= _MAX_FAILURES_IN_A_ROW:
            raise OSError(
                f"{self._failed_in_a_row} questions failed in a row, the last because {error}; mend that and run again"
            )
