"""Sessions of the local engine: a context that sound is added to while it comes, that forks, and that is continued.

The encoder looks both ways inside a chunk of 25 s, so the newest sound changes what the chunk's older tokens are. A
chunk that is full is encoded and prefilled once; the open one anew at every ``extend_audio``. What a session then
holds equals a prompt rendered with the whole clip: the same tokens, logits to 1e-4 in float32 (``tests``).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from earwitness import audio, prompt
from earwitness.engines.decoder import Decoder
from earwitness.engines.local import LocalEngine
from earwitness.engines.protocol import Capabilities, Sampling
from earwitness.engines.sampling import Chooser, uniforms

_CHUNK_SAMPLES = audio.CHUNK_SECONDS * audio.SAMPLE_RATE
_LEAST_SESSIONS, _MOST_SESSIONS = 8, 1024
_LEAST_TOKENS = 512
"""Room that every session has from the start, so that the cache is rarely made larger."""


class Clip:
    """Sound that is still coming: chunks of at most 25 s, of which the full ones are encoded for good."""

    def __init__(self) -> None:
        self.features: list[torch.Tensor] = []
        """Audio tokens (N, H) of each chunk, as of the last ``encode``."""
        self.sealed = 0
        """Chunks among them that were full."""
        self.samples = self.encoded = 0
        """Samples that came, and those that ``features`` cover."""
        self._open: list[np.ndarray] = []

    def add(self, wave: Any) -> None:
        """Append float32 samples at 16 kHz."""
        if len(wave):
            self._open.append(np.asarray(wave, np.float32))
            self.samples += len(wave)

    @property
    def is_full(self) -> bool:
        """Whether a chunk has become full since the last ``encode``."""
        return self.samples // _CHUNK_SAMPLES > self.sealed

    def encode(self, encode: Callable[[list[Any]], list[torch.Tensor]]) -> None:
        """Bring ``features`` up to date; ``encode`` maps chunks to features. In the thread that adds."""
        if self.encoded == self.samples:
            return
        chunks = audio.split_chunks(np.concatenate(self._open))
        self.features = self.features[: self.sealed] + list(encode(chunks))
        full = [chunk for chunk in chunks if len(chunk) == _CHUNK_SAMPLES]
        self.sealed += len(full)
        self._open = [chunk.copy() for chunk in chunks[len(full) :]]
        self.encoded = self.samples


@dataclasses.dataclass(eq=False)
class Session:
    """One context. Its cached keys and values are in the engine's slot of this number."""

    slot: int
    pool: Decoder
    ids: list[int] = dataclasses.field(default_factory=list)
    """Cached tokens; placeholders stand for sound."""
    features: list[torch.Tensor] = dataclasses.field(default_factory=list)
    """Audio tokens (N, H) behind the placeholders, chunk by chunk."""
    logits: torch.Tensor | None = None
    """(V,) after the last token."""
    clip: Clip | None = None
    """The clip that is open: sound can be added to it."""
    clip_ids: int = 0
    """Tokens before it."""
    clip_features: int = 0
    """Chunks before it."""


class SessionEngine(LocalEngine):
    """A ``LocalEngine`` that also holds sessions. All that names a ``Session`` is for one thread at a time."""

    capabilities: ClassVar[Capabilities] = dataclasses.replace(LocalEngine.capabilities, sessions=True)

    def __init__(self, model: Any, tokenizer: Any, name: str = "", **options: Any) -> None:
        """Wrap a loaded model; arguments as for ``LocalEngine``."""
        super().__init__(model, tokenizer, name, **options)
        self.pool = Decoder(model, self.markers.suppressed)
        self._vacant: list[int] = []
        self._slots = 0
        vocab = tokenizer.get_vocab()
        self._audio_start, self._audio_end = vocab[prompt.AUDIO_START], vocab[prompt.AUDIO_END]
        self.hushed: tuple[int, ...] = tuple({vocab[t] for t in (prompt.THINK, prompt.END_THINK) if t in vocab})
        """Ids that mark thinking; an answer being spoken must not hold them."""

    @property
    def sessions(self) -> int:
        """Sessions that are held."""
        return self._slots - len(self._vacant)

    # -- the life of a session -----------------------------------------------------------------------------------------

    def open_session(self) -> Session:
        """Return an empty session; ``write``, ``feed`` and ``extend_audio`` fill it, ``release`` gives it back."""
        if not self._vacant:
            if self._slots >= _MOST_SESSIONS:
                raise ValueError(f"{self.name or 'the engine'} holds {self._slots} sessions; release some of them")
            more = max(_LEAST_SESSIONS, self._slots)  # rarely, because the whole cache is then copied
            self._vacant = list(range(self._slots, self._slots + more))
            self._slots += more
        return Session(self._vacant.pop(0), self.pool)

    def release(self, session: Session) -> None:
        """Give a session's place back; once is enough, and more is harmless."""
        if session.pool is self.pool and session.slot >= 0:
            self._vacant.append(session.slot)
            session.slot = -1
            if not self.sessions:
                self.pool.trim()

    def fork(self, session: Session) -> Session:
        """Return a copy of a session that shares its past: keys and values are copied, nothing is computed."""
        self._check_alive(session)
        other = self.open_session()
        self.pool.reserve(self._slots, len(session.ids) + 1)
        self.pool.copy(session.slot, other.slot, len(session.ids))
        other.ids, other.features, other.logits = list(session.ids), list(session.features), session.logits
        other.clip = copy.copy(session.clip)
        other.clip_ids, other.clip_features = session.clip_ids, session.clip_features
        return other

    def continue_from(self, session: Session, text: str) -> Session:
        """Return a session that goes on as if the model had just written ``text``; special tokens in it count."""
        other = self.fork(session)
        self.feed(other, prompt.encode(self.tokenizer, [prompt.Segment(text, True)]))
        return other

    def forget_all(self) -> None:
        """Drop every session and the cache, after a failure that may have left it half written."""
        self.pool.release()
        self.pool = Decoder(self.model, self.markers.suppressed)
        self._vacant, self._slots = [], 0

    def _check_alive(self, session: Session) -> None:
        if session.pool is not self.pool or session.slot < 0:
            raise ValueError("the session was released, or lost in a failure of the engine; open a new one")

    # -- what goes in --------------------------------------------------------------------------------------------------

    def extend_audio(self, session: Session, wave: Any) -> None:
        """Append sound at the end of the context; the first piece opens a clip, ``feed`` closes it."""
        if session.clip is None:
            self.open_clip(session, Clip())
        assert session.clip is not None
        session.clip.add(wave)
        session.clip.encode(self.encode)
        self.place_clip(session)

    def open_clip(self, session: Session, clip: Clip) -> None:
        """Let a clip stand at the end of the context; ``place_clip`` writes what was encoded of it."""
        session.clip, session.clip_ids, session.clip_features = clip, len(session.ids), len(session.features)

    def place_clip(self, session: Session) -> None:
        """Write the open clip as it is now encoded: full chunks keep their place, the open one is written anew."""
        clip = session.clip
        assert clip is not None
        if not clip.features:
            return
        ids = session.ids[: session.clip_ids]
        for number, chunk in enumerate(clip.features):
            ids += [self._audio_start, *[self.markers.patch] * len(chunk)]
            ids += [self._audio_end] if number < clip.sealed else []
        self.write(session, ids, session.features[: session.clip_features] + clip.features)

    @torch.no_grad()
    def encode(self, waves: list[Any]) -> list[torch.Tensor]:
        """Return the features of chunks of at most 25 s; needs no session, so that any thread may call it."""
        return self._encode(waves) if waves else []

    def write(self, session: Session, ids: Sequence[int], features: Sequence[torch.Tensor]) -> None:
        """Make the context hold exactly these tokens; the beginning that it holds already is kept.

        Raises:
            ValueError: more tokens than the context takes.
        """
        self._check_room(len(ids))
        same = self._common(session, ids, features)
        if same == len(ids) == len(session.ids):
            return
        kept = min(same, len(ids) - 1)
        before = list(ids[:kept]).count(self.markers.patch)
        sound = [torch.cat([f.to(self.pool.dtype) for f in features])[before:]] if features else []
        session.features = list(features)
        self._run(session, list(ids[:kept]), list(ids[kept:]), sound)

    def _common(self, session: Session, ids: Sequence[int], features: Sequence[torch.Tensor]) -> int:
        """Return how many tokens at the beginning are the same, those of sound by the identity of their chunk."""
        known = 0
        for old_chunk, new_chunk in zip(session.features, features):
            if old_chunk is not new_chunk:
                break
            known += len(new_chunk)
        for place, (old, new) in enumerate(zip(session.ids, ids)):
            known -= new == self.markers.patch
            if old != new or known < 0:
                return place
        return min(len(session.ids), len(ids))

    def feed(self, session: Session, ids: Sequence[int]) -> None:
        """Append tokens without sound; an open clip is closed first. ``ValueError`` where the context is full."""
        is_open = session.clip is not None and len(session.ids) > session.clip_ids
        if is_open and session.ids[-1] != self._audio_end:
            ids = [self._audio_end, *ids]
        session.clip = None
        if ids:
            self._check_room(len(session.ids) + len(ids))
            self._run(session, session.ids, list(ids), [])

    def _check_room(self, tokens: int) -> None:
        if tokens > self.context:
            who = self.name or "the model"
            raise ValueError(f"the conversation has {tokens} tokens and {who} reads {self.context}; begin a new one")

    def _run(self, session: Session, kept: list[int], tail: list[int], features: list[torch.Tensor]) -> None:
        self._check_alive(session)
        self.pool.reserve(self._slots, max(_LEAST_TOKENS, len(kept) + len(tail) + 1))
        embedded = self.pool.embed(tail, self.markers.patch, features)
        session.logits = self.pool.extend(embedded, session.slot, len(kept))
        session.ids = kept + tail

    # -- what comes out ------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def choose(
        self,
        sessions: Sequence[Session],
        samplings: Sequence[Sampling],
        draws: Sequence[tuple[int, int]],
        forbidden: Sequence[Sequence[int]],
    ) -> tuple[list[int], list[float]]:
        """Return the next token of each session and its probability; nothing is written.

        Args:
            sessions: whose turn it is.
            samplings: temperature, top-p and top-k of each; a repetition penalty has no effect.
            draws: (seed, position) of each one's random number.
            forbidden: ids that each must not choose.
        """
        logits_BV = torch.stack([s.logits for s in sessions if s.logits is not None]).float()
        for row, ids in zip(logits_BV, forbidden):
            row[list(ids)] = -torch.inf
        chooser = Chooser.build([dataclasses.replace(s, repetition_penalty=1.0) for s in samplings], logits_BV.device)
        uniform = None if chooser.all_greedy else uniforms([s for s, _ in draws], [p for _, p in draws])
        tokens_B = chooser.choose(logits_BV, uniform, None)
        probabilities_B = logits_BV.softmax(-1).gather(-1, tokens_B[:, None])[:, 0]
        return tokens_B.tolist(), probabilities_B.tolist()

    def push(self, sessions: Sequence[Session], tokens: Sequence[int]) -> None:
        """Append one token to each session, all of them in one step."""
        for session in sessions:
            self._check_alive(session)
        order = sorted(range(len(sessions)), key=lambda i: sessions[i].slot)
        rows = [sessions[i] for i in order]
        self._check_room(max(len(s.ids) for s in rows) + 1)
        new = [tokens[i] for i in order]
        logits_BV = self.pool.step(new, [len(s.ids) for s in rows], [s.slot for s in rows])
        for session, token, logits in zip(rows, new, logits_BV):
            session.ids.append(token)
            session.logits = logits

    @classmethod
    def over(cls, engine: LocalEngine) -> SessionEngine:
        """Return an engine with sessions over the weights of another."""
        return cls(engine.model, engine.tokenizer, engine.name, max_batch=engine.max_batch)
