"""The golden checkpoint and small random models, shared by the model tests."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import numpy as np
import torch

from earwitness.model import AudioReasoner, EarwitnessConfig

GOLDEN = pathlib.Path(__file__).parent / "golden"


def write_golden(folder: pathlib.Path, config: str) -> pathlib.Path:
    """Write the golden checkpoint of one config shape, with the golden folder's own script."""
    spec = importlib.util.spec_from_file_location("make_checkpoint", GOLDEN / "make_checkpoint.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    argv, sys.argv = sys.argv, ["make_checkpoint.py", str(folder), "--config", f"config_{config}.json"]
    try:
        script.main()
    finally:
        sys.argv = argv
    return folder


def golden_cases() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "cases.npz") as cases:
        return {name: cases[name] for name in cases.files}


def waves(cases: dict[str, np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(cases[f"clip{i}_pcm16"] / np.float32(32768)) for i in range(4)]


def small_config(**text) -> EarwitnessConfig:
    """A config of a few thousand parameters in the nested shape."""
    return EarwitnessConfig(
        text_config={
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10_000.0,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **text,
        },
        audio_encoder_config={
            "n_mels": 128,
            "n_audio_ctx": 1500,
            "n_audio_state": 32,
            "n_audio_head": 4,
            "n_audio_layer": 2,
            "llm_dim": 32,
            "kernel_size": 3,
            "adapter_stride": 2,
            "adapter_hidden_size": 40,
        },
        audio_start_token_id=3,
        audio_end_token_id=4,
        audio_patch_token_id=5,
    )


def small_model(seed: int = 0, **text) -> AudioReasoner:
    torch.manual_seed(seed)
    model = AudioReasoner(small_config(**text)).eval()
    for value in model.parameters():  # far from the small initial values, so that a wrong term shows
        torch.nn.init.normal_(value, std=0.3)
    return model


def prompt(counts: list[int]) -> torch.Tensor:
    """Ids (1, T) with one clip of each count, in the small model's ids."""
    ids = [10, 11]
    for n in counts:
        ids += [3, *[5] * n, 4]
    return torch.tensor([[*ids, 12, 13]])
