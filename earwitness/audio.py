"""Placeholder of the lead until the full module arrives: log-mel and token counts."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch

SAMPLE_RATE = 16_000
AudioRule = Literal["serving", "reference"]


@lru_cache
def _filters() -> torch.Tensor:
    def hz(m):
        return np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))

    top = 15 + np.log(8000 / 1000) / (np.log(6.4) / 27)
    edges = hz(np.linspace(0, top, 130))
    bins = np.linspace(0, 8000, 201)
    up = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    out = np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(out.astype(np.float32))


def log_mel(wave) -> torch.Tensor:
    x = torch.nn.functional.pad(torch.as_tensor(wave, dtype=torch.float32), (0, 479))
    spec = torch.stft(x, 400, 160, window=torch.hann_window(400), return_complex=True)[:, :-1].abs() ** 2
    log = (_filters() @ spec).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8) + 4) / 4


def audio_token_count(num_samples: int, rule: str = "serving") -> int:
    frames = -(-num_samples // 160)
    e = (frames + 3) // 4 if rule == "serving" else (frames + 1) // 4
    return -(-e // 2)
