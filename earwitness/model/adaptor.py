"""The adaptor between encoder and decoder: 25 Hz states -> 12.5 Hz features of the decoder's width.

Letters: B clips, E encoder frames at 25 Hz, N audio tokens at 12.5 Hz, D encoder width, H decoder width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from earwitness.model.config import EarwitnessConfig


def audio_tokens(encoder_frames: int) -> int:
    """Return N for E encoder frames."""
    return (encoder_frames + 1) // 2


class Adaptor(nn.Module):
    """A strided convolution and two linear maps; ReLU between them, no norm, no residual."""

    def __init__(self, config: EarwitnessConfig) -> None:
        super().__init__()
        shape = config.audio
        self.conv = nn.Conv1d(shape.state, shape.state, kernel_size=3, stride=2, padding=1)
        self.linear1 = nn.Linear(shape.state, shape.adapter_hidden)
        self.linear2 = nn.Linear(shape.adapter_hidden, shape.output)

    def forward(self, states_BED: torch.Tensor) -> torch.Tensor:
        """Return (B, N, H); rows shorter than E must be zero after their end, as the convolution's padding is."""
        x_BND = F.gelu(self.conv(states_BED.transpose(1, 2)).transpose(1, 2))
        return self.linear2(F.relu(self.linear1(x_BND)))
