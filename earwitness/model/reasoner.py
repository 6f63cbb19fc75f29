"""The whole model: encoder, adaptor and Qwen2 decoder as one transformers ``PreTrainedModel``.

Letters: B rows of a batch, T text tokens, M mel bins, F mel frames, E encoder frames at 25 Hz, N audio tokens at
12.5 Hz, D encoder width, H decoder width, V vocabulary.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel, Qwen2Model, initialization
from transformers.modeling_outputs import CausalLMOutputWithPast

from earwitness import audio as front_end
from earwitness.model import checkpoint, packed
from earwitness.model.adaptor import Adaptor, audio_tokens
from earwitness.model.config import EarwitnessConfig
from earwitness.model.encoder import AudioEncoder, frames_at_25hz, sinusoids

# Last mel frames that attention does not see: the reference code masks the two that come from right padding.
MASKED_FRAMES = {"serving": 0, "reference": 2}
_FRAMES_A_BATCH = 12_000  # bounds the memory of one encoder batch: two minutes of sound


class AudioReasoner(PreTrainedModel, GenerationMixin):
    """An audio language model in the published layout (keys ``encoder.``, ``adapter.``, ``model.``, ``lm_head.``).

    ``audio_rule`` is ``"serving"`` (the rule that R1 is served by) or ``"reference"``; it decides the number of audio
    tokens of a clip and what the encoder masks, and is not stored in the config.
    """

    config_class = EarwitnessConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]
    _no_split_modules = ["Qwen2DecoderLayer", "Block", "Adaptor"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    supports_gradient_checkpointing = True

    def __init__(self, config: EarwitnessConfig, audio_rule: str = "serving") -> None:
        super().__init__(config)
        if audio_rule not in MASKED_FRAMES:
            raise ValueError(f"audio_rule {audio_rule!r} is not one of {', '.join(MASKED_FRAMES)}")
        self.audio_rule = audio_rule
        self.encoder = AudioEncoder(config)
        self.adapter = Adaptor(config)
        self.model = Qwen2Model(config.text_config)
        packed.pack(self.model, config.compression_config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.generation_config.eos_token_id = list(config.eos_token_ids)
        self.generation_config.pad_token_id = config.pad_token_id

    @property
    def base_model(self) -> Any:
        """Return the decoder as trainers call it that have a head of their own (TRL): with the audio, without logits.

        ``self.model`` is transformers' decoder itself and knows embeddings and ids only.
        """
        return _Backbone(self)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AudioEncoder):
            table = module.positional_embedding.weight
            initialization.copy_(table, sinusoids(*table.shape))

    def encode_frames(self, clips: Sequence[Any]) -> list[torch.Tensor]:
        """Return the encoder's output (E, D) of each clip, to keep: the encoder is frozen in training.

        Args:
            clips: waveforms (samples,) at 16 kHz, or log-mels (128, F); at most 29.98 s each.
        """
        device, masked = _device(self.encoder.conv1), MASKED_FRAMES[self.audio_rule]
        mels = [_mel(clip).to(device) for clip in clips]
        states: list[torch.Tensor] = [torch.empty(0)] * len(mels)
        for items in _batches_by_length([m.shape[1] for m in mels]):
            lengths = torch.tensor([mels[i].shape[1] for i in items])
            batch_BMF = torch.zeros(len(items), mels[items[0]].shape[0], int(lengths.max()), device=device)
            for row, i in zip(batch_BMF, items):
                row[:, : mels[i].shape[1]] = mels[i]
            out_BED = self.encoder.forward_padded(batch_BMF, lengths, masked)
            for row, i in zip(out_BED, items):
                states[i] = row[: frames_at_25hz(mels[i].shape[1] - masked)]
        return states

    def adapt(self, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the audio tokens (N, H) of each clip from its encoder states (E, D)."""
        if not states:
            return []
        padded_BED = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        padded_BED = padded_BED.to(device=_device(self.adapter.conv), dtype=self.adapter.conv.weight.dtype)
        if padded_BED.shape[1] == 0:  # clips too short for a single frame
            padded_BED = nn.functional.pad(padded_BED, (0, 0, 0, 1))
        out_BNH = self.adapter(padded_BED)
        return [row[: audio_tokens(len(s))] for row, s in zip(out_BNH, states)]

    def encode_audio(self, clips: Sequence[Any]) -> list[torch.Tensor]:
        """Return the audio tokens (N, H) of each clip: a waveform at 16 kHz or a log-mel."""
        return self.adapt(self.encode_frames(clips))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        audio: Sequence[Any] | None = None,
        features: Sequence[torch.Tensor] | None = None,
        audio_states: Sequence[torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits (B, T, V) and, with labels, the loss.

        Args:
            input_ids: (B, T) with ``audio_patch_token_id`` where audio goes.
            audio: waveforms or log-mels; they fill the runs of placeholders in order, row by row.
            features: audio tokens (N, H) instead, as ``encode_audio`` returns them.
            audio_states: encoder states (E, D) instead, as ``encode_frames`` returns them.
            attention_mask: (B, T), 0 at padding.
            position_ids: (B, T); counted from the mask or the cache when absent.
            past_key_values: a transformers cache.
            inputs_embeds: (B, T, H) instead of ``input_ids``; audio must then be in it already.
            labels: (B, T), -100 where nothing is learned; shifted inside, as in transformers.
            use_cache: whether to return a cache.
            logits_to_keep: compute logits for this many last positions only; 0 for all.
            kwargs: passed to the decoder.

        Raises ``ValueError`` naming both numbers when placeholders and audio tokens do not match.
        """
        out = self.base_model(
            input_ids,
            audio,
            features,
            audio_states,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )

    def embed(
        self,
        input_ids: torch.Tensor,
        audio: Sequence[Any] | None = None,
        features: Sequence[torch.Tensor] | None = None,
        audio_states: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return embeddings (B, T, H) with the audio tokens in their places; arguments as in ``forward``."""
        if sum(x is not None for x in (audio, features, audio_states)) > 1:
            raise ValueError("audio, features and audio_states exclude each other; give one of them")
        if audio is not None:
            features = self.encode_audio(audio)
        elif audio_states is not None:
            features = self.adapt(audio_states)
        embeds_BTH = self.model.embed_tokens(input_ids)
        patch_BT = input_ids == self.config.audio_patch_token_id
        if not features:
            if features is not None and bool(patch_BT.any()):
                raise ValueError(
                    f"the prompt has {int(patch_BT.sum())} audio placeholders and 0 audio tokens were given"
                )
            return embeds_BTH
        _check_places(patch_BT, [len(f) for f in features])
        flat_NH = torch.cat(list(features)).to(embeds_BTH)
        return embeds_BTH.masked_scatter(patch_BT[..., None].to(embeds_BTH.device), flat_NH)

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        audio: Sequence[Any] | None = None,
        features: Sequence[torch.Tensor] | None = None,
        audio_states: Sequence[torch.Tensor] | None = None,
        **kwargs: Any,
    ):
        """Return prompt and continuation (B, T + new) as transformers' ``generate`` does; nothing is suppressed.

        ``audio``, ``features`` and ``audio_states`` are as in ``forward``; the audio is encoded once.
        """
        if input_ids is None:
            return super().generate(**kwargs)  # type: ignore[misc]
        if kwargs.get("attention_mask") is None:
            kwargs["attention_mask"] = torch.ones_like(input_ids)
        if not (audio is None and features is None and audio_states is None):
            kwargs["inputs_embeds"] = self.embed(input_ids, audio, features, audio_states)
        return super().generate(input_ids, **kwargs)  # type: ignore[misc]

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: torch.Tensor,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the inputs of one step; without a cache the prompt's audio goes in again at every step."""
        if inputs_embeds is not None and past_key_values is None and not is_first_iteration:
            new_ids = input_ids[:, inputs_embeds.shape[1] :]
            inputs_embeds = torch.cat([inputs_embeds, self.model.embed_tokens(new_ids)], dim=1)
            is_first_iteration = True
        return super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids,  # type: ignore[arg-type]
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, folder: str | os.PathLike, *args: Any, audio_rule: str = "serving", **kwargs: Any
    ):
        """Load a published layout from a folder or hub name; weights go shard by shard to where they belong.

        Args:
            folder: a local folder or a hub name such as ``stepfun-ai/Step-Audio-R1``.
            args: for transformers.
            audio_rule: ``"serving"`` or ``"reference"``.
            kwargs: transformers' own, such as ``dtype``, ``device_map``, ``offload_folder``, ``token``, ``revision``.

        Raises ``ValueError`` listing every missing, unexpected or misshapen key, ``OSError`` for what cannot be read.
        """
        folder = checkpoint.local_folder(folder, kwargs)
        config = kwargs.pop("config", None)
        if not isinstance(config, EarwitnessConfig):
            config = checkpoint.read_config(folder)
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in cls(copy.deepcopy(config)).state_dict().items()}
        checkpoint.check_weights(folder, expected)
        is_placed = kwargs.get("device_map") is not None  # then transformers may offload, for which it needs the files
        source: dict[str, Any] = {} if is_placed else {"state_dict": checkpoint.lazy_tensors(folder)}
        where = folder if is_placed else None
        model = super().from_pretrained(where, *args, config=config, audio_rule=audio_rule, **source, **kwargs)
        loaded, stops = (model[0] if isinstance(model, tuple) else model), list(config.eos_token_ids)
        written = os.path.join(folder, "generation_config.json")
        loaded.config.name_or_path = loaded.name_or_path = str(folder)
        if not is_placed and "generation_config" not in kwargs and os.path.exists(written):
            loaded.generation_config = GenerationConfig.from_pretrained(folder)
        given = loaded.generation_config.eos_token_id
        given = [given] if isinstance(given, int) else given or []
        loaded.generation_config.eos_token_id = stops + [i for i in given if i not in stops]
        return model

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the published layout: config, sharded safetensors, index; either whole or not at all.

        ``kwargs`` are transformers' own, such as ``max_shard_size``. Raises ``OSError`` when the disk cannot take it.
        """
        size = sum(p.numel() * p.element_size() for p in self.parameters())
        with checkpoint.staged(save_directory, size) as staging:
            super().save_pretrained(staging, **kwargs)


class _Backbone:
    """A model's decoder with the audio arguments of the whole model; all its attributes are the decoder's."""

    def __init__(self, whole: AudioReasoner) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole.model, name)

    def __call__(
        self,
        input_ids: torch.Tensor | None = None,
        audio: Sequence[Any] | None = None,
        features: Sequence[torch.Tensor] | None = None,
        audio_states: Sequence[torch.Tensor] | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the decoder's output; arguments and errors are those of ``AudioReasoner.forward``."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("forward needs input_ids or inputs_embeds; give one of them")
            inputs_embeds = self._whole.embed(input_ids, audio=audio, features=features, audio_states=audio_states)
        elif not (audio is None and features is None and audio_states is None):
            raise ValueError("audio cannot be placed into inputs_embeds; give input_ids instead")
        return self._whole.model(inputs_embeds=inputs_embeds, **kwargs)


def _mel(clip: Any) -> torch.Tensor:
    """Return the log-mel (128, F) of a waveform, or the log-mel itself."""
    clip = torch.as_tensor(clip)
    return clip if clip.ndim == 2 else front_end.log_mel(clip)


def _device(module: nn.Module) -> torch.device:
    """Return where a module takes its input: offloaded weights are on no device until they are used."""
    device = next(module.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def _batches_by_length(lengths: list[int]) -> list[list[int]]:
    """Group clips of similar length, so that little is padded and no batch exceeds ``_FRAMES_A_BATCH``."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= _FRAMES_A_BATCH and lengths[i] > 0.8 * longest:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _check_places(patch_BT: torch.Tensor, lengths: list[int]) -> None:
    """Raise ``ValueError`` unless each clip's audio tokens fill their own run of placeholders."""
    before = torch.nn.functional.pad(patch_BT, (1, 0))[:, :-1]
    starts = (patch_BT & ~before).flatten().nonzero()[:, 0].tolist()
    row_ends = torch.nn.functional.pad(patch_BT, (0, 1))[:, 1:]
    ends = (patch_BT & ~row_ends).flatten().nonzero()[:, 0].tolist()
    places = [end - start + 1 for start, end in zip(starts, ends)]
    given = [n for n in lengths if n]
    if places == given:
        return
    if len(places) != len(given):
        raise ValueError(
            f"the prompt has {len(places)} places for audio ({sum(places)} placeholders) and {len(given)} clips "
            f"({sum(given)} audio tokens) were given; render the prompt for exactly these clips"
        )
    number = next(i for i, (p, n) in enumerate(zip(places, given)) if p != n)
    raise ValueError(
        f"clip {number + 1} has {given[number]} audio tokens and its place in the prompt has {places[number]} "
        "placeholders; count them with audio_token_count under the model's audio_rule"
    )
