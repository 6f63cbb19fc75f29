"""The engine for our own model in this process: continuous batching on a lean decoder step, CPU or GPU."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch

from earwitness import audio, prompt
from earwitness.engines.batch import Batch
from earwitness.engines.decoder import Decoder
from earwitness.engines.protocol import Capabilities, Engine, Event, OnEvent, Request, Sampling
from earwitness.engines.rows import Markers, Row
from earwitness.engines.sampling import combine_seeds
from earwitness.engines.stream import ChainSplitter, Detokenizer
from earwitness.engines.workers import Arrivals, run_arrivals, run_batches
from earwitness.records import Reply

_CONFIG_IDS = {
    "audio_start_token_id": prompt.AUDIO_START,
    "audio_end_token_id": prompt.AUDIO_END,
    "audio_patch_token_id": prompt.AUDIO_PATCH,
}
_SMALL_BYTES = 64 << 20
_MOST_WORKERS = 8
_WORTH_SHARING = 16
"""Fewer requests than this run in one batch."""
_SPEECH = re.compile(r"<audio_\d+>|<tts_\w+>|<unused_\d+>")


class PromptTooLongError(ValueError):
    """A prompt past the context; its text says by how many tokens."""


class LocalEngine(Engine):
    """Answers with an ``AudioReasoner`` in this process.

    The model stays usable for training and ``generate``: its weights are read where they are (query, key and value
    of a layer, and gate and up, become views of one joined tensor each).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        token_ids=True, logprobs=True, min_think=True, update_weights=True
    )

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str = "",
        max_batch: int = 128,
        cache_tokens: int | None = None,
        prefill_tokens: int | None = None,
        workers: int | None = None,
        repeatable: bool = False,
    ):
        """Wrap a loaded model.

        Args:
            model: an ``AudioReasoner``, all of it in memory.
            tokenizer: its transformers tokenizer; its names decide the ids and must agree with the config's.
            name: what to call the model in messages.
            max_batch: most rows that run together. 128 keeps two CPU cores busy; more helps a GPU.
            cache_tokens: most cached tokens, rows times longest row; by default what half of the free memory holds.
            prefill_tokens: prompt tokens that are run at once.
            workers: batches that run side by side, on a CPU; by default one a core for a small model, else one.
            repeatable: deal requests out to the workers in turn, so that the same call gives the same replies to the
                bit; else the worker that is free takes the next one, and rounding depends on which requests meet.

        Raises:
            ValueError: the tokenizer lacks a name, or disagrees with the config.
        """
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self.weights_version = 0
        self.markers = find_markers(tokenizer, model.config, name)
        self.max_batch, self._max_workers, self._is_repeatable = max_batch, workers, repeatable
        self._decoders = [Decoder(model, self.markers.suppressed)]
        self.context = self._decoders[0].context
        device = self._decoders[0].device
        self._cache_tokens = cache_tokens or _free_memory(device) // 2 // self._decoders[0].cache_bytes_per_token
        self._prefill_tokens = prefill_tokens or (1024 if device.type == "cpu" else 8192)

    def generate(
        self, requests: Iterable[Request], sampling: Sampling | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Reply]:
        """Yield replies in the order of the requests; see ``Engine.generate``."""
        sampling = sampling or Sampling()
        rows: Iterator[Row] = (self.prepare(r, sampling, i, on_event is not None) for i, r in enumerate(requests))
        first = list(itertools.islice(rows, _WORTH_SHARING))
        early: dict[int, Reply] = {}
        expected = 0
        with self._batches(len(first), on_event) as (batches, cores_each):
            replies = run_batches(batches, itertools.chain(first, rows), cores_each, in_turn=self._is_repeatable)
            with contextlib.closing(replies):
                for index, reply in replies:
                    early[index] = reply
                    while expected in early:
                        yield early.pop(expected)
                        expected += 1

    def run(self, arrivals: Arrivals, on_event: OnEvent | None = None) -> Iterator[tuple[int, Reply]]:
        """Yield (index, reply) of prepared rows as they end, whenever they arrive, until ``arrivals`` is closed."""
        with self._batches(_WORTH_SHARING, on_event) as (batches, cores_each):
            with contextlib.closing(run_arrivals(batches, arrivals, cores_each)) as replies:
                yield from replies

    @contextlib.contextmanager
    def _batches(self, requests: int, on_event: OnEvent | None) -> Iterator[tuple[list[Batch], int]]:
        """Give (the batches for so many requests, cores of each)."""
        workers, cores_each = self._split_cores(requests)
        workers = min(workers, self.max_batch)
        # A second call while one is running gets its own caches over the same weights.
        decoders = [self._take_decoder() for _ in range(workers)]
        on_event = _one_at_a_time(on_event)
        batches = [
            Batch(
                decoder,
                self._encode,
                self.tokenizer,
                self.markers,
                max_rows=max(1, self.max_batch // len(decoders)),
                cache_tokens=self._cache_tokens // len(decoders),
                prefill_tokens=self._prefill_tokens,
                on_event=on_event,
            )
            for decoder in decoders
        ]
        try:
            yield batches, cores_each
        finally:
            for decoder in decoders:
                decoder.trim()
            self._decoders += decoders

    def _take_decoder(self) -> Decoder:
        decoder = self._decoders.pop() if self._decoders else Decoder(self.model, self.markers.suppressed)
        decoder.refresh()
        return decoder

    def _split_cores(self, requests: int) -> tuple[int, int]:
        """Return (batches to run side by side, cores of each): a decoder that fits the cache gets one core a batch."""
        cores = torch.get_num_threads()
        decoder = [*self.model.model.parameters(), *self.model.lm_head.parameters()]
        is_small = sum(p.numel() * p.element_size() for p in decoder) <= _SMALL_BYTES
        if self.model.device.type != "cpu" or not is_small:
            return self._max_workers or 1, cores
        return self._max_workers or (min(cores, _MOST_WORKERS) if requests >= _WORTH_SHARING else 1), 1

    def update_weights(self, tensors: Iterable[tuple[str, Any]], version: int) -> None:
        """Copy tensors into the parameters of the same name; takes effect at the next token."""
        known = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        with torch.no_grad():
            for name, tensor in tensors:
                if name not in known:
                    raise ValueError(f"{self.name or 'the model'} has no weight {name!r}; give names of its state_dict")
                if known[name].shape != tensor.shape:
                    raise ValueError(
                        f"weight {name!r} has shape {tuple(tensor.shape)} and the model's is {tuple(known[name].shape)}"
                    )
                known[name].copy_(tensor)
        self.weights_version = version

    @torch.no_grad()
    def adapt(self, states: Sequence[Sequence[Any]]) -> list[torch.Tensor]:
        """Return the features that requests take, from encoder states (E, D) of every chunk of every clip."""
        return self.model.adapt([torch.as_tensor(chunk).float() for clip in states for chunk in clip])

    def close(self) -> None:
        """Free the caches."""
        for decoder in self._decoders:
            decoder.release()

    @torch.no_grad()
    def _encode(self, waves: list[Any]) -> list[torch.Tensor]:
        return list(self.model.encode_audio(waves))

    def prepare(self, request: Request, sampling: Sampling | None = None, index: int = 0, follow: bool = False) -> Row:
        """Return a request for ``run``, from any thread: its audio is loaded, its prompt rendered and known to fit.

        Args:
            request: what to answer.
            sampling: its settings; the request's own come first.
            index: names the reply and its events.
            follow: whether ``on_event`` is told of its pieces.

        Raises:
            ValueError: a prompt past the context, or a request that cannot be rendered.
            OSError: audio that cannot be read.
        """
        sampling = request.sampling or sampling or Sampling()
        think = False if request.think and sampling.think_budget == 0 else request.think
        waves, ids, chunks = self._inputs(request, think)
        expected = sum(chunks)
        placed = ids.count(self.markers.patch)
        if placed != expected:
            raise ValueError(
                f"the prompt has {placed} audio placeholders and its audio {expected} tokens; render it anew"
            )
        room = self.context - len(ids)
        if room < 1:
            raise PromptTooLongError(
                f"the prompt has {len(ids)} tokens, {1 - room} more than {self.name or 'the model'} can read with a "
                f"context of {self.context}; use fewer or shorter clips ({expected} of the tokens are audio)"
            )
        row = Row(
            index=index,
            request=request,
            sampling=sampling,
            seed=combine_seeds(sampling.seed, index) if request.seed is None else request.seed,
            prompt_ids=ids,
            waves=[] if request.features is not None else waves,
            features=list(request.features or ()),
            audio_seconds=sum(len(w) for w in waves) / audio.SAMPLE_RATE if waves else expected / 12.5,
            audio_tokens=expected,
            max_new_tokens=min(sampling.max_new_tokens, room),
            think=think,
            in_chain=think is True,
        )
        if follow or sampling.stop:
            row.detokenizer = Detokenizer(self.tokenizer)
        if follow:
            row.splitter = ChainSplitter(think)
        return row

    def _inputs(self, request: Request, think: bool | None) -> tuple[list[Any], list[int], list[int]]:
        """Return (chunks of at most 25 s, prompt ids, audio tokens of each chunk)."""
        rule = self.model.audio_rule
        if request.features is not None:
            counts = [[len(f)] for f in request.features]
            waves: list[Any] = []
        else:
            clips = prompt.clips(request.messages) if request.messages else list(request.audio)
            pieces = [audio.split_chunks(_waveform(clip)) for clip in clips]
            counts = [[audio.audio_token_count(len(w), rule=rule) for w in chunks] for chunks in pieces]
            waves = [wave for chunks in pieces for wave in chunks]
        if request.prompt_ids is not None:
            ids = list(request.prompt_ids)
        else:
            found = prompt.segments(
                request.messages, think, request.tools, request.continue_final, self._clip_counts(request, counts)
            )
            ids = prompt.encode(self.tokenizer, found)
        return waves, ids, [n for chunks in counts for n in chunks]

    @staticmethod
    def _clip_counts(request: Request, counts: list[list[int]]) -> list[list[int]]:
        """Return one entry a clip; features come as one flat list of chunks, which only one clip can share."""
        clips = prompt.count_clips(request.messages)
        if request.features is not None and clips == 1:
            return [[n for chunks in counts for n in chunks]]
        return counts


def _one_at_a_time(on_event: OnEvent | None) -> OnEvent | None:
    """Return the callback behind a lock, because several batches call it."""
    if on_event is None:
        return None
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            on_event(event)

    return locked


def _waveform(clip: Any) -> Any:
    """Return a clip as a 16 kHz waveform; arrays are taken as they are."""
    if hasattr(clip, "ndim"):
        return clip
    return audio.load_audio(clip)


def find_markers(tokenizer: Any, config: Any, name: str = "") -> Markers:
    """Return the ids of the control tokens, looked up by name and compared with the config.

    Raises:
        ValueError: one sentence for a name that the tokenizer lacks and for an id on which the two disagree.
    """
    vocab, who = tokenizer.get_vocab(), name or "the model"
    for token in (prompt.BOT, prompt.EOT, *_CONFIG_IDS.values()):
        if token not in vocab:
            raise ValueError(
                f"the tokenizer of {who} lacks {token!r}; give the folder with the model's own tokenizer.json"
            )
    for key, token in _CONFIG_IDS.items():
        given = getattr(config, key, None)
        if given is not None and given != vocab[token]:
            raise ValueError(
                f"{who} has {key} = {given} in its config and {token!r} = {vocab[token]} in its tokenizer; one of the "
                "two files belongs to another model"
            )
    if max(vocab.values()) >= config.vocab_size:
        raise ValueError(
            f"the tokenizer of {who} has ids up to {max(vocab.values())} and the model {config.vocab_size} rows; one "
            "of the two belongs to another model"
        )
    known = set(vocab.values())
    silent = {i for token, i in vocab.items() if _SPEECH.fullmatch(token)} | {vocab[t] for t in _CONFIG_IDS.values()}
    silent |= {i for i in range(config.vocab_size) if i not in known}
    # A model that opens the next turn has ended this one: the published template never closed assistant turns.
    stops = {vocab[prompt.EOT], vocab[prompt.BOT], *(getattr(config, "eos_token_ids", None) or ())}
    return Markers(
        patch=vocab[prompt.AUDIO_PATCH],
        stops=frozenset(stops - silent),
        end_think=tuple(tokenizer.encode(prompt.END_THINK, add_special_tokens=False)),
        close_chain=tuple(tokenizer.encode(prompt.CLOSE_CHAIN, add_special_tokens=False)),
        suppressed=tuple(sorted(silent)),
    )


def _free_memory(device: torch.device) -> int:
    """Return the free bytes of the device; a cautious 2 GiB where nothing can be asked."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2 << 30


def load_local(
    model: str | os.PathLike,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    audio_rule: str = "serving",
    max_batch: int | None = None,
    **options: Any,
) -> LocalEngine:
    """Return the engine for a published folder or hub name.

    Args:
        model: folder or hub name.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for as many GPUs as there are; the first GPU by default.
        dtype: ``float32``, ``bfloat16`` ...; by default the checkpoint's own on a GPU and float32 on a CPU.
        audio_rule: the rule of ``audio_token_count``.
        max_batch: most rows that run together; 128 on a CPU and 256 on a GPU.
        options: passed to ``AudioReasoner.from_pretrained``.
    """
    from transformers import AutoTokenizer

    from earwitness.model import AudioReasoner

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(dtype, str):
        named = getattr(torch, dtype, None)
        if not isinstance(named, torch.dtype):
            raise ValueError(f"unknown dtype {dtype!r}; use float32, bfloat16 or float16")
        dtype = named
    if dtype is None and torch.device("cuda" if device == "auto" else device).type == "cpu":
        dtype = torch.float32
    if dtype is not None:
        options["dtype"] = dtype
    if device == "auto":
        options["device_map"] = "auto"
    reasoner = AudioReasoner.from_pretrained(model, audio_rule=audio_rule, **options)
    if device != "auto":
        reasoner = reasoner.to(torch.device(device))
    if pathlib.Path(model).is_dir() and not (pathlib.Path(model) / "tokenizer.json").exists():
        raise ValueError(f"{model} has no tokenizer.json; copy the tokenizer files of the checkpoint into the folder")
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = max_batch or (128 if reasoner.device.type == "cpu" else 256)
    return LocalEngine(reasoner, tokenizer, name=str(model), max_batch=rows)
