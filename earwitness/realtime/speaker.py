"""The voice of one answer: text comes in while it is written, clauses with their sound go out, in order.

What nobody can hear yet may be taken back: until ``release`` everything is kept here, and ``restart`` drops it.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from earwitness.prompt import END_THINK, THINK, TOOL_CALL, parse
from earwitness.realtime.response import Call, Finish, Piece, Speech, Thought
from earwitness.realtime.voice import Clauses, Voice

_LOG = logging.getLogger("earwitness.realtime")
_FIRST_CLAUSE = 32  # characters; at 15 a second two seconds of speech, long enough to make the next clause
_TAGS = (THINK, END_THINK, TOOL_CALL)


class Sayable:
    """What of an answer's text may be said: no marker of thinking, no tool call; what may become one waits."""

    def __init__(self) -> None:
        self.held = ""
        self.started = False

    def feed(self, text: str) -> str:
        """Return the text that is certain to be said."""
        self.held += text
        said = ""
        while not self.held.startswith(TOOL_CALL):
            start = self.held.find("<")
            if start < 0:
                said, self.held = said + self.held, ""
                break
            said, self.held = said + self.held[:start], self.held[start:]
            tag = next((tag for tag in _TAGS if self.held.startswith(tag)), None)
            if tag in (THINK, END_THINK):
                self.held = self.held.removeprefix(tag)
            elif tag is None:
                if any(tag.startswith(self.held) for tag in _TAGS):
                    break
                said, self.held = said + "<", self.held[1:]
        return self._fresh(said)

    def end(self) -> tuple[str, list[Call]]:
        """Return the last text and the calls."""
        rest, self.held = self.held, ""
        if not rest.startswith(TOOL_CALL):
            return self._fresh(rest), []
        reply = parse(rest, think=False)
        found = [Call(str(call["name"]), as_json(call["arguments"])) for call in reply.tool_calls]
        return self._fresh(reply.answer), found

    def _fresh(self, text: str) -> str:
        text = text if self.started else text.lstrip()
        self.started = self.started or bool(text)
        return text


def as_json(arguments: object) -> str:
    """Return the arguments of a call as JSON text."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Speaker:
    """``push``, ``end`` and ``restart`` are for the thinker's thread, ``release`` and ``stop`` for any."""

    def __init__(
        self,
        voice: Voice | None,
        pool: Executor,
        offer: Callable[[Piece], None],
        left_to_play: Callable[[], float],
        released: bool = True,
    ) -> None:
        """Hold the parts.

        Args:
            voice: what says the clauses; None for an answer in text.
            pool: has one thread, so that clauses stay in order.
            offer: takes pieces, from any thread.
            left_to_play: seconds of released sound that have not been played.
            released: whether the answer can be heard already.
        """
        self._voice, self._pool, self._offer, self._left_to_play = voice, pool, offer, left_to_play
        self._lock = threading.RLock()
        self.released, self.stopped = released, False
        self._kept: list[Piece] = []
        self._kept_seconds = 0.0
        self._waiting = 0
        """Clauses that the voice has not said."""
        self._take = 0
        """Counts restarts; what belongs to an earlier one is dropped."""
        self._begin()

    def _begin(self) -> None:
        self._text, self._clauses = Sayable(), Clauses(first=_FIRST_CLAUSE)

    @property
    def busy(self) -> bool:
        """Whether something is still being voiced."""
        return self._waiting > 0

    def ahead(self) -> float:
        """Return seconds of sound that were made and not played; infinity once nothing is wanted any more."""
        if self.stopped:
            return math.inf
        return self._left_to_play() if self.released else self._kept_seconds

    def think(self, text: str) -> None:
        """Hand on a piece of the chain."""
        if text:
            self._offer(Thought(text))

    def push(self, text: str) -> None:
        """Take more of the answer's text."""
        self._say(self._text.feed(text))

    def pause(self, whole: bool = False) -> None:
        """Say what is held back, because nothing more comes for a while; with ``whole`` only a clause that is whole."""
        for clause in self._clauses.settle() if whole else self._clauses.end():
            self._queue(Speech(clause))

    def call(self, call: Call) -> None:
        """Make a function call, after what was said before it."""
        self.pause()
        self._queue(call)

    def end(self, finish: Finish) -> None:
        """Say the rest, make the calls, and end the answer."""
        text, calls = self._text.end()
        self._say(text)
        self.pause()
        for call in calls:
            self._queue(call)
        self._queue(finish)

    def restart(self) -> None:
        """Take back everything that was said; only before it is released, else nothing happens."""
        with self._lock:
            if not self.released:
                self._take += 1
                self._kept, self._kept_seconds = [], 0.0
                self._begin()

    def release(self) -> None:
        """Let it be heard."""
        with self._lock:
            kept, self._kept, self.released = self._kept, [], True
            for piece in kept:
                self._offer(piece)

    def stop(self) -> None:
        """Nothing more is wanted."""
        with self._lock:
            self.stopped, self._kept = True, []

    def _say(self, text: str) -> None:
        if self._voice is None:
            if text:
                self._queue(Speech(text))
            return
        for clause in self._clauses.push(text):
            self._queue(Speech(clause))

    def _queue(self, piece: Piece) -> None:
        with self._lock:
            self._waiting += 1
            take = self._take
        try:
            self._pool.submit(self._voiced, piece, take)
        except RuntimeError:  # the pool is closed: the server ends
            self.stop()

    def _voiced(self, piece: Piece, take: int) -> None:
        """Say a clause, in the voice's thread; other pieces only keep their place in the order."""
        try:
            if self.stopped or take != self._take:
                return
            if isinstance(piece, Speech) and self._voice is not None:
                piece = Speech(piece.text, self._voice.say(piece.text), self._voice.rate)
            self._hand_on(piece, take)
        except Exception as error:
            _LOG.exception("a voice failed")
            self._hand_on(Finish("failed", "voice_failed", " ".join(str(error).split())[:300]), take)
        finally:
            with self._lock:
                self._waiting -= 1

    def _hand_on(self, piece: Piece, take: int) -> None:
        with self._lock:
            if self.stopped or take != self._take:
                return
            if self.released:
                self._offer(piece)
                return
            self._kept.append(piece)
            if isinstance(piece, Speech) and piece.wave is not None:
                self._kept_seconds += len(piece.wave) / piece.rate
