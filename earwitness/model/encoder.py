"""The audio encoder of Qwen2-Audio (a Whisper encoder with average pooling), under the published key names.

Letters: B clips, M mel bins, T mel frames at 100 Hz, S frames at 50 Hz, E frames at 25 Hz, D width, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from earwitness.model.config import EarwitnessConfig

_PLAIN_FRAMES = 640
_UNSEEN = -30_000.0  # far below any score, and within float16


def frames_at_50hz(mel_frames):
    """Return S for T mel frames: the second convolution has stride 2 and padding 1."""
    return (mel_frames + 1) // 2


def frames_at_25hz(mel_frames):
    """Return E for T mel frames: pooling drops an odd last frame."""
    return (mel_frames + 1) // 2 // 2


def sinusoids(rows: int, width: int) -> torch.Tensor:
    """Return (rows, width) positions as in Whisper: sines then cosines, periods from 2 pi to 20,000 pi frames."""
    rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(rows)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def attend(
    q_BHSd: torch.Tensor, k_BHSd: torch.Tensor, v_BHSd: torch.Tensor, bias_B11S: torch.Tensor | None
) -> torch.Tensor:
    """Return softmax(q k' / sqrt(d) + bias) v, (B, H, S, d).

    The published code scales q and k by d ** -0.25 each: the same in exact arithmetic. On a CPU short clips take three
    plain kernels, which beat the fused one there (measured, 250 frames in bfloat16: 3.0 against 5.1 ms forward at
    20 heads, 1.8 times faster with the backward pass); long ones would need too much memory for the scores.
    """
    if q_BHSd.device.type != "cpu" or q_BHSd.shape[2] > _PLAIN_FRAMES:
        return F.scaled_dot_product_attention(q_BHSd, k_BHSd, v_BHSd, attn_mask=bias_B11S)
    B, H, S, d = q_BHSd.shape
    q, k, v = (x.reshape(B * H, S, d) for x in (q_BHSd * d**-0.5, k_BHSd, v_BHSd))
    if bias_B11S is None:
        scores = torch.bmm(q, k.transpose(1, 2))
    else:
        scores = torch.baddbmm(bias_B11S.expand(B, H, 1, S).reshape(B * H, 1, S), q, k.transpose(1, 2))
    return torch.bmm(scores.softmax(-1), v).view(B, H, S, d)


class Attention(nn.Module):
    """Bidirectional self-attention; the key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BSD: torch.Tensor, bias_B11S: torch.Tensor | None) -> torch.Tensor:
        """Return the attended (B, S, D); the bias is added to the scores, very negative where a key is not seen."""
        q, k, v = (p(x_BSD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.query, self.key, self.value))
        attended_BHSd = attend(q, k, v, None if bias_B11S is None else bias_B11S.to(q.dtype))
        return self.out(attended_BHSd.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x_BSD: torch.Tensor, bias_B11S: torch.Tensor | None) -> torch.Tensor:
        """Return the block's (B, S, D)."""
        x_BSD = x_BSD + self.attn(self.attn_ln(x_BSD), bias_B11S)
        return x_BSD + self.mlp(self.mlp_ln(x_BSD))


class AudioEncoder(nn.Module):
    """Log-mel frames at 100 Hz -> states at 25 Hz."""

    def __init__(self, config: EarwitnessConfig) -> None:
        super().__init__()
        shape = config.audio
        self.context = shape.context
        self.conv1 = nn.Conv1d(shape.mels, shape.state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(shape.state, shape.state, kernel_size=3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(shape.context, shape.state)
        self.blocks = nn.ModuleList(Block(shape.state, shape.heads) for _ in range(shape.layers))
        self.after_norm = nn.LayerNorm(shape.state)
        with torch.no_grad():
            self.positional_embedding.weight.copy_(sinusoids(shape.context, shape.state))

    def forward_padded(self, mel_BMT: torch.Tensor, num_frames_B: torch.Tensor, masked_frames: int = 0) -> torch.Tensor:
        """Return states (B, E, D) of clips that are zero-padded to one length.

        Args:
            mel_BMT: log-mels, zeros after each clip's own frames.
            num_frames_B: each clip's own T. Row b holds ``frames_at_25hz(T_b - masked_frames)`` states; what comes
                after them is not meaningful.
            masked_frames: how many last frames of every clip attention does not see; 2 for the reference rule.

        A clip's states do not depend on its batch mates: what the convolutions see past its edge is zero, and
        attention does not see it.
        """
        T = mel_BMT.shape[2]
        if frames_at_50hz(T) > self.context:
            given, limit = T / 100, self.context / 50
            raise ValueError(f"a clip of {given:.2f} s is over the encoder's {limit:.2f} s; split it into chunks")
        x = F.gelu(self.conv1(mel_BMT.to(self.conv1.weight.dtype)))
        num_frames_B = num_frames_B.to(x.device)
        inside_BT = torch.arange(T, device=x.device) < num_frames_B[:, None]
        padded = not bool(inside_BT.all())
        if padded:
            # The second convolution must meet the edge's zero padding, not the first one's answer to padding.
            x = x * inside_BT[:, None].to(x.dtype)
        x_BSD = F.gelu(self.conv2(x)).transpose(1, 2)
        # Masked frames at the end of every clip are simply cut: nothing looks at them and they are not returned.
        S = frames_at_50hz(T - masked_frames)
        x_BSD = x_BSD[:, :S] + self.positional_embedding(torch.arange(S, device=x.device))
        bias_B11S = None
        if padded:
            seen_B = frames_at_50hz(num_frames_B - masked_frames)
            unseen_BS = torch.arange(S, device=x.device) >= seen_B[:, None]
            bias_B11S = (unseen_BS * _UNSEEN)[:, None, None]
        for block in self.blocks:
            x_BSD = block(x_BSD, bias_B11S)
        pooled_BED = x_BSD[:, : S // 2 * 2].unflatten(1, (-1, 2)).mean(2)
        return self.after_norm(pooled_BED)
