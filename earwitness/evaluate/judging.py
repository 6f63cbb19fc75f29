"""Asks a judge about what rules cannot decide: any engine, with every reply kept in a file so that none is paid twice.

An answer that the judge does not answer for, or only with what its task cannot read, stays unjudged, and is asked about
again the next time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from earwitness.engines.protocol import Engine, Request, Sampling
from earwitness.evaluate.run_records import drop_torn_line
from earwitness.evaluate.task import Prediction, Task
from earwitness.prompt import Message
from earwitness.records import append_line

# Calls in a row after which the judge is taken to be down.
_MAX_FAILURES_IN_A_ROW = 10
_FIRST_PAUSE_SECONDS = 0.5
_SAMPLED = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_new_tokens", "seed": "seed"}


class Judge:
    """A judge and what it has said, kept in one file; the name of the judge stands in its first line."""

    def __init__(self, keep: pathlib.Path, engine: Engine | None = None, concurrency: int = 8, tries: int = 4):
        """Read what is kept.

        Args:
            keep: JSON lines, made where they are missing.
            engine: the judge; without one only what is kept is used.
            concurrency: calls in flight.
            tries: of one call, each with other random numbers.

        Raises:
            ValueError: the file is of another judge, or a line of it is no reply.
        """
        self._path, self._engine, self._concurrency, self._tries = keep, engine, concurrency, tries
        self._kept: dict[str, str] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._failures = 0
        self.name = "" if engine is None else engine.name
        self.asked = 0
        """Calls that were answered now and not before."""
        self._read()

    def judge(self, task: Task, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions with the judge's replies; a call without a reply that can be read has ``""``."""
        self._failures = 0
        self._stopped.clear()
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                return list(pool.map(lambda prediction: self._judge(task, prediction), predictions))
            except BaseException:
                self._stopped.set()
                raise

    def _judge(self, task: Task, prediction: Prediction) -> Prediction:
        calls = task.judge_messages(prediction)
        replies = tuple(self._reply(task, prediction, messages, i, len(calls)) for i, messages in enumerate(calls))
        return dataclasses.replace(prediction, judged=replies) if any(replies) else prediction

    def _reply(self, task: Task, prediction: Prediction, messages: Sequence[Message], call: int, calls: int) -> str:
        key = hashlib.sha256(json.dumps([task.id, call, list(messages)]).encode()).hexdigest()[:32]
        if key in self._kept or self._engine is None:
            return self._kept.get(key, "")
        settings = {ours: task.judge[name] for name, ours in _SAMPLED.items() if name in task.judge}
        sampling = Sampling(**{"max_new_tokens": 1024, "temperature": 0.0, **settings})
        for attempt in range(self._tries):
            if self._failures >= _MAX_FAILURES_IN_A_ROW or self._stopped.wait(self._pause(attempt)):
                return ""
            request = Request(messages, think=None, seed=sampling.seed + calls * attempt + call, sampling=sampling)
            try:
                text = next(iter(self._engine.generate([request]))).answer
            except Exception:  # a judge may send anything; the answer then stays unjudged, which is counted
                continue
            # A reply can be read if the task finds a score where every call has it.
            if task.judged(dataclasses.replace(prediction, judged=(text,) * calls)) is not None:
                self._keep(key, text)
                return text
        with self._lock:
            self._failures += 1
        return ""

    @staticmethod
    def _pause(attempt: int) -> float:
        return _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) if attempt else 0.0

    # -- the file ------------------------------------------------------------------------------------------------------

    def _keep(self, key: str, text: str) -> None:
        with self._lock:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                append_line(self._path, json.dumps({"judge": self.name}) + "\n")
            append_line(self._path, json.dumps({"key": key, "reply": text}) + "\n")
            self._kept[key] = text
            self._failures = 0
            self.asked += 1

    def _read(self) -> None:
        if not self._path.exists():
            return
        drop_torn_line(self._path)
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                if number == 1:
                    before = str(row["judge"])
                else:
                    self._kept[str(row["key"])] = str(row["reply"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self._path}, line {number} is no reply of a judge; remove the file") from error
        if self._kept and self.name not in ("", before):
            raise ValueError(f"{self._path} was judged by {before}, not by {self.name}; give that, or remove the file")
        self.name = self.name or (before if self._kept else "")
