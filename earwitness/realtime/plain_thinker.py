"""Carries out the orders of sessions on any engine, by ``generate`` alone: one request for each answer.

Modes are ``direct``, ``think-before-speak``, and ``think-first`` as one segment of thought and the whole answer after
it; what needs two decodes at once needs an engine with sessions.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from earwitness import prompt
from earwitness.engines.protocol import Engine, Event, Request, Sampling
from earwitness.realtime import history
from earwitness.realtime.orders import Begin
from earwitness.realtime.pace import Pace
from earwitness.realtime.response import Call, Finish
from earwitness.realtime.speaker import Speaker, as_json
from earwitness.realtime.thinker import pace_of, sampling_of

_LOG = logging.getLogger("earwitness.realtime")
_MODES = ("direct", "think-first", "think-before-speak")
_MOST_ANSWERS = 32
_FAR_AHEAD = 20.0  # seconds of sound beyond which the engine waits


class PlainThinker:
    """Answers with the ``generate`` of any engine."""

    def __init__(self, engine: Engine, pace: Pace, max_new_tokens: int = 1024) -> None:
        """Hold the engine; ``ValueError`` for a mode that it cannot do."""
        if pace.mode not in _MODES:
            who = engine.name or type(engine).__name__
            raise ValueError(f"{who} cannot think while it speaks; choose --mode {', '.join(_MODES)}")
        self.engine, self.pace, self.max_new_tokens = engine, pace, max_new_tokens
        self.threads = ThreadPoolExecutor(_MOST_ANSWERS, thread_name_prefix="earwitness-mind")

    def start(self) -> None:
        """Begin to work."""

    def connect(self) -> PlainListener:
        """Return what thinks for a new connection."""
        return PlainListener(self)

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown(wait=False, cancel_futures=True)


class PlainListener:
    """One connection; everything but ``_answer`` happens on the event loop."""

    def __init__(self, thinker: PlainThinker) -> None:
        self._thinker = thinker
        self._turn: tuple[str, list[np.ndarray]] = ("", [])
        self._running: dict[int, tuple[Request, Speaker]] = {}

    def listen(self, turn: str, wave: np.ndarray) -> None:
        """Take new sound of the open turn."""
        if self._turn[0] != turn:
            self._turn = (turn, [])
        self._turn[1].append(wave)

    def forget(self, turn: str) -> None:
        """Drop the open turn."""
        self._turn = ("", [])

    def begin(self, order: Begin, speaker: Speaker) -> None:
        """Start to answer."""
        waves = {item.data["id"]: item.wave / np.float32(32768) for item in order.items if item.wave is not None}
        if order.turn is not None:
            heard = self._turn[1] if self._turn[0] == order.turn else []
            waves[order.turn] = np.concatenate([np.zeros(0, np.float32), *heard])
        found, _ = history.messages(order.items, order.config, order.turn)
        pace = pace_of(order.config, self._thinker.pace)
        sampling = sampling_of(order.config, self._thinker.max_new_tokens)
        if pace.mode == "think-first":
            sampling = replace(sampling, think_budget=pace.think_tokens)
        request = Request(
            _with_sound(found, waves), think=pace.mode != "direct", tools=history.tools(order.config), sampling=sampling
        )
        self._running[order.generation] = (request, speaker)
        self._thinker.threads.submit(self._answer, request, speaker, order.generation)

    def stop(self, generation: int) -> None:
        """Stop an answer."""
        request, speaker = self._running.pop(generation, (None, None))
        if request is not None and speaker is not None:
            request.cancel()
            speaker.stop()

    def close(self) -> None:
        """Stop everything."""
        for generation in list(self._running):
            self.stop(generation)

    def _answer(self, request: Request, speaker: Speaker, generation: int) -> None:
        def on_event(event: Event) -> None:
            (speaker.think if event.kind == "thinking" else speaker.push)(event.text)
            while speaker.ahead() > _FAR_AHEAD and not request.cancelled.is_set():
                time.sleep(0.05)

        try:
            (reply,) = self._thinker.engine.generate([request], Sampling(), on_event)
            for call in reply.tool_calls:
                speaker.call(Call(str(call["name"]), as_json(call["arguments"])))
            usage = _usage(reply)
            cut = reply.status == "truncated"
            speaker.end(Finish("incomplete" if cut else "completed", "max_output_tokens" if cut else None, usage=usage))
        except ValueError as error:
            speaker.end(Finish("failed", "request_failed", " ".join(str(error).split())[:300]))
        except Exception:
            _LOG.exception("the engine failed")
            message = "the engine failed while it answered; ask again, or look into the server's log"
            speaker.end(Finish("failed", "engine_failed", message))
        finally:
            self._running.pop(generation, None)


def _with_sound(messages: list[prompt.Message], waves: dict[str, Any]) -> list[prompt.Message]:
    """Return the messages with waves in place of the ids of items."""

    def sound(part: dict[str, Any]) -> dict[str, Any]:
        return {"type": "audio", "audio": waves[part["audio"]]} if part["type"] == "audio" else part

    return [
        {**m, "content": [sound(p) for p in m["content"]]} if isinstance(m["content"], list) else m for m in messages
    ]


def _usage(reply: Any) -> dict[str, Any]:
    written = reply.thinking_tokens + reply.answer_tokens
    return {
        "total_tokens": reply.audio_tokens + written,
        "input_tokens": reply.audio_tokens,
        "output_tokens": written,
    }
