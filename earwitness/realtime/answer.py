"""One answer being thought and said at once: Mind-Paced Speaking (arXiv 2510.09592) as a state machine over tokens.

Formulation writes the chain S_1 S_2 ..; articulation writes the answer R_1 R_2 .. . Both are decodes of the same
weights: for every segment of the answer a fork of the formulation's context gets its chain closed and what was said so
far, ``X <think> S_1..S_n </think> R_1..R_{n-1}``, and goes on with R_n (eq. 3 there). When the chain has ended, the
last segment goes on to the end. Beyond the paper:

- as long as nothing can be heard, the answer is made anew once the chain has ended;
- where the answer had ended before the chain, it is asked for again after the whole chain, unheard, and what comes is
  said as a correction if it differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from earwitness.engines.protocol import Sampling
from earwitness.engines.stream import Detokenizer
from earwitness.prompt import END_THINK
from earwitness.realtime.pace import Pace
from earwitness.realtime.response import Finish
from earwitness.realtime.speaker import Speaker

_FAR_AHEAD = 20.0  # seconds of sound beyond which nothing more is made
_WORD = re.compile(r"\w+")


class Minds(Protocol):
    """What an answer needs of an engine with sessions; see ``engines.session.SessionEngine``."""

    tokenizer: Any
    markers: Any
    hushed: tuple[int, ...]

    def fork(self, session: Any) -> Any:
        """Return a copy of a session."""

    def feed(self, session: Any, ids: Sequence[int]) -> None:
        """Append tokens."""

    def write(self, session: Any, ids: Sequence[int], features: Sequence[Any]) -> None:
        """Make a session hold exactly these tokens."""

    def release(self, session: Any) -> None:
        """Give a session back."""

    def choose(self, sessions: Any, samplings: Any, draws: Any, forbidden: Any) -> tuple[list[int], list[float]]:
        """Return the next tokens and their probabilities."""


@dataclass(eq=False)
class Row:
    """A decode that wants its next token. ``accept`` takes it and says whether it is to be written."""

    session: Any
    accept: Callable[[int], bool]
    sampling: Sampling
    seed: int
    priority: int
    """0: an answer that somebody waits for; 1: an answer that still plays; 2: thought."""
    forbidden: Sequence[int] = ()
    made: int = 0
    """Tokens so far."""


@dataclass(frozen=True)
class Prefills:
    """Tokens that follow the shared context: an opened chain, or an empty one."""

    opened: list[int]
    empty: list[int]


class Answer:
    """See the module. All methods are for the engine's thread."""

    def __init__(
        self,
        minds: Minds,
        base: Any,
        prefills: Prefills,
        speaker: Speaker,
        pace: Pace,
        sampling: Sampling,
        seed: int = 0,
    ) -> None:
        """Begin; ``base`` is a session that holds the context and is the answer's own from now on."""
        self.minds, self.base, self.prefills, self.speaker, self.pace = minds, base, prefills, speaker, pace
        self.sampling, self.seed = sampling, seed
        self.room = sampling.max_new_tokens
        """Tokens that may still be made, the chain's included."""
        self.thought: list[int] = []
        self.said: list[int] = []
        self.text = ""
        """All that was said, as the model wrote it."""
        self.segments = 0
        self.over = self.chain_done = self.ended = self.whole = False
        """The answer is over; the chain has ended; the model ended the answer; and it had the whole chain before it."""
        self.mind: Row | None = None
        self.mouth: Row | None = None
        self.mind_session: Any = None
        self.considered: list[int] | None = None
        """The answer after the whole chain, while it is compared with what was said."""
        self._begin_chain()

    def _begin_chain(self) -> None:
        mode = self.pace.mode
        if mode == "adaptive":
            self.pace = self._adapted()
        if self.pace.mode == "direct":
            self.chain_done = True
            return
        self.mind_session = self.minds.fork(self.base)
        self.minds.feed(self.mind_session, self.prefills.opened)
        self.mind = Row(self.mind_session, self._accept_thought, self.sampling, self.seed, 2)
        self._thoughts = Detokenizer(self.minds.tokenizer)

    def _adapted(self) -> Pace:
        """Return the pace with the mode that the first token without thought asks for."""
        probe = self.minds.fork(self.base)
        try:
            self.minds.feed(probe, self.prefills.empty)
            forbidden = [*self.minds.hushed]
            _, (probability,) = self.minds.choose([probe], [Sampling()], [(0, 0)], [forbidden])
        finally:
            self.minds.release(probe)
        return replace(self.pace, mode="direct" if probability >= self.pace.sure else "think-first")

    # -- what is wanted next -------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return the decodes that want a token now, perhaps none: then only time, or playing, can change that."""
        if self.speaker.stopped:
            self.close()
        if self.over:
            return []
        if self.chain_done and not self.whole and not self.speaker.released and (self.mouth or self.segments):
            self._start_again()
        ahead = self.speaker.ahead()
        if self.mouth is None and self._may_speak(ahead):
            self._begin_segment()
        wanted = [] if self.mind is None else [self.mind]
        if self.mouth is not None and ahead < _FAR_AHEAD:
            self.mouth.priority = 0 if ahead < 0.2 else 1
            wanted.append(self.mouth)
        return wanted

    def _may_speak(self, ahead: float) -> bool:
        if self.ended:
            return self.chain_done  # compare what was said with what would be said now
        if self.segments and (self.speaker.busy or not self.speaker.released or ahead >= self.pace.lead_seconds):
            return False
        needed = self.pace.needed(self.segments)
        return self.chain_done or (needed is not None and len(self.thought) >= needed)

    def _start_again(self) -> None:
        """Take back what nobody has heard: the chain has ended since."""
        self._drop_mouth()
        self.room += len(self.said)
        self.said, self.text, self.segments, self.ended = [], "", 0, False
        self.speaker.restart()

    def _begin_segment(self) -> None:
        self.whole = self.chain_done
        if self.mind_session is None or not (self.thought or self.chain_done):
            session = self.minds.fork(self.base)
            before = self.prefills.empty
        else:
            session = self.minds.fork(self.mind_session)
            before = self._closing()
        if self.ended:
            self.considered = []
            self.minds.feed(session, before)
            self._consider = Detokenizer(self.minds.tokenizer)
        else:
            self.minds.feed(session, [*before, *self.said])
            if not self.said:
                self._words = Detokenizer(self.minds.tokenizer)
        accept = self._accept_word if self.considered is None else self._accept_considered
        self._segment_start = len(self.said)
        # Drawn apart from the chain's random numbers, which have the same seed.
        row = Row(session, accept, self.sampling, self.seed ^ 0x5EED, 0, self.minds.hushed, len(self.said))
        self.mouth = row

    def _closing(self) -> list[int]:
        """Return what closes the chain; a newline that the model has just written counts."""
        close = list(self.minds.markers.close_chain)
        return close[1:] if len(close) > 1 and self.thought[-1:] == close[:1] else close

    # -- tokens --------------------------------------------------------------------------------------------------------

    def _accept_thought(self, token: int) -> bool:
        assert self.mind is not None
        self.mind.made += 1
        markers, ids = self.minds.markers, [*self.thought, token]
        if token in markers.stops:
            self._end_chain(0)
        elif markers.closes(ids, self.minds.tokenizer):
            self._end_chain(self._tag_tokens(ids) - 1)
        else:
            self.thought.append(token)
            self.room -= 1
            self.speaker.think(self._thoughts.feed(token))
            # A quarter of what may be written is kept for the answer.
            if len(self.thought) < self.pace.longest_chain and self.room > self.sampling.max_new_tokens // 4:
                return True
            self.minds.feed(self.mind_session, [token])
            self._end_chain(0)
        return False

    def _tag_tokens(self, ids: list[int]) -> int:
        """Return over how many of the last tokens the closing tag is spread; one where the tokenizer knows it."""
        decode = self.minds.tokenizer.decode
        return next(n for n in range(1, len(ids) + 1) if END_THINK in decode(ids[-n:], skip_special_tokens=False))

    def _end_chain(self, surplus: int) -> None:
        """Close the chain; its last ``surplus`` tokens were the beginning of the tag."""
        self.chain_done, self.mind = True, None
        if surplus:
            session = self.mind_session
            self.minds.write(session, session.ids[:-surplus], session.features)
            del self.thought[-surplus:]
        self.speaker.think(self._thoughts.flush())

    def _accept_word(self, token: int) -> bool:
        assert self.mouth is not None
        if token in self.minds.markers.stops:
            self._end_segment(ended=True)
            return False
        self.mouth.made += 1
        self.said.append(token)
        self.room -= 1
        piece = self._words.feed(token)
        self.text += piece
        self.speaker.push(piece)
        if self.room <= 0:
            self._finish(Finish("incomplete", "max_output_tokens", usage=self._usage()))
        elif not self.whole and len(self.said) - self._segment_start >= self.pace.speak_tokens:
            self._end_segment(ended=False)
        return self.mouth is not None

    def _end_segment(self, ended: bool) -> None:
        self._drop_mouth()
        self.segments += 1
        self.ended = ended
        if not ended:
            self.speaker.pause(whole=True)
            return
        rest = self._words.flush()
        self.text += rest
        self.speaker.push(rest)
        if self.whole:
            self._finish(Finish(usage=self._usage()))
        else:
            self.speaker.pause()

    def _accept_considered(self, token: int) -> bool:
        assert self.considered is not None
        self.room -= 1
        if token not in self.minds.markers.stops and self.room > 0:
            self.considered.append(token)
            return True
        text = self.minds.tokenizer.decode(self.considered, skip_special_tokens=False)
        if _words(text) and _words(text) != _words(self.text):
            self.said += self.considered
            self.speaker.push(" " + self.pace.bridge + text.strip())
        self._drop_mouth()
        self._finish(Finish(usage=self._usage()))
        return False

    # -- the end -------------------------------------------------------------------------------------------------------

    def _usage(self) -> dict[str, Any]:
        read, thought = len(self.base.ids), len(self.thought)
        written = thought + len(self.said)
        details = {"text_tokens": len(self.said), "audio_tokens": 0}
        return {
            "total_tokens": read + written,
            "input_tokens": read,
            "output_tokens": written,
            "output_token_details": details,
        }

    def _finish(self, finish: Finish) -> None:
        self.speaker.end(finish)
        self.close()

    def fail(self, code: str, message: str) -> None:
        """End the answer because something broke."""
        if not self.over:
            self.speaker.end(Finish("failed", code, message))
            self.close()

    def _drop_mouth(self) -> None:
        if self.mouth is not None:
            self.minds.release(self.mouth.session)
            self.mouth = None

    def close(self) -> None:
        """Give back what is held; more than once is harmless."""
        self.over, self.mind = True, None
        self._drop_mouth()
        for session in (self.base, self.mind_session):
            if session is not None:
                self.minds.release(session)
        self.mind_session = None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
