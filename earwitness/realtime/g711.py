"""G.711 telephone codes, mu-law and A-law, to and from 16-bit samples by tables (ITU-T G.711)."""

from __future__ import annotations

import functools

import numpy as np


def decode(codes: np.ndarray, law: str) -> np.ndarray:
    """Return int16 samples for uint8 codes; ``law`` is ``mu`` or ``a``."""
    return _levels(law)[codes]


def encode(samples: np.ndarray, law: str) -> np.ndarray:
    """Return uint8 codes for int16 samples; ``law`` is ``mu`` or ``a``."""
    return _codes(law)[samples.astype(np.int32) + 32768]


@functools.cache
def _levels(law: str) -> np.ndarray:
    """Return the 256 levels of a law as int16."""
    code = np.arange(256)
    code = code ^ (0xFF if law == "mu" else 0x55)
    segment, step = (code >> 4) & 7, code & 15
    if law == "mu":
        size = (((step << 3) + 0x84) << segment) - 0x84
        return np.where(code & 0x80, -size, size).astype(np.int16)
    size = np.where(segment == 0, (step << 4) + 8, ((step << 4) + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


@functools.cache
def _codes(law: str) -> np.ndarray:
    """Return the codes of all 65,536 samples from -32,768 up, as uint8."""
    sample = np.arange(-32768, 32768)
    if law == "mu":  # a bias makes every segment start at a power of two
        size = np.minimum(np.abs(sample), 32_635) + 132
        segment = _bits(size) - 8
        code = (segment << 4) | ((size >> (segment + 3)) & 15)
        return (code ^ np.where(sample < 0, 0x7F, 0xFF)).astype(np.uint8)
    fine = sample >> 3  # 13 bits
    negative = fine < 0
    size = np.where(negative, -fine - 1, fine)
    segment = np.clip(_bits(size) - 5, 0, 7)
    code = (segment << 4) | ((size >> np.maximum(segment, 1)) & 15)
    return (code ^ np.where(negative, 0x55, 0xD5)).astype(np.uint8)


def _bits(size: np.ndarray) -> np.ndarray:
    """Return how many bits each non-negative number needs."""
    return np.where(size > 0, np.frexp(size.astype(np.float64))[1], 0)
