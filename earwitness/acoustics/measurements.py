"""All measurements of one recording, each made when it is first asked for and then kept."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from earwitness.acoustics import harmony, loudness, rhythm, timbre, voice
from earwitness.acoustics.frames import FRAME_SECONDS, RATE, Frames
from earwitness.acoustics.notes import Note, notes_of
from earwitness.acoustics.pitch import INSTRUMENT_HZ, PitchTrack, track, voice_track
from earwitness.acoustics.quantity import Quantity, about
from earwitness.acoustics.segments import Event, events_of, onset_frames

_MAX_SECONDS = 1800


class Measurements:
    """What can be measured in a recording, without any model.

    Times are seconds from its beginning. Every result is a ``Quantity`` with an interval, or a list of events or
    notes. Pitch, notes and voice need the extra ``acoustics`` (Praat); asking for them without it raises
    ``ModuleNotFoundError`` naming the library. Not safe to share between threads before first use.
    """

    def __init__(self, wave: np.ndarray):
        """Keep a mono waveform (L,) of floats at 16 kHz in -1..1; raises ``ValueError`` for anything else."""
        wave = np.asarray(wave)
        if wave.ndim != 1 or not len(wave) or not np.issubdtype(wave.dtype, np.floating):
            raise ValueError(
                f"measurements take a mono float waveform at 16 kHz, not shape {wave.shape} of {wave.dtype}; read it "
                "with earwitness.load_audio"
            )
        if len(wave) > _MAX_SECONDS * RATE:
            raise ValueError(
                f"the recording is {len(wave) / RATE:.0f} s long and at most {_MAX_SECONDS} s are measured at once; "
                "cut it into parts"
            )
        if not np.isfinite(wave).all():
            raise ValueError("the waveform has values that are no numbers; read it again with earwitness.load_audio")
        self.wave = np.ascontiguousarray(wave, np.float32)
        self.seconds = len(wave) / RATE
        self._parts: dict[tuple[str, float, float], Quantity] = {}

    # -- tracks and segments -----------------------------------------------------------------------------------------

    @cached_property
    def frames(self) -> Frames:
        """Level, spectrum and onset strength every 5 ms."""
        return Frames(self.wave)

    @cached_property
    def pitch(self) -> PitchTrack:
        """Pitch from 55 to 2000 Hz, for notes."""
        return track(self.wave, INSTRUMENT_HZ)

    @cached_property
    def voice(self) -> PitchTrack:
        """Pitch of a voice, searched for around the speaker's own range."""
        return voice_track(self.frames)

    @cached_property
    def _events(self) -> tuple[list[Event], list[int]]:
        return events_of(self.frames)

    @cached_property
    def _notes(self) -> tuple[list[Note], list[int]]:
        return notes_of(self.frames, self.pitch)

    @property
    def events(self) -> list[Event]:
        """Stretches of sound parted by at least 0.1 s of background."""
        return self._events[0]

    @property
    def notes(self) -> list[Note]:
        """Notes in order, also where they follow each other without a gap."""
        return self._notes[0]

    @cached_property
    def onsets(self) -> list[float]:
        """Times at which a sound begins, in seconds."""
        return [f * FRAME_SECONDS for f in onset_frames(self.frames)]

    @cached_property
    def pauses(self) -> list[tuple[float, float]]:
        """Silences of at least 0.2 s between sounds, as (start, end)."""
        return voice.pauses(self.frames)

    # -- the clip as a whole -----------------------------------------------------------------------------------------

    @cached_property
    def num_events(self) -> Quantity:
        """Number of stretches of sound; the interval spans three settings of gap and threshold."""
        return self._count("events", *self._events)

    @cached_property
    def num_notes(self) -> Quantity:
        """Number of notes; the interval spans three sensitivities."""
        return self._count("notes", *self._notes)

    @cached_property
    def num_onsets(self) -> Quantity:
        """Number of onsets; the interval spans three sensitivities."""
        counts = [len(onset_frames(self.frames, setting)) for setting in range(3)]
        return self._count("onsets", self.onsets, counts)

    def _count(self, name: str, found: list, counts: list[int]) -> Quantity:
        return Quantity(name, len(found), min(counts), max(counts), start=0.0, end=self.seconds)

    @cached_property
    def tempo(self) -> Quantity:
        """Beats a minute."""
        return rhythm.tempo(self.frames, [n.start for n in self.notes])

    @cached_property
    def chord(self) -> Quantity:
        """Major or minor triad of a clip of few notes."""
        return harmony.triad(self.notes)

    @cached_property
    def key(self) -> Quantity:
        """Key of a clip of at least 3 s with clear pitch."""
        return harmony.key(self.key_fits, self.seconds)

    @cached_property
    def key_fits(self) -> dict[str, float]:
        """How well each key fits, the best first; empty for a clip under 3 s or with little pitch."""
        if self.seconds < 3 or self.pitch.voiced_share(0, self.seconds) < 0.4:
            return {}
        return harmony.key_fits(self.wave)

    @cached_property
    def signal_to_noise(self) -> Quantity:
        """Distance of the sound from its background in dB."""
        return loudness.signal_to_noise(self.frames)

    @cached_property
    def speech_span(self) -> tuple[float, float]:
        """Return (first, last) time that is voiced, with a margin; (0, 0) without a voice."""
        voiced = np.flatnonzero(np.isfinite(self.voice.hz))
        if not len(voiced):
            return 0.0, 0.0
        first, last = self.voice.times[voiced[[0, -1]]]
        return max(float(first) - 0.15, 0.0), min(float(last) + 0.15, self.seconds)

    @cached_property
    def syllables(self) -> Quantity:
        """Number of syllables."""
        return voice.syllables(self.wave, self.voice, *self.speech_span)

    @cached_property
    def speaking_rate(self) -> Quantity:
        """Syllables a second, pauses included, from the first voiced sound to the last."""
        start, end = self.speech_span
        count = self.syllables
        if count.value is None or end - start < 0.8:
            return Quantity(
                "speaking rate", None, unit="syllables/s", note="there is too little speech", end=self.seconds
            )
        seconds = max(end - start - 0.2, 0.3)
        low, high = count.low / (seconds + 0.1), count.high / max(seconds - 0.1, 0.2)
        return Quantity("speaking rate", count.number / seconds, low, high, "syllables/s", start, end)

    # -- a span of the clip ------------------------------------------------------------------------------------------

    def level(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Level in dB below full scale."""
        return self._part("level", start, end, lambda a, b: loudness.level(self.frames, a, b))

    def trend(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Whether the sound grows, fades or stays."""
        return self._part("trend", start, end, lambda a, b: loudness.trend(self.frames, a, b))

    def voice_pitch(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Median pitch of the voice in Hz."""
        return self._part("voice_pitch", start, end, lambda a, b: voice.voice_pitch(self.voice, a, b))

    def pitch_range(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Span of the voice's pitch in semitones."""
        return self._part("pitch_range", start, end, lambda a, b: voice.pitch_range(self.voice, a, b))

    def final_intonation(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Whether the voice rises or falls at the end of the span."""
        return self._part("intonation", start, end, lambda a, b: voice.final_intonation(self.voice, a, b))

    def centroid(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Centre of gravity of the spectrum in Hz."""
        return self._part("centroid", start, end, lambda a, b: timbre.centroid(self.frames, a, b))

    def flatness(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Noisiness of the spectrum in dB."""
        return self._part("flatness", start, end, lambda a, b: timbre.flatness(self.frames, a, b))

    def harmonicity(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Harmonics-to-noise ratio in dB."""
        return self._part("harmonicity", start, end, lambda a, b: timbre.harmonicity(self.wave, a, b))

    def vibrato(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Depth of a regular swing of pitch in cents."""
        return self._part("vibrato", start, end, lambda a, b: timbre.vibrato(self.pitch, a, b))

    def envelope(self, start: float = 0.0, end: float | None = None) -> Quantity:
        """Struck or held."""
        return self._part("envelope", start, end, lambda a, b: timbre.envelope(self.frames, a, b))

    def balance(self) -> tuple[Quantity, Quantity, Quantity]:
        """Shares of energy in the low, middle and high frequencies of the clip."""
        return timbre.balance(self.frames, 0.0, self.seconds)

    @property
    def duration(self) -> Quantity:
        """Length of the clip."""
        return about("duration", self.seconds, 0.01, "s", end=self.seconds)

    def _part(self, name: str, start: float, end: float | None, measure) -> Quantity:
        span = max(start, 0.0), self.seconds if end is None else min(end, self.seconds)
        if (name, *span) not in self._parts:
            self._parts[name, *span] = measure(*span)
        return self._parts[name, *span]
