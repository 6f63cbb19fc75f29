"""The engine for any audio-text model that transformers itself loads, through its own processor and chat template.

Qwen2-Audio, Qwen2.5-Omni, Audio Flamingo 3, Voxtral and their like are asked as their makers ask them. No chain is put
into their mouths: where a template opens one (its prompt ends in ``<think>``) it is followed as with our own model, and
a think budget holds; other models answer as they like. ``generate`` of transformers runs the batch; which token comes
next, when a row ends and what is streamed is decided here, row by row, so that a request draws the same random numbers
in any batch. Clips go in at 16 kHz, as all of these models want them.
"""

from __future__ import annotations

import base64
import inspect
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch

from earwitness import audio, prompt
from earwitness.engines.protocol import Capabilities, Engine, Event, OnEvent, Request, Sampling
from earwitness.engines.rows import Markers, Row
from earwitness.engines.sampling import Chooser, combine_seeds, uniforms
from earwitness.engines.stream import ChainSplitter, Detokenizer
from earwitness.records import Reply

_ROLES = {"human": "user", "developer": "system", "function_output": "tool"}
# Names of the tokens that end a turn in the chat formats of these models, where the generation config forgets them.
_TURN_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "</s>")


class TransformersEngine(Engine):
    """Answers with a model and processor of transformers, ``max_batch`` requests at a time."""

    capabilities: ClassVar[Capabilities] = Capabilities(logprobs=True)

    def __init__(self, model: Any, processor: Any, name: str = "", max_batch: int = 8):
        """Wrap a loaded model and its processor; the tokenizer's padding moves to the left."""
        self.model, self.processor, self.name = model.eval(), processor, name
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        self._max_batch = max_batch
        self._markers = _find_markers(model, self.tokenizer)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token_id = min(self._markers.stops)
        self._context = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def generate(
        self, requests: Iterable[Request], sampling: Sampling | None = None, on_event: OnEvent | None = None
    ) -> Iterator[Reply]:
        """Yield replies in the order of the requests; see ``Engine.generate``."""
        sampling = sampling or Sampling()
        numbered = enumerate(requests)
        while taken := list(itertools.islice(numbered, self._max_batch)):
            groups: dict[Any, list[tuple[int, Request]]] = {}
            for index, request in taken:
                groups.setdefault(self._alike(request), []).append((index, request))
            # All are prepared first, so that one that cannot be run is refused before it costs anything.
            prepared = [self._prepare(group, sampling, on_event is not None) for group in groups.values()]
            replies: dict[int, Reply] = {}
            for rows, inputs in prepared:
                self._run(rows, inputs, on_event)
                replies |= {row.index: row.reply(self.tokenizer, self._markers) for row in rows}
            yield from (replies[index] for index, _ in taken)

    def _alike(self, request: Request) -> Any:
        """Return what the requests of one batch must share: processors take as many clips for each prompt."""
        if request.prompt_ids is not None:
            raise ValueError(f"{self.name} takes messages, not prompt_ids; its own processor encodes the prompt")
        tools = json.dumps(list(request.tools)) if request.tools else ""
        return prompt.count_clips(request.messages), request.think is False, request.continue_final, tools

    def _prepare(
        self, group: Sequence[tuple[int, Request]], sampling: Sampling, follow: bool
    ) -> tuple[list[Row], dict[str, Any]]:
        """Return the rows of a batch and the model's inputs; clips are loaded here."""
        requests = [request for _, request in group]
        translated = (prompt.translate(request.messages, _ROLES, self._sound) for request in requests)
        conversations, seconds = zip(*translated)
        inputs = self._encode(list(conversations), requests[0])
        rows = []
        for place, (index, request) in enumerate(group):
            ids = inputs["input_ids"][place][inputs["attention_mask"][place].bool()].tolist()
            row = self._row(index, request, request.sampling or sampling, ids, seconds[place])
            if follow or row.sampling.stop:
                row.detokenizer = Detokenizer(self.tokenizer)
            if follow:
                row.splitter = ChainSplitter(row.think)
            rows.append(row)
        return rows, inputs

    def _encode(self, conversations: list[list[dict[str, Any]]], like: Request) -> dict[str, Any]:
        """Return the processor's tensors on the model's device, floats in its type."""
        template = str(getattr(self.processor, "chat_template", None))
        switch: dict[str, Any] = {"enable_thinking": like.think is not False} if "enable_thinking" in template else {}
        if "sanitize_control_tokens" in inspect.signature(self.processor.apply_chat_template).parameters:
            switch["sanitize_control_tokens"] = True  # nobody closes a turn or places a sound by typing its token
        try:
            batch = self.processor.apply_chat_template(
                conversations,
                tools=list(like.tools) if like.tools else None,
                add_generation_prompt=not like.continue_final,
                continue_final_message=like.continue_final,
                tokenize=True,
                return_dict=True,
                processor_kwargs={"text_kwargs": {"padding": True}, "return_tensors": "pt"},
                **switch,
            )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            said = " ".join(str(error).split())[:200]
            clips = prompt.count_clips(like.messages)
            raise ValueError(
                f"{self.name} cannot take a conversation with {clips} clips ({said}); ask it about as many clips, and "
                "in such roles, as its model card says"
            ) from error
        kept = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
        device, dtype = self.model.device, self.model.dtype
        return {n: v.to(device, dtype) if v.is_floating_point() else v.to(device) for n, v in kept.items()}

    def _sound(self, clip: Any) -> tuple[list[dict[str, Any]], float]:
        """Return (a clip as the processor takes it, its seconds); one without a template is Mistral's: a file."""
        wave = clip if hasattr(clip, "ndim") else audio.load_audio(clip)
        if getattr(self.processor, "chat_template", None):
            part: dict[str, Any] = {"type": "audio", "audio": wave}
        else:
            part = {"type": "audio", "base64": base64.b64encode(audio.encode_wav(wave)).decode()}
        return [part], len(wave) / audio.SAMPLE_RATE

    def _row(self, index: int, request: Request, sampling: Sampling, ids: list[int], seconds: float) -> Row:
        opened = self.tokenizer.decode(ids[-8:]).rstrip().endswith(prompt.THINK) and not request.continue_final
        think = None if not opened else not (request.think is False or sampling.think_budget == 0)
        if not opened and (sampling.think_budget or sampling.min_think):
            raise ValueError(
                f"the chat template of {self.name} opens no chain, so a think budget cannot be kept; leave it out"
            )
        room = sampling.max_new_tokens if self._context is None else self._context - len(ids)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, {1 - room} more than {self.name or 'the model'} can read with a "
                f"context of {self._context}; use fewer or shorter clips"
            )
        placeholder = getattr(self.processor, "audio_token_id", None)
        close = list(self._markers.close_chain) if opened and not think else []
        return Row(
            index=index,
            request=request,
            sampling=sampling,
            seed=combine_seeds(sampling.seed, index) if request.seed is None else request.seed,
            prompt_ids=ids,
            waves=[],
            features=[],
            audio_seconds=seconds,
            audio_tokens=ids.count(placeholder) if placeholder is not None else 0,
            max_new_tokens=min(sampling.max_new_tokens + len(close), room),
            think=think,
            in_chain=think is True,
            answer_start=len(close),
            forced=close,
        )

    @torch.inference_mode()
    def _run(self, rows: list[Row], inputs: dict[str, Any], on_event: OnEvent | None) -> None:
        """Let the rows say what they have to say."""
        from transformers import GenerationConfig

        if all(row.request.cancelled.is_set() for row in rows):
            return
        steps = _Steps(rows, self._markers, self.tokenizer, on_event)
        # Every choice is ours, so the settings that a checkpoint brings along must not bend the scores first.
        config = GenerationConfig(
            max_new_tokens=max(row.max_new_tokens for row in rows),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            eos_token_id=sorted(self._markers.stops),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        self.model.generate(
            **inputs, generation_config=config, logits_processor=[steps.choose], stopping_criteria=[steps.finished]
        )


class _Steps:
    """Chooses the next token of every row of a batch and says which rows are done; between two steps of ``generate``.

    Letters: B rows, V vocabulary.
    """

    def __init__(self, rows: list[Row], markers: Markers, tokenizer: Any, on_event: OnEvent | None):
        self._rows, self._markers, self._tokenizer, self._on_event = rows, markers, tokenizer, on_event
        self._chooser: Chooser | None = None
        self._seen: torch.Tensor | None = None

    def choose(self, input_ids: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
        """Return scores that leave one token to each row."""
        if self._chooser is None:
            self._chooser = Chooser.build([row.sampling for row in self._rows], logits_BV.device)
        chooser, rows = self._chooser, self._rows
        for i, row in enumerate(rows):
            if row.must_think():
                logits_BV[i, self._forbidden(row)] = -torch.inf
        uniform = None if chooser.all_greedy else uniforms([r.seed for r in rows], [len(r.ids) for r in rows])
        tokens = chooser.choose(logits_BV, uniform, self._seen_BV(logits_BV) if chooser.penalty is not None else None)
        for i, row in enumerate(rows):
            if row.forced:
                tokens[i] = row.forced[0]
        logprobs = chooser.logprobs(logits_BV, tokens)
        for i, token in enumerate(tokens.tolist()):
            if not self._is_done(rows[i]):
                self._accept(rows[i], token, None if logprobs is None else float(logprobs[i]))
        return torch.full_like(logits_BV, -torch.inf).scatter_(-1, tokens[:, None], 0.0)

    def finished(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return (B,): which rows are done."""
        return torch.tensor([self._is_done(row) for row in self._rows], device=input_ids.device)

    @staticmethod
    def _is_done(row: Row) -> bool:
        return row.finished is not None or row.request.cancelled.is_set()

    def _accept(self, row: Row, token: int, logprob: float | None) -> None:
        piece = row.accept(token, logprob if row.sampling.logprobs else None, self._markers, self._tokenizer)
        if row.splitter is None or self._on_event is None:
            return
        if row.finished is not None and not row.sampling.stop and row.detokenizer is not None:
            piece += row.detokenizer.flush()
        said = row.splitter.feed(piece) if piece else []
        for kind, text in said + (row.splitter.flush() if row.finished is not None else []):
            self._on_event(Event(row.index, kind, text))

    def _forbidden(self, row: Row) -> list[int]:
        """Return the ids that would end the chain or the reply."""
        tag = self._markers.end_think
        ends = [*self._markers.stops, *row.sampling.stop_ids]
        if len(tag) == 1 or row.ids[-len(tag) + 1 :] == list(tag[:-1]):
            ends.append(tag[-1])
        return ends

    def _seen_BV(self, logits_BV: torch.Tensor) -> torch.Tensor:
        if self._seen is None:
            self._seen = torch.zeros_like(logits_BV, dtype=torch.bool)
            for i, row in enumerate(self._rows):
                self._seen[i, row.prompt_ids] = True
        for i, row in enumerate(self._rows):
            self._seen[i, row.ids[-1:]] = True
        return self._seen


def _find_markers(model: Any, tokenizer: Any) -> Markers:
    """Return the ids by which a reply is followed; what ends it comes from the generation config and the tokenizer."""
    known = tokenizer.get_vocab()
    given = model.generation_config.eos_token_id
    stops = {known[token] for token in _TURN_ENDS if token in known} | {tokenizer.eos_token_id}
    stops |= set(given) if isinstance(given, (list, tuple)) else {given}
    return Markers(
        patch=-1,
        stops=frozenset(int(stop) for stop in stops if stop is not None),
        end_think=tuple(tokenizer.encode(prompt.END_THINK, add_special_tokens=False)),
        close_chain=tuple(tokenizer.encode(prompt.CLOSE_CHAIN, add_special_tokens=False)),
        suppressed=(),
    )


def load_transformers(
    model: str | os.PathLike,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    max_batch: int = 8,
    **options: Any,
) -> TransformersEngine:
    """Return the engine for a folder or hub name of a model that transformers has a class for.

    Args:
        model: folder or hub name; code that comes with it is not run.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for as many GPUs as there are; the first GPU by default.
        dtype: ``float32``, ``bfloat16`` ...; by default the checkpoint's own on a GPU and float32 on a CPU.
        max_batch: most requests that run together.
        options: passed to ``from_pretrained`` of the model.

    Raises:
        ValueError: transformers has no such class, or the model takes no audio.
        OSError: files that are missing or cannot be read.
    """
    import transformers

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    config = transformers.AutoConfig.from_pretrained(model)
    names = list(getattr(config, "architectures", None) or ())
    found = next((kind for name in names if (kind := getattr(transformers, name, None)) is not None), None)
    if found is None or not hasattr(found, "generate"):
        named = f"the class {names[0]}" if names else "no class"
        raise ValueError(f"{model} names {named} in its config.json, which transformers does not have; update it")
    processor = transformers.AutoProcessor.from_pretrained(model)
    if not hasattr(processor, "feature_extractor") or not hasattr(processor, "tokenizer"):
        raise ValueError(f"{model} is a {config.model_type} model, which takes no audio; give an audio-text model")
    is_cpu = torch.device("cuda" if device == "auto" else device).type == "cpu"
    options["dtype"] = dtype or (torch.float32 if is_cpu else "auto")
    if device == "auto":
        options["device_map"] = "auto"
    loaded = found.from_pretrained(model, **options)
    # The part of an omni model that speaks is not needed.
    thinker = getattr(loaded, "thinker", loaded)
    thinker = thinker if device == "auto" else thinker.to(torch.device(device))
    return TransformersEngine(thinker, processor, name=str(model), max_batch=max_batch)
