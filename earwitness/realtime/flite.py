"""flite, where the system has it: its shared libraries, loaded in this process; nothing of it is in the package."""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
from typing import Any

import numpy as np

from earwitness.realtime.voice import pause_after

# The protocol's voice names; flite has four voices that sound well.
_VOICES = {"default": "rms", "alloy": "slt", "coral": "slt", "marin": "slt", "sage": "slt", "shimmer": "slt"}
_VOICES |= {"ash": "rms", "ballad": "awb", "cedar": "rms", "echo": "kal16", "verse": "awb"}
_MISSING = "flite is not installed; install the system's libflite (Debian: apt-get install libflite1) or use espeak"


class _Wave(ctypes.Structure):
    """``cst_wave`` of flite's cst_wave.h."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Flite:
    """The libraries and the voices that were asked for; the library is not made for several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        for name in ("flite", "flite_usenglish", "flite_cmulex"):
            self.library = _library(name)
        self.library = _library("flite")
        self.library.flite_init()
        self.library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self.library.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self.library.delete_wave.argtypes = [ctypes.c_void_p]
        self.library.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self.voices: dict[str, Any] = {}

    def voice(self, name: str) -> Any:
        if name not in self.voices:
            register = getattr(_library(f"flite_cmu_us_{name}"), f"register_cmu_us_{name}")
            register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
            self.voices[name] = register(None)
        return self.voices[name]

    def speak(self, text: str, name: str, stretch: float) -> tuple[np.ndarray, int]:
        """Return (samples as float32, samples a second)."""
        with self.lock:
            voice = self.voice(name)
            features = ctypes.cast(voice, ctypes.POINTER(ctypes.c_void_p))[1]  # cst_voice: name, features, ...
            self.library.feat_set_float(features, b"duration_stretch", stretch)
            made = self.library.flite_text_to_wave(text.encode("ascii", "ignore"), voice)
            if not made:
                raise OSError(f"flite could not say {text[:40]!r}; use espeak")
            wave = made.contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32) / 32768
            rate = int(wave.sample_rate)
            self.library.delete_wave(made)
        return samples, rate


def _library(name: str) -> Any:
    found = ctypes.util.find_library(name)
    if found is None:
        raise OSError(_MISSING)
    return ctypes.CDLL(found, mode=ctypes.RTLD_GLOBAL)


_handle: _Flite | None = None
_handle_lock = threading.Lock()


def _flite() -> _Flite:
    global _handle
    with _handle_lock:
        if _handle is None:
            _handle = _Flite()
        return _handle


class FliteVoice:
    """A ``Voice``. flite puts a silence before and after what it says, which is cut: 0.2 s of waiting otherwise."""

    rate = 16_000

    def __init__(self, voice: str = "default", speed: float = 1.0) -> None:
        """Take a name of the protocol, or one of flite's: slt, rms, awb, kal16. ``OSError`` where flite is missing."""
        self.voice, self.stretch = _VOICES.get(voice, voice), 1 / speed
        if self.voice not in _VOICES.values():
            raise ValueError(f"flite has no voice {voice!r}; use one of {', '.join(sorted(set(_VOICES.values())))}")
        _flite()

    def say(self, clause: str) -> np.ndarray:
        """Return the sound of a clause; of one without words, only its pause."""
        wave = np.zeros(0, np.float32)
        if any(c.isalnum() for c in clause):
            wave, rate = _flite().speak(clause.strip(), self.voice, self.stretch)
            assert rate == self.rate, rate
            loud = np.flatnonzero(np.abs(wave) > 0.008 * max(float(np.abs(wave).max(initial=0)), 1e-9))
            wave = wave[loud[0] : loud[-1] + 1] if len(loud) else wave[:0]
        return np.concatenate([wave, pause_after(clause, self.rate)])
