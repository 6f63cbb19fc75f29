"""What every engine is: requests in, replies out; one conformance suite tests them all. Needs no torch."""

from __future__ import annotations

import abc
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from earwitness import prompt
from earwitness.records import Reply


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop. The defaults are greedy."""

    temperature: float = 0.0
    """0 takes the most likely token; the published examples use 0.7."""
    top_p: float = 1.0
    """Keep the most likely tokens up to this probability mass; 1 keeps all."""
    top_k: int = 0
    """Keep this many tokens; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and the reply become less likely."""
    max_new_tokens: int = 1024
    """Chain and answer together."""
    think_budget: int | None = None
    """Close the chain after this many tokens and decode the answer; None leaves it to the model, 0 closes at once."""
    min_think: int = 0
    """Neither the chain nor the reply may end before the chain has this many tokens."""
    seed: int = 0
    """Base of the random numbers; request number i of a call draws from (seed, i), whatever runs beside it."""
    stop: tuple[str, ...] = ()
    """Strings that end the reply; they are not part of it."""
    stop_ids: tuple[int, ...] = ()
    """Ids that end the reply, beside the model's own."""
    logprobs: bool = False
    """Return the log-probability of every token under the model itself, before penalty and temperature."""

    def __post_init__(self) -> None:
        _check(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _check(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        _check(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "above 0 (1 is off)")
        _check(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        _check(self.think_budget is None or self.think_budget >= 0, "think_budget", self.think_budget, "0 or more")
        _check(self.min_think >= 0, "min_think", self.min_think, "0 or more")
        budget = self.think_budget
        _check(
            budget is None or self.min_think <= budget, "min_think", self.min_think, f"at most think_budget {budget}"
        )


def _check(holds: bool, name: str, value: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}; it must be {allowed}")


@dataclass
class Request:
    """One thing to answer."""

    messages: Sequence[prompt.Message] = ()
    """A conversation; clips stand in its content parts."""
    prompt_ids: Sequence[int] | None = None
    """An encoded prompt, audio placeholders included, instead of ``messages``; needs ``Capabilities.token_ids``."""
    audio: Sequence[Any] = ()
    """With ``prompt_ids``: the clips, as paths, bytes or 16 kHz arrays. With ``messages`` they are found there."""
    features: Sequence[Any] | None = None
    """Encoded audio, a (tokens, hidden) tensor for each chunk of at most 25 s, to save encoding a clip again."""
    think: bool | None = True
    """True opens a chain, False prefills an empty one, None leaves the turn bare."""
    tools: Sequence[dict[str, Any]] | None = None
    continue_final: bool = False
    """Continue the last message, an assistant's, instead of opening a turn."""
    seed: int | None = None
    """Fixes this request's random numbers wherever it stands in a call."""
    sampling: Sampling | None = None
    """Instead of the call's."""
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt_ids is not None):
            raise ValueError("a request needs either messages or prompt_ids")

    def cancel(self) -> None:
        """Stop this request, from any thread; its reply keeps what was said and has status ``cancelled``."""
        self.cancelled.set()


@dataclass(frozen=True, slots=True)
class Event:
    """A piece of a streamed reply."""

    index: int
    """Position of the request in the call."""
    kind: str
    """``thinking`` or ``answer``."""
    text: str


OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do beyond answering."""

    token_ids: bool = False
    """Takes ``prompt_ids`` and ``features``, and fills ``Reply.token_ids``."""
    logprobs: bool = False
    min_think: bool = False
    update_weights: bool = False
    sessions: bool = False
    """``extend_audio``, ``fork`` and ``continue_from``, for realtime."""


class Engine(abc.ABC):
    """Turns requests into replies. ``generate`` is the one method that an engine must have."""

    name: str = ""
    """What answers: a folder, a hub name, or a URL."""
    capabilities: ClassVar[Capabilities] = Capabilities()

    @abc.abstractmethod
    def generate(
        self, requests: Iterable[Request], sampling: Sampling | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Reply]:
        """Yield one reply for each request, in their order, as soon as it is known.

        Requests are read from the iterable as room appears and run together. ``on_event`` receives the pieces of
        every reply while it is written. Closing the iterator cancels what still runs.

        Raises:
            ValueError: a request that cannot be run, such as a prompt past the context; before it costs anything.
            OSError: audio that cannot be read, a server that cannot be reached.
        """

    def update_weights(self, tensors: Iterable[tuple[str, Any]], version: int) -> None:
        """Replace weights by name between steps; ``version`` is remembered as ``weights_version``."""
        raise NotImplementedError(self._cannot("update weights"))

    def adapt(self, states: Sequence[Sequence[Any]]) -> list[Any]:
        """Return ``Request.features`` made from states (E, D) of the frozen encoder, kept for every chunk of a clip."""
        raise NotImplementedError(self._cannot("take encoder states"))

    def extend_audio(self, session: Any, wave: Any) -> None:
        """Append sound to a running session."""
        raise NotImplementedError(self._cannot("extend audio"))

    def fork(self, session: Any) -> Any:
        """Return a copy of a session that shares its past."""
        raise NotImplementedError(self._cannot("fork a session"))

    def continue_from(self, session: Any, text: str) -> Any:
        """Return a session that goes on as if the model had just written ``text``."""
        raise NotImplementedError(self._cannot("continue a session"))

    def _cannot(self, what: str) -> str:
        return f"the {type(self).__name__} for {self.name or 'this model'} cannot {what}; see its capabilities"

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Free what the engine holds."""

    def ask(
        self,
        audio: Any,
        question: str,
        *,
        choices: Sequence[str] = (),
        system: str | None = None,
        think: bool = True,
        think_budget: int | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        on_event: OnEvent | None = None,
    ) -> Reply:
        """Return the reply to one question about one clip or a list of clips (paths, bytes, arrays).

        Example::

            ew.load().ask("clip.wav", "Which note is higher, the first or the second?").answer
        """
        many = list(audio) if isinstance(audio, (list, tuple)) else [] if audio is None else [audio]
        messages: list[prompt.Message] = [{"role": "system", "content": system}] if system else []
        messages.append(prompt.user_message(prompt.question_text(question, choices), many))
        sampling = sampling or Sampling()
        if think_budget is not None:
            sampling = dataclasses.replace(sampling, think_budget=think_budget)
        request = Request(messages, think=think, seed=seed)
        return next(iter(self.generate([request], sampling, on_event)))
