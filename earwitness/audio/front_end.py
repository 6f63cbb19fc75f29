"""The audio front end: constants, chunks, log-mel and audio token counts.

Letters: L samples at 16 kHz, T = (L + 479) // 160 mel frames of 10 ms. Every constant of the front end is here. torch
is imported late, so that decoding works where only numpy is installed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

SAMPLE_RATE = 16_000  # Hz
MEL_BINS = 128
N_FFT = 400  # a window of 25 ms
HOP = 160  # 10 ms: 100 mel frames a second, 25 encoder states, 12.5 audio tokens
# What the published clients cut at. The encoder's own limit is 1500 positions at 50 Hz: T <= 3000, so 29.98 s.
CHUNK_SECONDS = 25
AudioRule = Literal["serving", "reference"]

_PAD = 479  # zeros after the samples, as the published front end adds: the last frames see the clip's end


def split_chunks(wave: np.ndarray) -> list[np.ndarray]:
    """Return views of a waveform (L,) in order, each of at most 25 s: the longest clip the encoder takes.

    An exact multiple of 25 s leaves no empty tail; an empty waveform gives no chunk.
    """
    step = CHUNK_SECONDS * SAMPLE_RATE
    return [wave[start : start + step] for start in range(0, len(wave), step)]


def log_mel(wave: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return the log-mel spectrogram, float32 of shape (128, T) with T = (L + 479) // 160, values about -1 to 2.

    Whisper's arithmetic at 128 bins with 479 zeros after the clip and no padding to 30 s. The floor is 80 dB below
    the loudest bin of this chunk, so chunks are to be split first: this does not split.

    Args:
        wave: (L,) samples at 16 kHz, L >= 1; a tensor is transformed on its own device.

    Raises:
        ValueError: not one axis, no samples, or integers.
    """
    import torch

    samples = torch.as_tensor(wave)
    if not samples.is_floating_point():
        raise ValueError(f"log_mel takes floats in -1..1, not {samples.dtype}; scale them with load_audio first")
    samples = samples.float()
    if samples.ndim != 1 or not len(samples):
        raise ValueError(
            f"log_mel takes a mono waveform with one axis and at least one sample, not shape {tuple(samples.shape)}; "
            "read it with load_audio first"
        )
    padded = torch.nn.functional.pad(samples, (0, _PAD))
    window = torch.hann_window(N_FFT, device=padded.device)
    power = torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)[:, :-1].abs() ** 2
    log = (torch.from_numpy(mel_filters()).to(padded.device) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8) + 4) / 4


@lru_cache
def mel_filters() -> np.ndarray:
    """Return the (128, 201) float32 filterbank: Slaney mel scale and area norm, 0 to 8000 Hz (librosa's default)."""
    # Slaney's scale: linear to 1000 Hz at mel 15, then 27 mel for each factor of 6.4.
    top = 15 + np.log(SAMPLE_RATE / 2 / 1000) / (np.log(6.4) / 27)
    mel = np.linspace(0, top, MEL_BINS + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    up = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])[:, None]
    return (np.maximum(0, np.minimum(up, down)) * area).astype(np.float32)


def encoder_frame_count(num_samples: int, rule: AudioRule | str = "serving") -> int:
    """Return how many encoder states (25 a second) a chunk of num_samples at 16 kHz has; see audio_token_count."""
    if rule not in ("serving", "reference"):
        raise ValueError(f"the audio rule {rule!r} is unknown; choose 'serving' or 'reference'")
    if num_samples < 0:
        raise ValueError(f"a clip cannot have {num_samples} samples; give a length of 0 or more")
    frames = -(-int(num_samples) // HOP)  # T without the two frames that come from padding
    return (frames + 3) // 4 if rule == "serving" else (frames + 1) // 4


def audio_token_count(num_samples: int, rule: AudioRule | str = "serving") -> int:
    """Return how many audio tokens (12.5 per second) a chunk of num_samples at 16 kHz takes in the prompt.

    "serving" counts all T frames, as the published server does; "reference" leaves the two padding frames out, as
    the published Python code does. They differ by one token for a quarter of all lengths. By the reference rule a
    clip below 321 samples (20 ms) has 0 tokens: nothing of it reaches the model. Counts one chunk; see split_chunks.

    Raises:
        ValueError: a negative length, or an unknown rule.
    """
    return -(-encoder_frame_count(num_samples, rule) // 2)  # the adaptor's convolution has stride 2
