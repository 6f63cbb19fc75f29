"""Audio in: file, bytes or array -> mono 16 kHz waveform -> log-mel; chunks; audio token counts; WAV out."""

from earwitness.audio.decoders import MAX_SECONDS
from earwitness.audio.decoding import Source, duration_seconds, load_audio, stream_audio
from earwitness.audio.front_end import (
    CHUNK_SECONDS,
    HOP,
    MEL_BINS,
    N_FFT,
    SAMPLE_RATE,
    AudioRule,
    audio_token_count,
    encoder_frame_count,
    log_mel,
    mel_filters,
    split_chunks,
)
from earwitness.audio.wav import encode_wav, write_wav
from earwitness.audio.windows import Recording, Span

__all__ = [
    "CHUNK_SECONDS",
    "HOP",
    "MAX_SECONDS",
    "MEL_BINS",
    "N_FFT",
    "SAMPLE_RATE",
    "AudioRule",
    "Recording",
    "Source",
    "Span",
    "audio_token_count",
    "duration_seconds",
    "encode_wav",
    "encoder_frame_count",
    "load_audio",
    "log_mel",
    "mel_filters",
    "split_chunks",
    "stream_audio",
    "write_wav",
]
