"""The three sizes: ``tiny`` (ours, trained from nothing), ``mini`` (Step-Audio 2 mini), ``r1`` (Step-Audio-R1)."""

from __future__ import annotations

from typing import Any

from earwitness.model.config import PUBLISHED_VOCAB, EarwitnessConfig

PRESETS = ("tiny", "mini", "r1")

_TEXT: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_attention_groups": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 1024,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 4096,
    },
    "mini": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_attention_groups": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 16_384,
    },
    "r1": {
        "hidden_size": 5120,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_attention_groups": 8,
        "num_key_value_heads": 8,
        "intermediate_size": 27648,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 65_536,
    },
}
_ENCODER = {
    "tiny": {"n_audio_state": 256, "n_audio_head": 4, "n_audio_layer": 5},
    "mini": {"n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32},
    "r1": {"n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32},
}
_NAMES = {
    "audio_start_token_id": "<audio_start>",
    "audio_end_token_id": "<audio_end>",
    "audio_patch_token_id": "<audio_patch>",
}
# Where our tokenizer puts its first special names; used for "tiny" before a tokenizer exists.
_TINY_IDS = {"audio_start_token_id": 3, "audio_end_token_id": 4, "audio_patch_token_id": 5}


def preset(name: str, tokenizer: Any = None, vocab_size: int = 2048) -> EarwitnessConfig:
    """Return the config of ``tiny``, ``mini`` or ``r1``.

    Args:
        name: one of ``PRESETS``.
        tokenizer: for ``tiny``, the transformers tokenizer whose size and special ids the config takes over.
        vocab_size: for ``tiny`` without a tokenizer.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    top: dict[str, Any] = {}
    eos, pad = 151_643, 151_643
    if name != "tiny":
        vocab_size = PUBLISHED_VOCAB
    elif tokenizer is None:
        top, eos, pad = dict(_TINY_IDS), 2, 0
    else:
        vocab_size, vocab = len(tokenizer), tokenizer.get_vocab()
        missing = [t for t in (*_NAMES.values(), "<|EOT|>", "<|endoftext|>") if t not in vocab]
        if missing:
            raise ValueError(f"the tokenizer lacks {', '.join(missing)}; train it with earwitness.model.tokenizer")
        top = {key: vocab[token] for key, token in _NAMES.items()}
        eos, pad = vocab["<|EOT|>"], vocab["<|endoftext|>"]
    return EarwitnessConfig(
        architectures=["StepAudio2ForCausalLM"],
        text_config={
            "model_type": "step_audio_2_text",
            "vocab_size": vocab_size,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "hidden_act": "silu",
            # A context of 4,096 needs no slow rotations; a small base resolves neighbouring positions better.
            "rope_theta": 10_000.0 if name == "tiny" else 1_000_000.0,
            "rope_scaling": None,
            **_TEXT[name],
        },
        audio_encoder_config={
            "model_type": "step_audio_2_encoder",
            "n_mels": 128,
            "n_audio_ctx": 1500,
            "n_codebook_size": 4096,
            "llm_dim": _TEXT[name]["hidden_size"],
            "kernel_size": 3,
            "adapter_stride": 2,
            **_ENCODER[name],
        },
        **top,
    )
