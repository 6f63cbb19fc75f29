"""Text -> speech by espeak-ng, in this process, with the times of its phonemes.

The library and its data come from the package ``espeakng-loader`` (extra ``world``). The library keeps one voice and
one set of parameters for the process, so every call sets them all under a lock. From text to text it also keeps the
phase of its flutter and a random generator; voices are used without what draws on these, so that a wave depends on the
arguments only.
"""

from __future__ import annotations

import ctypes
import pathlib
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE_RATE = 16_000
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples come to a callback before espeak_Synth returns
_PHONEME_EVENTS, _DONT_EXIT = 0x0001, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_CHARS_UTF8 = 1
# The lines of a variant that are used; the others (flutter, roughness, breath, echo) differ from call to call.
_SHAPE = ("pitch", "formant", "voicing", "consonants", "stress", "tone", "intonation")
_SILENCE = 0.008  # of the peak: quieter than any consonant, louder than the tail of the resampler


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h; the last field is a union of which only the phoneme's name is read."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Mark:
    """One phoneme or word in a synthesised wave: espeak's mnemonic or the word's text, times in seconds."""

    kind: str
    """``phoneme`` or ``word``."""
    name: str
    start: float
    end: float


class _Espeak:
    """The library handle, its sample rate, its voices without chance, and the buffers that its callback fills."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ImportError('speech needs espeak-ng; run: pip install "earwitness[world]"') from error
        self.lock = threading.Lock()
        self.library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self.data = pathlib.Path(espeakng_loader.get_data_path())
        self.rate = self.library.espeak_Initialize(
            _SYNCHRONOUS, 0, str(self.data).encode(), _PHONEME_EVENTS | _DONT_EXIT
        )
        if self.rate <= 0:
            raise OSError('espeak-ng did not start; run: pip install --force-reinstall "earwitness[world]"')
        self.folder = tempfile.TemporaryDirectory(prefix="earwitness-voices-")
        self.voices: dict[str, bytes] = {}
        self.text = ""
        self.samples: list[np.ndarray] = []
        self.marks: list[tuple[str, str, int]] = []
        self.callback = _Callback(self._receive)  # kept here, else it is collected while the library holds it
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self.samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while events[i].type != _EVENT_END:
            event = events[i]
            if event.type == _EVENT_PHONEME:
                self.marks.append(("phoneme", event.name.decode("utf-8", "ignore"), event.sample))
            elif event.type == _EVENT_WORD:
                first = event.text_position - 1
                self.marks.append(("word", self.text[first : first + event.length], event.sample))
            i += 1
        return 0

    def _voice(self, voice: str) -> bytes:
        """Return the path of a voice file like ``voice`` but without flutter, breath and echo."""
        if voice not in self.voices:
            language, _, variant = voice.partition("+")
            base, shape = self.data / "lang" / "gmw" / language, self.data / "voices" / "!v" / (variant or "m1")
            if not (base.is_file() and shape.is_file()):
                raise ValueError(f"espeak-ng has no voice {voice!r}; use one such as 'en-US+m3'")
            kept = [x for x in shape.read_text(encoding="utf-8").splitlines() if x.startswith(_SHAPE)]
            lines = [base.read_text(encoding="utf-8"), *kept]
            path = pathlib.Path(self.folder.name) / f"v{len(self.voices)}"  # it reads a plus or minus sign as a variant
            path.write_text("\n".join([*lines, "flutter 0", "roughness 0", ""]), encoding="utf-8")
            self.voices[voice] = str(path).encode()
        return self.voices[voice]

    def speak(self, text: str, voice: str, settings: dict[int, int]) -> tuple[np.ndarray, list[tuple[str, str, int]]]:
        with self.lock:
            self.samples, self.marks, self.text = [], [], text
            if self.library.espeak_SetVoiceByFile(self._voice(voice)) != 0:
                raise OSError(f"espeak-ng cannot read its voice {voice!r} from {self.folder.name}; free space there")
            for parameter, value in settings.items():
                self.library.espeak_SetParameter(parameter, int(value), 0)
            data = text.encode() + b"\0"
            self.library.espeak_Synth(data, len(data), 0, 1, 0, _CHARS_UTF8, None, None)
            wave = np.concatenate(self.samples) if self.samples else np.zeros(0, np.int16)
            return wave, self.marks


_handle: _Espeak | None = None
_handle_lock = threading.Lock()


def _espeak() -> _Espeak:
    global _handle
    with _handle_lock:
        if _handle is None:
            _handle = _Espeak()
        return _handle


def synthesise(
    text: str, voice: str, pitch: int = 50, pitch_range: int = 50, rate_wpm: int = 170, volume: int = 100
) -> tuple[np.ndarray, list[Mark]]:
    """Return (wave, marks): mono float32 at 16 kHz without silence at its ends, and its phonemes and words in order.

    ``voice`` is a language with a variant, such as ``en-US+f2``; ``pitch`` and ``pitch_range`` are 0 to 99 on
    espeak's scale, ``rate_wpm`` 80 to 450 words a minute, ``volume`` 0 to 200. A text that ends in a question mark
    rises. Raises ``ImportError`` where the extra is missing and ``ValueError`` for an unknown voice.
    """
    import soxr

    espeak = _espeak()
    settings = {_RATE: rate_wpm, _VOLUME: volume, _PITCH: pitch, _RANGE: pitch_range, _WORD_GAP: 0}
    samples, marks = espeak.speak(text, voice, settings)
    wave = soxr.resample(samples.astype(np.float32) / 32768, espeak.rate, SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(wave) > _SILENCE * max(float(np.max(np.abs(wave), initial=0.0)), 1e-9))
    if not len(loud):
        return np.zeros(0, np.float32), []
    first, last = int(loud[0]), int(loud[-1]) + 1
    offset, length = first / SAMPLE_RATE, (last - first) / SAMPLE_RATE
    found: list[Mark] = []
    for kind in ("phoneme", "word"):
        named = [(name, min(max(sample / espeak.rate - offset, 0.0), length)) for k, name, sample in marks if k == kind]
        if kind == "word":  # espeak announces a word a little before its first phoneme
            named = [(name, min((m.start for m in found if m.start >= start), default=start)) for name, start in named]
        ends = [start for _, start in named[1:]] + [length]
        found += [Mark(kind, name, start, end) for (name, start), end in zip(named, ends) if name and end > start]
    return np.ascontiguousarray(wave[first:last], np.float32), found
