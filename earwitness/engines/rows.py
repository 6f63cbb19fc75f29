"""One request while it runs: what it has said, whether its chain is open, and when it must stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from earwitness import prompt
from earwitness.engines.protocol import Request, Sampling
from earwitness.engines.stream import ChainSplitter, Detokenizer
from earwitness.records import Reply


@dataclass(frozen=True)
class Markers:
    """The ids by which a reply is followed, found by name in a tokenizer."""

    patch: int
    stops: frozenset[int]
    end_think: tuple[int, ...]
    """One id in our tokenizer; several where ``</think>`` is ordinary text."""
    close_chain: tuple[int, ...]
    suppressed: tuple[int, ...]

    def closes(self, ids: list[int], tokenizer: Any) -> bool:
        """Whether the last id completed ``</think>``."""
        if len(self.end_think) == 1:
            return ids[-1] == self.end_think[0]
        return prompt.END_THINK in tokenizer.decode(ids[-2 * len(self.end_think) - 2 :], skip_special_tokens=False)


@dataclass
class Row:
    """A prepared request and the state of its reply."""

    index: int
    request: Request
    sampling: Sampling
    seed: int
    prompt_ids: list[int]
    waves: list[Any]
    """Chunks of at most 25 s still to be encoded; empty where ``features`` came with the request."""
    features: list[Any]
    audio_seconds: float
    audio_tokens: int
    max_new_tokens: int
    think: bool | None
    """What the reply is parsed as; a think budget of 0 is the same as no thinking."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    in_chain: bool = False
    thinking_tokens: int = 0
    answer_start: int = 0
    forced: list[int] = field(default_factory=list)
    """Ids that the engine writes instead of the model's choice."""
    finished: bool | None = None
    """None while it runs; True if the model ended it, False if a limit did."""
    detokenizer: Detokenizer | None = None
    splitter: ChainSplitter | None = None
    text: str = ""
    """What was said so far; kept only while streaming or watching for stop strings."""
    submitted: float = field(default_factory=time.perf_counter)
    first_token: float | None = None

    @property
    def cached(self) -> int:
        """Tokens in the cache before the next step: all but the last one chosen."""
        return len(self.prompt_ids) + len(self.ids) - 1

    def must_think(self) -> bool:
        """Whether neither the chain nor the reply may end yet."""
        return self.in_chain and len(self.ids) < self.sampling.min_think

    def accept(self, token: int, logprob: float | None, markers: Markers, tokenizer: Any) -> str:
        """Append one id and update the state; return the text it completes, if text is being followed."""
        if self.first_token is None:
            self.first_token = time.perf_counter()
        if self.forced:
            self.forced.pop(0)
        self.ids.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if token in markers.stops or token in self.sampling.stop_ids:
            self.finished = True
            return ""
        if self.in_chain:
            self._follow_chain(markers, tokenizer)
        piece = self.detokenizer.feed(token) if self.detokenizer else ""
        if piece and self.sampling.stop:
            piece = self._cut_at_stop(piece)
        self.text += piece
        if self.finished is None and len(self.ids) >= self.max_new_tokens:
            self.finished = False
        return piece

    def _follow_chain(self, markers: Markers, tokenizer: Any) -> None:
        if markers.closes(self.ids, tokenizer):
            self.in_chain, self.answer_start = False, len(self.ids) + len(self.forced)
            self.thinking_tokens = self.thinking_tokens or len(self.ids) - len(markers.end_think)
            return
        budget = self.sampling.think_budget
        if budget is not None and len(self.ids) >= budget and not self.forced:
            close = list(markers.close_chain)
            # The model may just have written the newline that precedes the tag.
            self.forced = close[1:] if len(close) > 1 and close[0] == self.ids[-1] else close
            self.thinking_tokens = len(self.ids)

    def _cut_at_stop(self, piece: str) -> str:
        whole = self.text + piece
        longest = max(len(stop) for stop in self.sampling.stop)
        found = [p for s in self.sampling.stop if s and (p := whole.find(s, max(0, len(self.text) - longest))) >= 0]
        if not found:
            return piece
        self.finished = True
        self.text = whole[: min(found)] if min(found) < len(self.text) else self.text
        return whole[len(self.text) : min(found)]

    def reply(self, tokenizer: Any, markers: Markers) -> Reply:
        """Return the finished reply."""
        ids = self.ids
        ended = bool(ids) and (ids[-1] in markers.stops or ids[-1] in self.sampling.stop_ids)
        said = ids[:-1] if ended else ids
        text = self.text if self.sampling.stop else tokenizer.decode(said, skip_special_tokens=False)
        reply = prompt.parse(text, self.think, finished=bool(self.finished))
        if self.request.cancelled.is_set() and self.finished is None:
            reply.status = "cancelled"
        now = time.perf_counter()
        reply.thinking_tokens = len(said) if self.in_chain else self.thinking_tokens
        reply.answer_tokens = 0 if self.in_chain else max(0, len(said) - self.answer_start)
        reply.audio_seconds, reply.audio_tokens = self.audio_seconds, self.audio_tokens
        reply.seconds = now - self.submitted
        reply.first_token_seconds = (self.first_token or now) - self.submitted
        reply.token_ids, reply.logprobs = tuple(ids), tuple(self.logprobs)
        return reply
