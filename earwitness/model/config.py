"""The model's configuration: both published shapes in, one view inside, the published keys out.

The nested shape (``step_audio_2``) has ``text_config`` and ``audio_encoder_config``; the flat one
(``step_audio_qwen2``) has the text keys at the top. A key whose meaning is unknown is an error: a loader that falls
back to a default is wrong in silence (``rms_norm_eps`` differs between the two published models).
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig, Qwen2Config
from transformers.configuration_utils import SubConfigSpec

NESTED, FLAT = "step_audio_2", "step_audio_qwen2"
ARCHITECTURES = {NESTED: "StepAudio2ForCausalLM", FLAT: "StepAudioForCausalLMV2"}
PUBLISHED_VOCAB = 158_720
# Ids of the published tokenizer, used where a config of the published vocabulary does not name them.
PUBLISHED_IDS = {"audio_start_token_id": 151_688, "audio_end_token_id": 151_689, "audio_patch_token_id": 151_690}
PUBLISHED_STOPS = (151_643, 151_645, 151_665)
ADAPTER_HIDDEN = 2048  # fixed in the published adaptor class; no published config names it

_TEXT_NEEDED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
)
_AUDIO_NEEDED = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "llm_dim")
# Keys that may hold only the value that this code computes with.
_TEXT_FIXED = {
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "use_sliding_window": (False, None),
    "tie_word_embeddings": (False, None),
    "attention_dropout": (0, 0.0, None),
    "attention_bias": (True, None),
    "mlp_bias": (False, None),
}
_AUDIO_FIXED = {"n_mels": (128,), "kernel_size": (3,), "adapter_stride": (2,)}
# Keys that change no arithmetic of ours.
_TEXT_IGNORED = {
    "max_seq_len",
    "num_attention_groups",
    "head_dim",
    "rope_parameters",
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "initializer_range",
    "use_cache",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "model_type",
    "dtype",
    "torch_dtype",
}
_AUDIO_IGNORED = {"n_codebook_size", "adapter_hidden_size", "model_type", "dtype", "torch_dtype"}
_TOP_IGNORED = {
    "architectures",
    "auto_map",
    "name_or_path",
    "_name_or_path",
    "transformers_version",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "audio_encoder_config",
    "text_config",
    "quantization_config",
    *PUBLISHED_IDS,
}
# What the published class also keeps at the top of the nested shape.
_NESTED_TOP = {
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "use_cache",
    "initializer_range",
    "tie_word_embeddings",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
}


@dataclass(frozen=True)
class AudioShape:
    """Sizes of the encoder and the adaptor."""

    mels: int
    context: int
    """Most frames at 50 Hz: the rows of the position table."""
    state: int
    heads: int
    layers: int
    adapter_hidden: int
    output: int
    """Width of the decoder."""


class EarwitnessConfig(PreTrainedConfig):
    """Configuration of ``AudioReasoner``, from the keyword fields of a published ``config.json`` of either shape.

    ``text_config`` is the decoder's ``Qwen2Config``; ``audio_encoder_config`` is the published map and ``audio`` its
    checked view. Raises ``ValueError`` with one sentence for a missing key, a key that it does not know, and a value
    that it cannot compute with.
    """

    model_type = NESTED
    has_no_defaults_at_init = True
    # So that choices such as attn_implementation reach the decoder.
    sub_configs_defaults = {"text_config": SubConfigSpec(Qwen2Config)}

    def __init__(self, **fields: Any) -> None:
        fields = copy.deepcopy(fields)
        top: dict[str, Any] = {k: fields.pop(k) for k in ("architectures", "dtype", "torch_dtype") if k in fields}
        fields.pop("_from_auto", None)
        name = fields.pop("name_or_path", fields.pop("_name_or_path", ""))
        attention = fields.pop("attn_implementation", fields.pop("_attn_implementation", None))
        fields.pop("model_type", None)
        self._fields = {k: v for k, v in fields.items() if k != "transformers_version"}
        text, audio = _parts(self._fields)
        _check(text, audio, self._fields)
        self.audio_encoder_config = audio
        self.text_config = _decoder_config(text)
        vocab = self.text_config.vocab_size
        for key, published in PUBLISHED_IDS.items():
            given = self._fields.get(key)
            if given is None and vocab != PUBLISHED_VOCAB:
                raise ValueError(f"the config lacks {key!r}, which a vocabulary of {vocab} ids must name; add it")
            setattr(self, key, published if given is None else given)
        self.eos_token_ids = _stop_ids(self._fields, text, vocab)
        self.pad_token_id = self._fields.get("pad_token_id", text.get("pad_token_id"))
        # Under the name that vLLM reads and transformers, which would unpack the weights, does not.
        self.compression_config = self._fields.get("quantization_config")
        top |= {"name_or_path": name, "attn_implementation": attention}
        super().__init__(**top)
        if self.dtype is not None:
            self.text_config.dtype = self.dtype

    @classmethod
    def default_config_fields(cls) -> dict[str, Any]:
        """Return no defaults: every published key is written out."""
        return {}

    @property
    def audio(self) -> AudioShape:
        """The sizes of encoder and adaptor."""
        a = self.audio_encoder_config
        return AudioShape(
            mels=a["n_mels"],
            context=a["n_audio_ctx"],
            state=a["n_audio_state"],
            heads=a["n_audio_head"],
            layers=a["n_audio_layer"],
            adapter_hidden=a.get("adapter_hidden_size", ADAPTER_HIDDEN),
            output=a["llm_dim"],
        )

    @property
    def hidden_size(self) -> int:
        """Width of the decoder."""
        return self.text_config.hidden_size

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding matrix."""
        return self.text_config.vocab_size

    def get_text_config(self, decoder=None, encoder=None) -> Qwen2Config:
        """Return the decoder's config."""
        return self.text_config

    def to_dict(self) -> dict[str, Any]:
        """Return the published keys as they were given, with the present dtype."""
        import transformers

        out = copy.deepcopy(self._fields)
        out["model_type"] = self.model_type
        out["architectures"] = [ARCHITECTURES[self.model_type]]
        if self.dtype is not None:
            out["torch_dtype"] = str(self.dtype).removeprefix("torch.")
        out["transformers_version"] = transformers.__version__
        return out

    def to_diff_dict(self) -> dict[str, Any]:
        """Return all published keys: none is left out for being a default."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """Build the config; the map's ``model_type`` decides the shape that is written when saving."""
        known = {NESTED: EarwitnessConfig, FLAT: FlatEarwitnessConfig}
        kind = config_dict.get("model_type")
        if kind not in known:
            raise ValueError(
                f"model_type {kind!r} is not one of {', '.join(known)}; give a Step-Audio 2 or R1 checkpoint"
            )
        build = super(EarwitnessConfig, known[kind]).from_dict
        return build(config_dict, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any):  # type: ignore[override]
        """Read ``config.json`` of a folder or hub name; refuses a ``model_type`` that is not ours."""
        config_dict, kwargs = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)
        return cls.from_dict(config_dict, **kwargs)


class FlatEarwitnessConfig(EarwitnessConfig):
    """The same configuration, read from and saved to the flat published shape."""

    model_type = FLAT

    def __init__(self, **fields: Any) -> None:
        # Spelt out because transformers generates an initialiser for config classes that have none.
        super().__init__(**fields)


def _parts(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the text keys and the audio keys of either shape."""
    audio = fields.get("audio_encoder_config")
    if not isinstance(audio, dict):
        raise ValueError(
            "the config lacks 'audio_encoder_config'; give the config.json of a Step-Audio 2 or R1 checkpoint"
        )
    if "text_config" in fields:
        text = fields["text_config"]
        text = dict(text) if isinstance(text, dict) else text.to_dict()
    else:
        text = {k: v for k, v in fields.items() if k not in _TOP_IGNORED}
    text.setdefault("num_key_value_heads", text.get("num_attention_groups"))
    if text.get("max_position_embeddings") is None:
        text["max_position_embeddings"] = text.get("max_seq_len")
    return text, audio


def _check(text: dict[str, Any], audio: dict[str, Any], top: dict[str, Any]) -> None:
    """Raise ``ValueError`` for anything that this code cannot compute exactly."""
    nested = "text_config" in top
    for where, part, needed, fixed, ignored in (
        ("text_config" if nested else "the config", text, _TEXT_NEEDED, _TEXT_FIXED, _TEXT_IGNORED),
        ("audio_encoder_config", audio, _AUDIO_NEEDED, _AUDIO_FIXED, _AUDIO_IGNORED),
    ):
        for key in needed:
            if part.get(key) is None:
                raise ValueError(f"{where} lacks {key!r}, which has no safe default; add it to config.json")
        for key, values in fixed.items():
            if key in part and part[key] not in values:
                raise ValueError(f"{where} has {key} = {part[key]!r}, and only {values[0]!r} is implemented")
        _refuse_unknown(where, part, {*needed, *fixed, *ignored})
    if nested:
        _refuse_unknown("the config", top, _TOP_IGNORED | _NESTED_TOP)
        for key in ("tie_word_embeddings", "use_sliding_window"):
            if top.get(key):
                raise ValueError(f"the config has {key} = {top[key]!r}, and only False is implemented")
    groups, kv = text.get("num_attention_groups"), text["num_key_value_heads"]
    if groups is not None and groups != kv:
        raise ValueError(f"num_attention_groups is {groups} and num_key_value_heads is {kv}; they must be equal")
    heads, hidden = text["num_attention_heads"], text["hidden_size"]
    if hidden % heads or heads % kv or text.get("head_dim", hidden // heads) not in (None, hidden // heads):
        raise ValueError(f"hidden_size {hidden}, {heads} heads and {kv} key heads do not divide into whole heads")
    if audio["llm_dim"] != hidden:
        raise ValueError(
            f"llm_dim of the adaptor is {audio['llm_dim']} and hidden_size is {hidden}; they must be equal"
        )
    if audio["n_audio_state"] % audio["n_audio_head"]:
        raise ValueError(
            f"n_audio_state {audio['n_audio_state']} is not a multiple of n_audio_head {audio['n_audio_head']}"
        )
    rope = text.get("rope_parameters")
    if rope and (rope.get("rope_type", "default") != "default" or rope.get("rope_theta") != text["rope_theta"]):
        raise ValueError(
            f"rope_parameters is {rope!r}, and only the default kind with the same rope_theta is implemented"
        )


def _refuse_unknown(where: str, part: dict[str, Any], known: set[str]) -> None:
    # Fields that transformers itself writes into any config (return_dict, id2label, ...) change nothing here.
    generic = set(PreTrainedConfig.__dataclass_fields__)
    unknown = sorted(k for k in part if k not in known and k not in generic and not k.startswith("_"))
    if unknown:
        raise ValueError(
            f"{where} has keys that this version does not understand: {', '.join(unknown)}; update earwitness"
        )


def _decoder_config(text: dict[str, Any]) -> Qwen2Config:
    names = [k for k in _TEXT_NEEDED if k != "rope_theta"] + ["eos_token_id", "pad_token_id", "bos_token_id"]
    values = {k: text[k] for k in names if text.get(k) is not None}
    rope = {"rope_type": "default", "rope_theta": float(text["rope_theta"])}
    return Qwen2Config(**values, rope_parameters=rope, tie_word_embeddings=False)


def _stop_ids(top: dict[str, Any], text: dict[str, Any], vocab: int) -> list[int]:
    """Return the ids that end a reply: those given and, for the published vocabulary, the published three."""
    given = top.get("eos_token_id")
    given = text.get("eos_token_id") if given is None else given
    ids = [] if given is None else [given] if isinstance(given, int) else list(given)
    if vocab == PUBLISHED_VOCAB:
        ids += [i for i in PUBLISHED_STOPS if i not in ids]
    return ids
