"""Twenty recordings with known settings by synthesisers outside SoundWorld, and what must be measured in them.

Instruments by additive, FM and plucked-string synthesis (``synths``), voices by Praat's KlattGrid with a pitch that is
set in Hz, and sentences by espeak-ng with a set rate. ``installed`` adds recordings by flite and by fluidsynth where
these programs are on the machine.
"""

import dataclasses
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import synths
from synths import BRASS, CLARINET, PIPE, RATE, SAW, STRING, hz_of

from earwitness.acoustics import Measurements
from earwitness.soundworld.voices import synthesise

# Tolerances that are stated in the evidence.
SEMITONES, SECONDS, SYLLABLES, HZ, DB = 0.2, 0.03, 0.2, 0.03, 2.0


@dataclasses.dataclass(frozen=True)
class Check:
    """One measurement of a recording against its setting."""

    recording: str
    what: str
    measured: float | str | None
    expected: float | str
    tolerance: float = 0.0

    @property
    def holds(self):
        if isinstance(self.expected, str) or self.measured is None:
            return self.measured == self.expected
        return abs(self.measured - self.expected) <= self.tolerance + 1e-9


def _melody(name, play, midis, seconds=0.35, gap=0.06):
    wave, starts = synths.row([play(hz_of(m), seconds) for m in midis], gap=gap, noise_db=-60)
    found = Measurements(wave)
    checks = [Check(name, "notes", found.num_notes.number, len(midis))]
    for i, (note, midi, start) in enumerate(zip(found.notes, midis, starts), 1):
        pitch = 69 + 12 * np.log2(note.hz / 440) if note.hz else None
        checks += [
            Check(name, f"pitch of note {i}, MIDI", pitch, midi, SEMITONES),
            Check(name, f"onset of note {i}, s", note.start, start, SECONDS),
        ]
    return checks


def _beats(name, play, bpm, n=9):
    wave = synths.place([(0.2 + i * 60 / bpm, play(hz_of(60 + i % 3), 0.15)) for i in range(n)], 0.6 + n * 60 / bpm)
    return [Check(name, "beats a minute", Measurements(wave).tempo.number, bpm, 0.02 * bpm)]


def _levels(name):
    wave, _ = synths.row([synths.tone(330, 0.5, PIPE, db) for db in (-16, -28, -20)], noise_db=-75)
    levels = [n.level_db for n in Measurements(wave).notes]
    gaps = [levels[1] - levels[0], levels[2] - levels[1]] if len(levels) == 3 else [None, None]
    return [
        Check(name, f"step {i} of level, dB", gap, want, DB) for i, (gap, want) in enumerate(zip(gaps, (-12, 8)), 1)
    ]


def _lengths(name):
    wave, _ = synths.row([synths.tone(294, s, CLARINET) for s in (0.8, 0.25, 0.5)], gap=0.1, noise_db=-75)
    found = Measurements(wave).notes
    return [
        Check(name, f"length of note {i}, s", n.seconds, s, 0.05)
        for i, (n, s) in enumerate(zip(found, (0.8, 0.25, 0.5)), 1)
    ]


def _vibrato(name):
    shaken = synths.place([(0.2, synths.tone(440, 1.6, STRING, vibrato_cents=35))], 2.0)
    plain = synths.place([(0.2, synths.tone(440, 1.6, STRING))], 2.0)
    with_, without = (Measurements(w).vibrato(0.25, 1.75).number for w in (shaken, plain))
    return [Check(name, "vibrato, cents", with_, 35, 8), Check(name, "vibrato of a plain note", without, 0, 4)]


def _harmony(name, mode):
    third = {"major": 4, "minor": 3}[mode]
    wave, _ = synths.row([synths.tone(hz_of(57 + s), 0.4, BRASS) for s in (0, third, 7)])
    return [Check(name, "chord", Measurements(wave).chord.value, f"A {mode}")]


def _noise(name, db):
    wave, _ = synths.row([synths.tone(262, 0.6, SAW, -18) for _ in range(3)], gap=0.4, noise_db=-18 - db)
    measured = Measurements(wave).signal_to_noise.number
    return [Check(name, "signal-to-noise ratio, dB", measured, db, 3.0)]


def _swell(name):
    tone = synths.tone(392, 2.0, CLARINET) * 10 ** (np.linspace(-20, 0, 2 * RATE) / 20)
    return [
        Check(name, "loudness trend", Measurements(synths.place([(0.1, tone)], 2.2)).trend(0.1, 2.1).value, "growing")
    ]


def klatt(points, seconds=1.2):
    """Return a vowel by Praat's KlattGrid with pitch points (seconds, Hz)."""
    from parselmouth.praat import call

    first = points[0][1]
    grid = call("Create KlattGrid from vowel", "a", seconds, first, 700, 80, 1200, 90, 2500, 120, 3500, 0.05, 1000)
    call(grid, "Remove pitch points", 0, seconds)
    for at, hz in points:
        call(grid, "Add pitch point", at, hz)
    sound = call(call(grid, "To Sound"), "Resample", RATE, 50)
    wave = sound.values[0]
    return synths.place([(0.2, wave * 0.1 / np.sqrt(np.mean(wave**2)))], seconds + 0.4, -70)


def _steady_voice(name, hz):
    found = Measurements(klatt([(0, hz), (1.2, hz)]))
    return [Check(name, "voice pitch, Hz", found.voice_pitch().number, hz, HZ * hz)]


def _ending(name, hz, semitones, value):
    end = hz * 2 ** (semitones / 12)
    found = Measurements(klatt([(0, hz), (0.85, hz), (1.15, end), (1.2, end)]))
    return [Check(name, "final intonation", found.final_intonation().value, value)]


def _rate(name, text, syllables, wpm):
    spoken, _ = synthesise(text, "en-US+m3", pitch=45, rate_wpm=wpm)
    found = Measurements(synths.place([(0.2, spoken)], len(spoken) / RATE + 0.4, -75))
    per_second = syllables / (len(spoken) / RATE)
    return [
        Check(name, "syllables", found.syllables.number, syllables, SYLLABLES * syllables),
        Check(name, "syllables a second", found.speaking_rate.number, per_second, SYLLABLES * per_second),
    ]


def _paused(name):
    a, _ = synthesise("we waited for the train", "en-US+f2", pitch=50)
    b, _ = synthesise("it never came", "en-US+f2", pitch=50)
    wave = synths.place([(0.2, a), (0.2 + len(a) / RATE + 0.7, b)], (len(a) + len(b)) / RATE + 1.3, -75)
    found = Measurements(wave).pauses
    longest = max((y - x for x, y in found), default=None)
    return [Check(name, "longest pause, s", longest, 0.7, 0.08)]


def measure():
    """Return the checks of the twenty recordings."""
    return [
        *_melody("plucked melody", synths.pluck, (57, 60, 64, 62, 55)),
        *_melody("FM melody", synths.fm, (72, 71, 67, 60), seconds=0.25),
        *_melody("clarinet melody", lambda hz, s: synths.tone(hz, s, CLARINET), (50, 53, 57, 62, 65, 69), gap=0.03),
        *_melody(
            "string melody", lambda hz, s: synths.tone(hz, s, STRING, vibrato_cents=20, attack=0.05), (76, 69, 72)
        ),
        *_beats("brass at 97", lambda hz, s: synths.tone(hz, s, BRASS), 97.0),
        *_beats("plucked at 143", synths.pluck, 143.0),
        *_levels("loud and soft pipes"),
        *_lengths("long and short clarinet"),
        *_vibrato("strings with vibrato"),
        *_harmony("brass minor triad", "minor"),
        *_harmony("brass major triad", "major"),
        *_noise("tones 20 dB over noise", 20),
        *_swell("clarinet that swells"),
        *_steady_voice("Klatt voice at 110 Hz", 110.0),
        *_steady_voice("Klatt voice at 215 Hz", 215.0),
        *_ending("Klatt voice that rises", 130.0, 4.0, "rising"),
        *_ending("Klatt voice that falls", 200.0, -5.0, "falling"),
        *_rate("espeak at 110 words a minute", "the farmer drove his tractor into the yellow field", 14, 110),
        *_rate("espeak at 230 words a minute", "she carried seven heavy boxes up to the attic", 14, 230),
        *_paused("espeak with a pause of 0.7 s"),
    ]


def installed():
    """Return the checks of recordings by flite and fluidsynth; fewer where these are not installed."""
    import soundfile

    checks = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.wav"
        for hz, stretch in ((95, 1.0), (130, 1.4)) if shutil.which("flite") else ():
            settings = [f"int_f0_target_mean={hz}", "int_f0_target_stddev=1", f"duration_stretch={stretch}"]
            flags = [x for s in settings for x in ("--setf", s)]
            text = "the farmer drove his tractor into the yellow field"
            subprocess.run(["flite", "-voice", "kal16", *flags, "-t", text, "-o", path], check=True)
            found = Measurements(soundfile.read(path, dtype="float32")[0])
            name = f"flite at {hz} Hz, stretched {stretch}"
            checks += [
                Check(name, "voice pitch, Hz", found.voice_pitch().number, hz, 0.06 * hz),
                Check(name, "syllables", found.syllables.number, 14, SYLLABLES * 14),
            ]
        font = next(pathlib.Path("/usr/share/sounds/sf2").glob("*.sf2"), None)
        for program, what in ((0, "piano"), (40, "violin"), (56, "trumpet"), (71, "clarinet"), (73, "flute")):
            if font is None or not shutil.which("fluidsynth"):
                break
            midis, beat = (60, 64, 67, 72, 65), 0.45
            (pathlib.Path(folder) / "a.mid").write_bytes(_midi(program, midis, beat))
            command = ["fluidsynth", "-ni", "-r", str(RATE), "-R", "0", "-C", "0", "-F", path, font, f"{folder}/a.mid"]
            subprocess.run(command, check=True, capture_output=True)
            found = Measurements(soundfile.read(path, dtype="float32")[0].mean(axis=1))
            checks.append(Check(f"fluidsynth {what}", "notes", found.num_notes.number, len(midis)))
            for i, (note, midi) in enumerate(zip(found.notes, midis), 1):
                pitch = 69 + 12 * np.log2(note.hz / 440) if note.hz else None
                checks.append(Check(f"fluidsynth {what}", f"pitch of note {i}, MIDI", pitch, midi, 0.35))
            checks.append(Check(f"fluidsynth {what}", "beats a minute", found.tempo.value, 60 / beat, 0.03 * 60 / beat))
    return checks


def _midi(program, midis, beat):
    """Return a MIDI file that plays notes for 80 % of a beat each."""
    ticks = 480
    track = bytes([0, 0xFF, 0x51, 3]) + round(beat * 1e6).to_bytes(3, "big") + bytes([0, 0xC0, program])
    for midi in midis:
        on, off = ticks * 8 // 10, ticks - ticks * 8 // 10
        track += b"\0" + bytes([0x90, midi, 100]) + _length(on) + bytes([0x80, midi, 0])
        track += _length(off) + bytes([0xB0, 1, 0])
    track += bytes([0, 0xFF, 0x2F, 0])
    header = b"MThd" + (6).to_bytes(4, "big") + b"\0\0\0\1" + ticks.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _length(ticks):
    return bytes([0x80 | ticks >> 7, ticks & 0x7F])
