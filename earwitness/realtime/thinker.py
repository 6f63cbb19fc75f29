"""Carries out ``Listen``, ``Begin`` and ``Stop`` of the sessions on an engine that holds sessions.

Sound is encoded in one thread (the ear) and everything else runs in another (the desk), so that an answer being spoken
does not wait for another conversation's sound. A context is kept from turn to turn: only what is new is prefilled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from earwitness import prompt
from earwitness.engines.protocol import Sampling
from earwitness.engines.session import Clip, Session, SessionEngine
from earwitness.realtime import history
from earwitness.realtime.answer import Answer, Prefills
from earwitness.realtime.desk import Desk
from earwitness.realtime.orders import Begin
from earwitness.realtime.pace import Pace
from earwitness.realtime.response import Finish
from earwitness.realtime.speaker import Speaker

_LOG = logging.getLogger("earwitness.realtime")


class Listener(Protocol):
    """What thinks for one connection. Methods return at once; what they bring about goes to a ``Speaker``."""

    def listen(self, turn: str, wave: np.ndarray) -> None:
        """Take new sound of the open turn."""

    def forget(self, turn: str) -> None:
        """Drop the open turn."""

    def begin(self, order: Begin, speaker: Speaker) -> None:
        """Start to answer."""

    def stop(self, generation: int) -> None:
        """Stop an answer; harmless when it is over."""

    def close(self) -> None:
        """Give everything back."""


class Thinker(Protocol):
    """What thinks for all connections of a server."""

    def start(self) -> None:
        """Begin to work."""

    def connect(self) -> Listener:
        """Return what thinks for a new connection."""

    def close(self) -> None:
        """End the threads."""


def sampling_of(config: dict[str, Any], most: int) -> Sampling:
    """Return how tokens are chosen for a response's configuration; ``most`` bounds its length."""
    asked = config["max_output_tokens"]
    limit = most if asked == "inf" else min(most, int(asked))
    return Sampling(temperature=config.get("temperature", 0.0), max_new_tokens=limit)


def pace_of(config: dict[str, Any], pace: Pace) -> Pace:
    """Return the pace of a response: minimal effort is no thought at all, anything else the operator's choice."""
    effort = (config.get("reasoning") or {}).get("effort")
    return replace(pace, mode="direct") if effort == "minimal" else pace


@dataclass(eq=False)
class _Job:
    order: Begin
    speaker: Speaker
    stopped: bool = False
    answer: Answer | None = None


@dataclass
class _Read:
    """A prompt, ready to be written."""

    base: list[int]
    prefills: Prefills
    features: list[Any] = field(default_factory=list)


class SessionThinker:
    """Answers with a ``SessionEngine``."""

    def __init__(self, engine: SessionEngine, pace: Pace, max_new_tokens: int = 1024) -> None:
        self.engine, self.pace, self.max_new_tokens = engine, pace, max_new_tokens
        is_cpu = engine.model.device.type == "cpu"
        self._cores = 1 if is_cpu and _is_small(engine.model) else None
        self.desk = Desk(engine, width=4 if is_cpu else 64, begin=self._set_cores)
        self.ear = ThreadPoolExecutor(1, thread_name_prefix="earwitness-ear", initializer=self._set_cores)

    def _set_cores(self) -> None:
        """Use one core for a small model: the ear, the desk and the sockets then share the machine evenly."""
        import torch

        if self._cores is not None:
            torch.set_num_threads(self._cores)

    def start(self) -> None:
        """Begin to work, and run the model once: first calls are slow."""
        self.desk.start()
        self.desk.call(self._warm_up)

    def _warm_up(self) -> None:
        session = self.engine.open_session()
        self.engine.extend_audio(session, np.zeros(16_000, np.float32))
        self.engine.feed(session, prompt.encode(self.engine.tokenizer, [prompt.Segment(prompt.OPEN_CHAIN, True)]))
        tokens, _ = self.engine.choose([session], [Sampling()], [(0, 0)], [()])
        self.engine.push([session], tokens)
        self.engine.release(session)

    def connect(self) -> SessionListener:
        """Return what thinks for a new connection."""
        return SessionListener(self)

    def close(self) -> None:
        """End the threads."""
        self.ear.shutdown(wait=False, cancel_futures=True)
        self.desk.close()


class SessionListener:
    """One connection. ``_clips`` belongs to the ear, ``_context`` to the desk, ``_jobs`` to the event loop."""

    def __init__(self, thinker: SessionThinker) -> None:
        self._engine, self._desk, self._ear = thinker.engine, thinker.desk, thinker.ear
        self._thinker = thinker
        self._clips: dict[str, Clip] = {}
        self._context: Session | None = None
        self._jobs: dict[int, _Job] = {}
        self._closed = False

    # -- on the event loop ---------------------------------------------------------------------------------------------

    def listen(self, turn: str, wave: np.ndarray) -> None:
        """Take new sound; full chunks are encoded at once, the rest at the next pause."""
        self._in_ear(lambda: self._hear(turn, wave))

    def forget(self, turn: str) -> None:
        """Drop the open turn."""
        self._in_ear(lambda: self._clips.pop(turn, None))

    def begin(self, order: Begin, speaker: Speaker) -> None:
        """Start to answer."""
        job = _Job(order, speaker)
        self._jobs = {g: j for g, j in self._jobs.items() if j.answer is None or not j.answer.over}
        self._jobs[order.generation] = job
        self._in_ear(lambda: self._guarded(job, self._read_and_start))

    def stop(self, generation: int) -> None:
        """Stop an answer."""
        job = self._jobs.pop(generation, None)
        if job is not None:
            job.stopped = True
            job.speaker.stop()
            self._desk.call(lambda: self._drop(job))

    def close(self) -> None:
        """Stop everything and give the context back."""
        self._closed = True
        for generation in list(self._jobs):
            self.stop(generation)
        self._in_ear(self._clips.clear)
        self._desk.call(self._let_go)

    def _in_ear(self, what: Callable[[], Any]) -> None:
        try:
            self._ear.submit(what)
        except RuntimeError:  # the server ends
            _LOG.debug("sound came after the end")

    def _drop(self, job: _Job) -> None:
        if job.answer is not None:
            job.answer.close()

    def _let_go(self) -> None:
        if self._context is not None:
            self._engine.release(self._context)
            self._context = None

    # -- in the ear ----------------------------------------------------------------------------------------------------

    def _guarded(self, job: _Job, step: Callable[[_Job], None]) -> None:
        """Run a step of a job; what goes wrong ends that answer alone."""
        if job.stopped or self._closed:
            return
        try:
            step(job)
        except ValueError as error:
            job.speaker.end(Finish("failed", "request_failed", " ".join(str(error).split())[:300]))
        except Exception:
            _LOG.exception("an answer could not begin")
            message = "the engine failed before it answered; ask again, or look into the server's log"
            job.speaker.end(Finish("failed", "engine_failed", message))

    def _hear(self, turn: str, wave: np.ndarray) -> None:
        clip = self._clips.setdefault(turn, Clip())
        clip.add(wave)
        if clip.is_full:
            clip.encode(self._engine.encode)

    def _read_and_start(self, job: _Job) -> None:
        read = self._read(job.order)
        self._desk.call(lambda: self._guarded(job, lambda j: self._start(j, read)))

    def _read(self, order: Begin) -> _Read:
        """Return the prompt of an order with its sound encoded; the oldest turns go where it is too long."""
        found, heard = history.messages(order.items, order.config, order.turn)
        self._encode(order)
        self._clips = {name: clip for name, clip in self._clips.items() if name in heard or name == order.turn}
        limit = sampling_of(order.config, self._thinker.max_new_tokens).max_new_tokens
        most = self._engine.context - min(limit, self._engine.context // 4)
        while True:
            read = self._rendered(found, history.tools(order.config))
            if len(read.base) <= most:
                return read
            shorter = history.shortened(found)
            if shorter is None:
                raise ValueError(f"the last turn has {len(read.base)} tokens and at most {most} can be read; say less")
            found = shorter

    def _encode(self, order: Begin) -> None:
        """Encode what has not been. Sound that was answered stays as it was heard then, and is found in the cache."""
        answered = history.last_answer(order.items)
        for place, item in enumerate(order.items):
            name = item.data["id"]
            if item.wave is not None and name not in self._clips:
                self._clips[name] = Clip()
                self._clips[name].add(item.wave.astype(np.float32) / 32768)
            clip = self._clips.get(name)
            if clip is not None and (place > answered or not clip.features):
                clip.encode(self._engine.encode)
        if order.turn is not None:
            self._clips.setdefault(order.turn, Clip()).encode(self._engine.encode)

    def _rendered(self, messages: list[prompt.Message], tools: Sequence[dict[str, Any]] | None) -> _Read:
        clips = [self._clips[name].features for name in prompt.clips(messages)]
        counts = [[len(chunk) for chunk in clip] for clip in clips]
        opened, empty = (
            prompt.encode(self._engine.tokenizer, prompt.segments(messages, think, tools, audio_counts=counts))
            for think in (True, False)
        )
        same = next((i for i, (a, b) in enumerate(zip(opened, empty)) if a != b), min(len(opened), len(empty)) - 1)
        prefills = Prefills(opened[same:], empty[same:])
        return _Read(opened[:same], prefills, [chunk for clip in clips for chunk in clip])

    # -- at the desk ---------------------------------------------------------------------------------------------------

    def _start(self, job: _Job, read: _Read) -> None:
        engine = self._engine
        if self._context is None or self._context.pool is not engine.pool:
            self._context = engine.open_session()
        engine.write(self._context, read.base, read.features)
        base = engine.fork(self._context)
        config, thinker = job.order.config, self._thinker
        room = engine.context - len(base.ids) - len(read.prefills.empty) - 8
        sampling = sampling_of(config, min(thinker.max_new_tokens, room))
        pace = pace_of(config, thinker.pace)
        job.answer = Answer(engine, base, read.prefills, job.speaker, pace, sampling, seed=job.order.generation)
        self._desk.answers.append(job.answer)


def _is_small(model: Any) -> bool:
    return sum(p.numel() * p.element_size() for p in model.parameters()) <= 256 << 20
