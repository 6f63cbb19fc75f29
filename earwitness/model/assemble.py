"""A fresh model from a Qwen2-Audio encoder and a Qwen2.5 decoder, as the published one began.

The adaptor is new, the embedding matrices grow to the published vocabulary. Tensors go through one at a time, so
memory holds one output shard and not the 67 GB of the large model. No tokenizer is written.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import torch

from earwitness.model import checkpoint
from earwitness.model.adaptor import Adaptor
from earwitness.model.config import PUBLISHED_VOCAB, EarwitnessConfig
from earwitness.model.reasoner import AudioReasoner

# Qwen2-Audio's names inside "audio_tower." -> the published names inside "encoder.", first match wins.
ENCODER_NAMES = {
    "embed_positions.": "positional_embedding.",
    "self_attn_layer_norm.": "attn_ln.",
    "final_layer_norm.": "mlp_ln.",
    "layer_norm.": "after_norm.",
    "self_attn.q_proj.": "attn.query.",
    "self_attn.k_proj.": "attn.key.",
    "self_attn.v_proj.": "attn.value.",
    "self_attn.out_proj.": "attn.out.",
    "fc1.": "mlp.0.",
    "fc2.": "mlp.2.",
    "conv1.": "conv1.",
    "conv2.": "conv2.",
}
_TOWER = "audio_tower."
_TEXT_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)


def encoder_key(name: str) -> str:
    """Return the published key of a Qwen2-Audio encoder key such as ``layers.0.fc1.weight``."""
    block, rest = "", name
    if name.startswith("layers."):
        number, rest = name.removeprefix("layers.").split(".", 1)
        block = f"blocks.{number}."
    for theirs, ours in ENCODER_NAMES.items():
        if rest.startswith(theirs):
            return f"encoder.{block}{ours}{rest.removeprefix(theirs)}"
    raise ValueError(f"{name} is not a key of a Qwen2-Audio encoder; give a Qwen2-Audio checkpoint")


def assemble(
    encoder_folder: str | os.PathLike,
    decoder_folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    shard_bytes: int = 5_000_000_000,
) -> EarwitnessConfig:
    """Write a fresh model in the published layout and return its config.

    Args:
        encoder_folder: a Qwen2-Audio checkpoint (only ``audio_tower.*`` is read), folder or hub name.
        decoder_folder: a Qwen2.5 checkpoint, folder or hub name.
        out: the folder to write; whole or not at all.
        dtype: of everything written.
        seed: of the adaptor and of the new embedding rows.
        shard_bytes: largest size of one weight file, unless one tensor alone is larger.
    """
    audio = pathlib.Path(checkpoint.local_folder(encoder_folder, {}))
    text = pathlib.Path(checkpoint.local_folder(decoder_folder, {}))
    text_fields = checkpoint.read_json(text / "config.json")
    config = _config(checkpoint.read_json(audio / "config.json"), text_fields)
    config.dtype = dtype
    with torch.device("meta"):
        expected = {k: tuple(v.shape) for k, v in AudioReasoner(config).state_dict().items()}
    torch_state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        with checkpoint.staged(out, sum(torch.Size(s).numel() for s in expected.values()) * dtype.itemsize) as staging:
            tied = bool(text_fields.get("tie_word_embeddings"))
            tensors = _tensors(config, audio, text, tied)
            _write_shards(staging, ((k, t.to(dtype).contiguous()) for k, t in tensors), shard_bytes)
            checkpoint.check_weights(staging, expected)
            config.save_pretrained(staging)
    finally:
        torch.random.set_rng_state(torch_state)
    return config


def _config(audio: dict[str, Any], text: dict[str, Any]) -> EarwitnessConfig:
    """Return the published-shape config of the two checkpoints together."""
    audio = audio.get("audio_config", audio)
    width = audio.get("d_model", 1280)
    if audio.get("encoder_ffn_dim", 4 * width) != 4 * width:
        raise ValueError(
            f"the audio encoder's encoder_ffn_dim is {audio['encoder_ffn_dim']}; only 4 x d_model is implemented"
        )
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ValueError(f"the decoder's rope scaling is {rope}; only the plain kind is implemented")
    for key in _TEXT_KEYS:
        if text.get(key) is None:
            raise ValueError(f"the decoder's config.json lacks {key!r}; give a Qwen2.5 checkpoint")
    if text.get("use_sliding_window"):
        raise ValueError("the decoder uses a sliding window, and only full attention is implemented")
    return EarwitnessConfig(
        text_config={
            "model_type": "step_audio_2_text",
            **{key: text[key] for key in _TEXT_KEYS},
            "num_attention_groups": text["num_key_value_heads"],
            "vocab_size": PUBLISHED_VOCAB,
            "hidden_act": text.get("hidden_act", "silu"),
            "rope_theta": text.get("rope_theta", rope.get("rope_theta")),
            "rope_scaling": None,
            "eos_token_id": 151_643,
            "pad_token_id": 151_643,
        },
        audio_encoder_config={
            "model_type": "step_audio_2_encoder",
            "n_mels": audio.get("num_mel_bins", 128),
            "n_audio_ctx": audio.get("max_source_positions", 1500),
            "n_audio_state": width,
            "n_audio_head": audio.get("encoder_attention_heads", 20),
            "n_audio_layer": audio.get("encoder_layers", 32),
            "n_codebook_size": 4096,
            "llm_dim": text["hidden_size"],
            "kernel_size": 3,
            "adapter_stride": 2,
        },
    )


def _tensors(
    config: EarwitnessConfig, audio: pathlib.Path, text: pathlib.Path, tied: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor of the new model under its published key."""
    for key, tensor in checkpoint.tensors(audio, wanted=lambda k: _TOWER in k):
        yield encoder_key(key.split(_TOWER, 1)[1]), tensor
    for key, tensor in Adaptor(config).state_dict().items():
        yield f"adapter.{key}", tensor
    for key, tensor in checkpoint.tensors(text, wanted=lambda k: k.startswith(("model.", "lm_head."))):
        if key == "lm_head.weight" and tied:
            continue  # the embedding below is its value
        if key in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor = _grown(tensor, config.vocab_size)
            if tied:
                yield "lm_head.weight", tensor
        yield key, tensor


def _grown(matrix_VH: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the matrix with new rows around the mean row: a token never seen starts out like an average one."""
    if len(matrix_VH) > rows:
        raise ValueError(f"the decoder has {len(matrix_VH)} embedding rows and the published vocabulary has {rows}")
    noise_VH = torch.randn(rows - len(matrix_VH), matrix_VH.shape[1]) * 0.02  # Qwen2's initializer_range
    new_VH = matrix_VH.float().mean(0) + noise_VH
    return torch.cat([matrix_VH, new_VH.to(matrix_VH.dtype)])


def _write_shards(folder: pathlib.Path, tensors: Iterator[tuple[str, torch.Tensor]], shard_bytes: int) -> None:
    """Write the tensors into numbered safetensors files with an index, as they come."""
    from safetensors.torch import save_file

    files: list[list[str]] = []
    part: dict[str, torch.Tensor] = {}
    total = 0

    def flush() -> None:
        if part:
            save_file(part, folder / f"{len(files)}.partial", metadata={"format": "pt"})
            files.append(list(part))
            part.clear()

    for key, tensor in tensors:
        total += tensor.nbytes
        if sum(t.nbytes for t in part.values()) + tensor.nbytes > shard_bytes:
            flush()
        part[key] = tensor.clone() if any(tensor.data_ptr() == t.data_ptr() for t in part.values()) else tensor
    flush()
    names = [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    for number, name in enumerate(names):
        (folder / f"{number}.partial").rename(folder / name)
    weight_map = {key: name for name, keys in zip(names, files) for key in keys}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / checkpoint.INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
