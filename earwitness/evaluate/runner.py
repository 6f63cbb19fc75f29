"""Runs the items of a task on any engine and scores them: resumable, bounded in memory, nothing dropped in silence.

Every item ends as a record with a reply or with the error that stopped it. A run that was killed is continued by
calling ``run_task`` again with the same folder: items with a reply are kept, those that failed are asked again. An
item's random numbers follow its id and repeat, so that neither order nor interruption changes an answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from earwitness.engines.protocol import Engine, Request, Sampling
from earwitness.evaluate.judging import Judge
from earwitness.evaluate.run_records import Key, RecordFile, Row
from earwitness.evaluate.run_summary import summarise
from earwitness.evaluate.statistics import shuffled
from earwitness.evaluate.task import Dataset, Decision, Prediction, Task, decide
from earwitness.prompt import Message
from earwitness.records import Reply, Sample

# Then it is not the items that are wrong, but the server, the folder or the disk.
_MAX_FAILURES_IN_A_ROW = 20
_MAX_ERROR_CHARACTERS = 300
_FIRST_PAUSE_SECONDS = 0.5
_REPLY_FIELDS = ("status", "thinking_tokens", "answer_tokens", "audio_tokens")
_TIMINGS = ("audio_seconds", "seconds", "first_token_seconds")

Messages = Callable[[Sample], Sequence[Message]]


@dataclass(frozen=True)
class Settings:
    """How the items are asked."""

    sampling: Sampling = field(default_factory=Sampling)
    prompt: str = "report"
    """One of ``Task.prompts``."""
    think: bool | None = True
    """As ``Request.think``."""
    repeats: int = 1
    """How often each item is asked, each time with other random numbers."""
    limit: int | None = None
    """Only the first items."""
    shuffle: int | None = None
    """Seed by which the choices of every item are put in another order; None leaves them."""
    concurrency: int = 0
    """Requests in flight at once, each on its own, as servers want it; 0 lets the engine batch them."""
    tries: int = 4
    """With ``concurrency``: how often an item is sent before its error is recorded, with growing pauses."""

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("limit", 1), ("concurrency", 0), ("tries", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")


@dataclass(frozen=True)
class _Job:
    """One question to put; it holds no sound, so that thousands of them may wait."""

    key: Key
    sample: Sample
    messages: Messages
    think: bool | None
    seed: int

    def request(self) -> Request:
        """Return the request with its clips in memory, so that a bad file is found before the model runs."""
        loaded = [_loaded(message) for message in self.messages(self.sample)]
        is_open = bool(loaded) and loaded[-1].get("eot") is False
        return Request(
            loaded, think=self.think, tools=self.sample.tools or None, continue_final=is_open, seed=self.seed
        )


def items(data: Dataset, settings: Settings) -> list[Sample]:
    """Return the samples that a run asks, in order, their choices shuffled where that is wanted."""
    samples = data.samples[: settings.limit]
    return [s if settings.shuffle is None else shuffled(s, settings.shuffle) for s in samples]


def distinct(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with an id each: of several with one id, all but the first get a number."""
    met: Counter[str] = Counter()
    found = []
    for sample in samples:
        met[sample.id] += 1
        again = met[sample.id] > 1
        found.append(dataclasses.replace(sample, id=f"{sample.id} ({met[sample.id]})") if again else sample)
    return found


def run_task(
    task: Task,
    data: Dataset,
    engine: Engine,
    settings: Settings,
    folder: pathlib.Path,
    messages: Messages | None = None,
    on_row: Callable[[Row], None] | None = None,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Ask what ``folder`` has no reply to, score everything, and return the summary, also in ``summary.json``.

    Args:
        task: decides what is asked and what is right.
        data: what ``task.load`` returned.
        engine: any; it is not closed.
        settings: how to ask.
        folder: of this task alone; made where it is missing.
        messages: the conversation of a sample, instead of ``task.messages``.
        on_row: called with every new record, for progress.
        judge: decides what rules cannot; without one such items stay unjudged, which is counted.

    Raises:
        ValueError: the folder holds a run with other settings or data.
        OSError: the disk is full, or twenty items in a row failed; what was answered is kept.
    """
    samples = items(data, settings)
    if not samples:
        raise ValueError(f"{task.id} has no items; give its published files with --data")
    task.text(samples[0], settings.prompt)  # raises for a prompt that the task does not have
    file = RecordFile(folder)
    _claim(folder, task, data, engine, settings)
    ask = messages or _own_messages(task, samples, settings.prompt)
    done = file.answered()
    keys = {(i, repeat): None for repeat in range(settings.repeats) for i in range(len(samples))}
    jobs = (_job((i, r), samples[i], ask, settings) for i, r in keys if (i, r) not in done)
    failures = 0
    for row in _rows(engine, jobs, settings):
        file.append(row)
        failures = failures + 1 if row["status"] == "error" else 0
        if on_row is not None:
            on_row(row)
        if failures >= _MAX_FAILURES_IN_A_ROW:
            raise OSError(f"{failures} items failed in a row, the last because {row['error']}; mend that and run again")
    return _score(task, data, samples, keys, file, folder, judge)


def waiting(samples: Sequence[Sample], settings: Settings, folder: pathlib.Path) -> int:
    """Return how many questions a run in this folder would still ask."""
    file = folder / "records.jsonl"
    done = RecordFile(folder).answered() if file.exists() else set()
    return sum((i, r) not in done for r in range(settings.repeats) for i in range(len(samples)))


def _claim(folder: pathlib.Path, task: Task, data: Dataset, engine: Engine, settings: Settings) -> None:
    """Write down what decides the answers; ``ValueError`` where the folder holds another run."""
    about: dict[str, Any] = {"task": task.id, "model": engine.name, "version": data.version, "sha256": data.sha256}
    about |= {"prompt": settings.prompt, "think": settings.think, "shuffle": settings.shuffle}
    about |= json.loads(json.dumps(dataclasses.asdict(settings.sampling)))
    path = folder / "run.json"
    if not path.exists():
        _write(path, about)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    for name in sorted(before.keys() | about.keys()):
        old, new = before.get(name), about.get(name)
        if old != new:
            raise ValueError(f"{folder} holds a run with {name} {old!r}, not {new!r}; give another --out folder")


# -- asking ------------------------------------------------------------------------------------------------------------


def _own_messages(task: Task, samples: Sequence[Sample], prompt: str) -> Messages:
    """Return ``task.messages``, which refuses an item without sound where others have one: it would be a guess."""
    is_heard = any(sample.audio for sample in samples)

    def messages(sample: Sample) -> Sequence[Message]:
        if is_heard and not sample.audio and task.is_heard(sample):
            raise ValueError(f"item {sample.id} has no audio; put its file where the data names it")
        return task.messages(sample, prompt)

    return messages


def _job(key: Key, sample: Sample, messages: Messages, settings: Settings) -> _Job:
    digest = hashlib.sha256(f"{settings.sampling.seed}/{sample.id}/{key[1]}".encode()).digest()
    return _Job(key, sample, messages, settings.think, int.from_bytes(digest[:8], "big") >> 1)


def _rows(engine: Engine, jobs: Iterator[_Job], settings: Settings) -> Iterator[Row]:
    if settings.concurrency:
        return _each_alone(engine, jobs, settings)
    return _in_batches(engine, jobs, settings)


def _in_batches(engine: Engine, jobs: Iterator[_Job], settings: Settings) -> Iterator[Row]:
    """Yield a row for each job; the engine reads them as it has room, and only those in its hands are kept."""
    pulled: deque[tuple[_Job, Request]] = deque()
    unreadable: deque[Row] = deque()

    def requests() -> Iterator[Request]:
        for job in jobs:
            try:
                request = job.request()
            except (ValueError, OSError) as error:
                unreadable.append(_failed(job, error))
                continue
            pulled.append((job, request))
            yield request

    while True:
        try:
            for reply in engine.generate(requests(), settings.sampling):
                yield _answered(pulled.popleft()[0], reply)
                while unreadable:
                    yield unreadable.popleft()
            yield from unreadable
            return
        except (ValueError, OSError):
            if not pulled:
                raise
            # One of the pulled requests cannot be run, such as a prompt past the context. Find it alone.
            while pulled:
                job, request = pulled.popleft()
                try:
                    row = _answered(job, next(iter(engine.generate([request], settings.sampling))))
                except (ValueError, OSError) as error:
                    row = _failed(job, error)
                yield row


def _each_alone(engine: Engine, jobs: Iterator[_Job], settings: Settings) -> Iterator[Row]:
    """Yield a row for each job as it ends; one that fails or stalls holds up no other."""
    stopped = threading.Event()
    running: set[Future[Row]] = set()
    pool = ThreadPoolExecutor(settings.concurrency)
    try:
        for job in jobs:
            running.add(pool.submit(_ask_again, engine, job, settings, stopped))
            if len(running) >= 2 * settings.concurrency:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _ask_again(engine: Engine, job: _Job, settings: Settings, stopped: threading.Event) -> Row:
    """Return the row of a job after as many tries as it needs and may have."""
    for attempt in range(1, settings.tries + 1):
        try:
            request = dataclasses.replace(job.request(), cancelled=stopped)
        except (ValueError, OSError) as error:
            return _failed(job, error)
        try:
            return _answered(job, next(iter(engine.generate([request], settings.sampling)))) | {"tries": attempt}
        except OSError as error:
            row = _failed(job, error) | {"tries": attempt}
        except Exception as error:  # a server's nonsense can break its client anywhere; the item is named, not lost
            return _failed(job, error) | {"tries": attempt}
        # Spread at random, so that requests that failed together do not return together.
        pause = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        if attempt < settings.tries and stopped.wait(pause):
            break
    return row


def _loaded(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, (list, tuple)):
        return message
    return {**message, "content": [_with_clip(part) for part in content]}


def _with_clip(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != "audio" or not isinstance(part.get("audio"), (str, bytes)):
        return part
    return {**part, "audio": load_clip(part["audio"])}


def load_clip(clip: Any) -> Any:
    """Return a clip as a 16 kHz waveform: an array as it is, bytes, a path or a SoundWorld address."""
    if hasattr(clip, "ndim"):
        return clip
    if isinstance(clip, str) and clip.startswith("soundworld:"):
        from earwitness import soundworld

        return soundworld.waveform(clip)
    from earwitness import audio

    return audio.load_audio(clip)


# -- records -----------------------------------------------------------------------------------------------------------


def _answered(job: _Job, reply: Reply) -> Row:
    row = _head(job) | {"output": reply.answer, "thinking": reply.thinking}
    row |= {name: getattr(reply, name) for name in _REPLY_FIELDS}
    return row | {name: round(getattr(reply, name), 3) for name in _TIMINGS}


def _failed(job: _Job, error: Exception) -> Row:
    said = " ".join(str(error).split())
    text = said if said and isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {said}"
    return _head(job) | {"output": None, "thinking": "", "status": "error", "error": text[:_MAX_ERROR_CHARACTERS]}


def _head(job: _Job) -> Row:
    return {"item": job.key[0], "repeat": job.key[1], "id": job.sample.id}


def _score(
    task: Task,
    data: Dataset,
    samples: Sequence[Sample],
    keys: dict[Key, None],
    file: RecordFile,
    folder: pathlib.Path,
    judge: Judge | None,
) -> dict[str, Any]:
    rows = {(row["item"], row["repeat"]): row for row in file.rows()}
    decisions: dict[Key, Decision] = {}
    for repeat in sorted({r for _, r in keys}):
        # Repeat by repeat, because an official scorer may carry state from item to item.
        asked = [key for key in keys if key[1] == repeat]
        found = [prediction(samples[key[0]], rows[key]) for key in asked]
        found = found if judge is None else judge.judge(task, found)
        decisions |= dict(zip(asked, decide(task, found)))
    for key, decision in decisions.items():
        verdict = {"official": decision.official, "robust": decision.robust, "rule": decision.rule}
        rows[key] |= {**verdict, "answer": decision.said}
        rows[key] |= {} if decision.judged is None else {"judged": decision.judged}
    file.replace(rows.values())
    found_rows = [rows[key] for key in keys]
    summary = summarise(task, data, samples, found_rows, [decisions[key] for key in keys])
    summary |= {} if judge is None else {"judge": judge.name}
    _write(folder / "summary.json", summary)
    return summary


def prediction(sample: Sample, row: Row) -> Prediction:
    """Return what a record says about a sample, as the scorers take it."""
    return Prediction(sample, row["output"], row["thinking"] or "", row["status"])


def _write(path: pathlib.Path, value: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
