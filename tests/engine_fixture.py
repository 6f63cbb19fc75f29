"""A tokenizer and a random model small enough to answer in milliseconds."""

from __future__ import annotations

import random

import numpy as np
import torch

from earwitness.model import AudioReasoner
from earwitness.model.presets import preset
from earwitness.model.tokenizer import train_tokenizer

WORDS = ["note", "higher", "lower", "first", "second", "piano", "bell", "which", "is", "the", "a", "loud", "soft"]


def build_tokenizer():
    rng = random.Random(0)
    return train_tokenizer([" ".join(rng.choices(WORDS, k=8)) for _ in range(300)], 400)


def build_model(tokenizer, layers: int = 2):
    """Return a random model whose greedy text wanders instead of repeating one token."""
    torch.manual_seed(0)
    fields = preset("tiny", tokenizer).to_dict()
    fields["text_config"].update(hidden_size=64, num_hidden_layers=layers, intermediate_size=96)
    fields["audio_encoder_config"].update(n_audio_state=32, n_audio_head=2, n_audio_layer=1, llm_dim=64)
    model = AudioReasoner(type(preset("tiny", tokenizer)).from_dict(fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.2 / parameter[0].numel() ** 0.5)
        model.model.embed_tokens.weight.normal_(0, 1)
    return model


def tone(seconds: float, hz: float = 440.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def question(seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 12)))
