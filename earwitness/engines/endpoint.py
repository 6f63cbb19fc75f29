"""The engine for any OpenAI-compatible server that takes ``input_audio``. Needs no torch.

Two kinds of server differ in how thinking is asked for. One that runs our prompt format (vLLM, earwitness) gets the
published request: an assistant turn prefilled with ``<think>`` that it continues; there a think budget closes the
chain with a second request. Any other gets plain messages and thinks as it likes; its ``reasoning_content`` is kept
apart. Which kind it is, ``/v1/models`` tells, or the argument ``prefill``.

The key comes from ``EARWITNESS_API_KEY`` or ``OPENAI_API_KEY`` and goes over https or to this machine only.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

from earwitness import prompt
from earwitness.engines.chat_server import ChatServer, EndpointError
from earwitness.engines.protocol import Capabilities, Engine, Event, OnEvent, Request, Sampling
from earwitness.engines.stream import ChainSplitter
from earwitness.records import Reply

_OURS = ("vllm", "earwitness")
_ROLES = {"human": "user", "function_output": "tool"}


@dataclass
class _Answer:
    """What one HTTP request brought back."""

    reasoning: str = ""
    content: str = ""
    finish: str | None = None
    tool_calls: dict[int, dict[str, str]] = field(default_factory=dict)
    pieces: dict[str, int] = field(default_factory=lambda: {"thinking": 0, "answer": 0})
    """Streamed pieces of each kind, about one a token."""
    usage: dict[str, Any] = field(default_factory=dict)
    first_token: float | None = None
    cancelled: bool = False


class EndpointEngine(Engine):
    """Answers through an HTTP server. Token counts are the server's where it gives them, else counted pieces."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 120.0,
        concurrency: int = 8,
        prefill: bool | None = None,
    ):
        """Remember where the server is; nothing is sent yet.

        Args:
            url: base URL, with or without ``/v1``, or the full ``/chat/completions``; ``#name`` picks a model.
            model: the model's name; by default the fragment of the URL, else the first that the server lists.
            api_key: instead of the environment's.
            timeout_seconds: the longest silence of the server.
            concurrency: requests in flight at once.
            prefill: whether the server continues a prefilled assistant turn; None asks it.
        """
        self._server = ChatServer(url, api_key, timeout_seconds)
        self.name = self._server.name
        self._model, self._prefill = model or self._server.fragment or None, prefill
        self._concurrency = concurrency
        self._lock = threading.Lock()

    def generate(
        self, requests: Iterable[Request], sampling: Sampling | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Reply]:
        """Yield replies in the order of the requests; see ``Engine.generate``. Several are in flight at once."""
        sampling = sampling or Sampling()
        running: deque[tuple[Request, Future[Reply]]] = deque()
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            for index, request in enumerate(requests):
                running.append((request, pool.submit(self._reply, index, request, sampling, on_event)))
                if len(running) >= 2 * self._concurrency:
                    yield running.popleft()[1].result()
            while running:
                yield running.popleft()[1].result()
        finally:
            for request, future in running:
                future.cancel()
                request.cancel()
            pool.shutdown(wait=True, cancel_futures=True)

    # -- one request ---------------------------------------------------------------------------------------------------

    def _reply(self, index: int, request: Request, sampling: Sampling, on_event: OnEvent | None) -> Reply:
        sampling = request.sampling or sampling
        start = time.perf_counter()
        self._identify()
        think = False if request.think and sampling.think_budget == 0 else request.think
        self._check(request, sampling)
        messages, seconds = prompt.translate(request.messages, _ROLES, self._wav_parts)
        seed = sampling.seed + index if request.seed is None else request.seed
        body = self._body(sampling, seed, request)

        def tell(kind: str, text: str) -> None:
            if on_event is not None:
                with self._lock:
                    on_event(Event(index, kind, text))

        if self._prefill and not request.continue_final:
            answer = self._ask_with_prefill(request, body, messages, think, sampling, tell)
        else:
            splitter = ChainSplitter(think if self._prefill else None)
            answer = self._send(request, {**body, "messages": messages}, splitter, tell)
            think = think if self._prefill else None
        reply = self._finish(answer, think, request)
        reply.audio_seconds = seconds
        reply.seconds = time.perf_counter() - start
        reply.first_token_seconds = (answer.first_token or time.perf_counter()) - start
        return reply

    def _check(self, request: Request, sampling: Sampling) -> None:
        if request.prompt_ids is not None:
            raise ValueError(f"{self.name} takes messages, not prompt_ids; use a local engine for encoded prompts")
        if sampling.min_think:
            raise ValueError(f"{self.name} cannot hold a chain open, so min_think must be 0; use a local engine for it")
        if sampling.think_budget is not None and not self._prefill:
            raise ValueError(
                f"{self.name} does not continue a prefilled turn, so a think budget cannot be kept; leave it out, or "
                "pass prefill=True if the server does"
            )

    def _identify(self) -> None:
        """Ask the server once which model it has and whether it runs our prompt format."""
        with self._lock:
            if self._model is not None and self._prefill is not None:
                return
            try:
                listed = self._server.models() or [{}]
                found = [m for m in listed if self._model in (None, m.get("id"))] or listed
                owner = str(found[0].get("owned_by", "")).lower()
                self._model = self._model or found[0].get("id")
            except EndpointError:
                if self._model is None:
                    raise
                owner = ""  # some servers list no models; the name was given
            if self._model is None:
                raise EndpointError(f"{self.name} lists no model; name one as {self.name}#MODEL")
            self._prefill = owner in _OURS if self._prefill is None else self._prefill

    def _wav_parts(self, clip: Any) -> tuple[list[dict[str, Any]], float]:
        """Return a clip as 16-bit WAV parts: of 25 s for our models, whole for others."""
        import numpy as np

        from earwitness import audio

        samples = np.asarray(clip) if hasattr(clip, "ndim") else audio.load_audio(clip)
        parts = []
        for piece in audio.split_chunks(samples) if self._prefill else [samples]:
            data = base64.b64encode(audio.encode_wav(piece)).decode()
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
        return parts, len(samples) / audio.SAMPLE_RATE

    def _body(self, sampling: Sampling, seed: int, request: Request) -> dict[str, Any]:
        """Return the request without messages; settings at their defaults are left out, since servers refuse extras."""
        body: dict[str, Any] = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "seed": seed & 0x7FFFFFFF,
        }
        stop = list(sampling.stop)
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.repetition_penalty != 1:
            body["repetition_penalty"] = sampling.repetition_penalty
        if sampling.stop_ids:
            body["stop_token_ids"] = list(sampling.stop_ids)
        if request.tools:
            body["tools"] = list(request.tools)
        if self._prefill:
            body["skip_special_tokens"] = False
            stop.append(prompt.EOT)
        return {**body, "stop": stop} if stop else body

    def _ask_with_prefill(
        self,
        request: Request,
        body: dict[str, Any],
        messages: list[dict[str, Any]],
        think: bool | None,
        sampling: Sampling,
        tell: Any,
    ) -> _Answer:
        splitter = ChainSplitter(think)
        prefill = {True: prompt.OPEN_CHAIN, False: prompt.EMPTY_CHAIN, None: ""}[think]
        budget = sampling.think_budget if think else None
        first = dict(body)
        if budget is not None:
            first["max_tokens"] = min(budget, sampling.max_new_tokens)
        answer = self._send(request, _continuing(first, messages, prefill), splitter, tell)
        left = sampling.max_new_tokens - (budget or 0)
        done = answer.finish != "length" or answer.cancelled or left < 1
        if budget is None or done or answer.reasoning:
            return answer
        if prompt.END_THINK not in answer.content:
            for kind, text in splitter.feed(prompt.CLOSE_CHAIN):
                tell(kind, text)
            answer.content = answer.content.rstrip("\n") + prompt.CLOSE_CHAIN
        rest = self._send(
            request, _continuing({**body, "max_tokens": left}, messages, prefill + answer.content), splitter, tell
        )
        rest.content = answer.content + rest.content
        rest.first_token = answer.first_token
        rest.pieces = {kind: n + answer.pieces[kind] for kind, n in rest.pieces.items()}
        rest.usage = {}  # each part counted its own
        return rest

    def _finish(self, answer: _Answer, think: bool | None, request: Request) -> Reply:
        text = answer.content
        if answer.reasoning:
            text = answer.reasoning + (prompt.CLOSE_CHAIN + answer.content if answer.content else "")
            think = True
        finished = None if answer.finish is None else answer.finish != "length"
        reply = prompt.parse(text, think, finished)
        if answer.tool_calls:
            reply.tool_calls = tuple(_tool_call(answer.tool_calls[i]) for i in sorted(answer.tool_calls))
            reply.status = "tool_call"
        if answer.cancelled:
            reply.status = "cancelled"
        reply.thinking_tokens, reply.answer_tokens = _token_counts(answer)
        return reply

    def _send(self, request: Request, body: dict[str, Any], splitter: ChainSplitter, tell: Any) -> _Answer:
        """Send one chat completion and follow its stream."""
        answer = _Answer()

        def say(pieces: list[tuple[str, str]]) -> None:
            for kind, text in pieces:
                answer.pieces[kind] += 1
                tell(kind, text)

        for payload in self._server.stream(body, request.cancelled):
            choice = (payload.get("choices") or [{}])[0]
            answer.usage = payload.get("usage") or answer.usage
            answer.finish = choice.get("finish_reason") or answer.finish
            delta = choice.get("delta") or choice.get("message") or {}
            reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
            content = delta.get("content") or ""
            if (reasoning or content) and answer.first_token is None:
                answer.first_token = time.perf_counter()
            if reasoning:
                answer.reasoning += reasoning
                say([("thinking", reasoning)])
            if content:
                answer.content += content
                say([("answer", content)] if answer.reasoning else splitter.feed(content))
            for call in delta.get("tool_calls") or ():
                kept = answer.tool_calls.setdefault(call.get("index", len(answer.tool_calls)), {"name": "", "args": ""})
                kept["name"] += (call.get("function") or {}).get("name") or ""
                kept["args"] += (call.get("function") or {}).get("arguments") or ""
        answer.cancelled = request.cancelled.is_set() and answer.finish is None
        if not answer.reasoning and answer.finish != "length":
            say(splitter.flush())
        return answer


def _continuing(body: dict[str, Any], messages: list[dict[str, Any]], prefill: str) -> dict[str, Any]:
    """Return the published form of a request: the assistant's turn is opened and continued."""
    if not prefill:
        return {**body, "messages": messages}
    turn = {"role": "assistant", "content": prefill, "eot": False}
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    return {**body, "messages": [*messages, turn], **flags}


def _tool_call(kept: dict[str, str]) -> dict[str, Any]:
    try:
        return {"name": kept["name"], "arguments": json.loads(kept["args"] or "{}")}
    except ValueError:
        return {"name": kept["name"], "arguments": kept["args"]}


def _token_counts(answer: _Answer) -> tuple[int, int]:
    """Return (thinking, answer) tokens; without the server's count of one, its total is split as it was streamed."""
    thinking, said = answer.pieces["thinking"], answer.pieces["answer"]
    total = answer.usage.get("completion_tokens")
    if total is None:
        return thinking, said
    details = answer.usage.get("completion_tokens_details") or {}
    if (counted := details.get("reasoning_tokens")) is None:
        counted = round(total * thinking / max(1, thinking + said))
    return counted, total - counted
