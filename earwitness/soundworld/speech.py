"""The ``speech`` suite: spoken words and sentences with known speakers, loudness, pace, intonation and style.

Voices come from espeak-ng (see ``voices``); half of the held-out word clips are recordings of another synthesiser,
committed in ``heldout_voices`` (made by its ``make.py``).
"""

from __future__ import annotations

import functools
import io
import json
from importlib import resources
from typing import Any

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Facts, Rng, Span, Suite
from earwitness.soundworld.speech_facts import (
    BACKGROUNDS,
    CATEGORY,
    SENTENCE_WORDS,
    STYLES,
    key,
    layout,
    pick,
    propose,
)
from earwitness.soundworld.speech_questions import TYPES
from earwitness.soundworld.voices import Mark, synthesise

# Variants of espeak-ng; the held-out ones are never heard in training.
_VOICES = {
    "train": {
        "man": [f"{accent}+m{i}" for accent in ("en-US", "en") for i in range(1, 8)],
        "woman": [f"{accent}+f{i}" for accent in ("en-US", "en") for i in range(1, 6)],
    },
    "heldout": {
        "man": ["en-US+m8", "en-US+Alex", "en+Lee", "en+Gene", "en-US+pablo"],
        "woman": ["en-US+linda", "en+steph", "en-US+Annie", "en+belinda"],
    },
    "clips": {"man": ["rms"], "woman": ["slt"]},
}
_RATES = {"fast": (250, 280), "normal": (155, 185), "slow": (105, 120)}  # words a minute
# Style -> (change of pitch, range, words a minute); pitch and range on espeak's scale of 0 to 99.
_STYLES = {"cheerful": (24, 92, 205), "neutral": (0, 45, 165), "sad": (-18, 8, 120)}
_LOUD_DB, _QUIET_DB = 0.0, -14.0
_GAP = 0.08
_ONSET = 0.04

# espeak's mnemonics, without stress marks -> a closed inventory (vowels in the manner of ARPAbet).
_VOWELS = {
    "IY": "i: i",
    "IH": "I I2 I#",
    "EH": "E e",
    "AE": "a aa a#",
    "AH": "V",
    "AX": "@ @2 @5 a@",
    "ER": "3 3: @r",
    "UW": "u: u",
    "UH": "U",
    "AA": "0 A: A@ O2",
    "AO": "O: O@ o@ O",
    "EY": "eI",
    "AY": "aI aI@",
    "OW": "oU",
    "AW": "aU aU@",
    "OY": "OI",
    "L": "@L",
}
_PHONEMES = {name: vowel for vowel, names in _VOWELS.items() for name in names.split()}
_PHONEMES |= {c: c for c in "p b t d k g m n N f v T D s z S Z h w j l r tS dZ".split()}
_PHONEMES |= {"t#": "t", "?": "t", "n-": "n", "r-": "r", "l#": "l", "d#": "d"}

_VALUES = {
    "word": sorted({*CATEGORY, *SENTENCE_WORDS}),
    "phoneme": sorted(set(_PHONEMES.values())),
    "speaker": ["man", "woman"],
    "loudness": ["loud", "soft"],
    "pace": ["fast", "slow"],
    "style": list(STYLES),
    "intonation": ["rising", "falling"],
    "background": list(BACKGROUNDS),
    "index": [str(i) for i in range(1, 9)],
    "onset": ["word"],
}
TAGS = tuple(f"{group}={value}" for group, values in _VALUES.items() for value in values)


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans) of a clip; every word or turn fills a slot that its facts fix, over a faint hiss."""
    wave = np.zeros(round(facts["seconds"] * SAMPLE_RATE), np.float32)
    spans: list[Span] = [Span(0.0, facts["seconds"], f"background={facts['background']}")]
    voices = {speaker: _draw_voice(rng, names) for speaker, names in _VOICES[facts["voices"]].items()}
    for index, event in enumerate(facts["events"], 1):
        spoken, marks = _speak(facts, event, voices[event["speaker"]], rng)
        room = event["end"] - event["start"] - len(spoken) / SAMPLE_RATE
        start = event["start"] + float(rng.uniform(0, max(min(room, 0.12), 0.0)))
        first = round(start * SAMPLE_RATE)
        spoken = spoken[: len(wave) - first]
        wave[first : first + len(spoken)] += spoken
        spans += _spans(event, index, marks, start, start + len(spoken) / SAMPLE_RATE)
    hiss = rng.standard_normal(len(wave), dtype=np.float32) * (0.1 * 10 ** (-rng.uniform(45, 60) / 20))
    return wave + _background(facts["background"], wave, rng) + hiss, spans


def _draw_voice(rng: Rng, names: list[str]) -> tuple[str, int, int]:
    """Return (voice, pitch, range); one draw a clip, so that a speaker keeps his or her voice."""
    return pick(rng, names), int(rng.integers(34, 58)), int(rng.integers(35, 60))


def _speak(facts: Facts, event: dict[str, Any], voice: tuple[str, int, int], rng: Rng) -> tuple[np.ndarray, list[Mark]]:
    """Return the wave of one word or turn, short enough for its slot, at equal RMS but for its loudness."""
    name, pitch, pitch_range = voice
    text = event.get("word") or event["sentence"]
    if facts["voices"] == "clips":
        wave = recordings(name)[text]
        marks = [Mark("word", text, 0.0, len(wave) / SAMPLE_RATE)]
    else:
        rate = int(rng.integers(*_RATES[event["pace"]]))
        style = event.get("style", "neutral")
        if style != "neutral" or "word" not in event:
            change, style_range, style_rate = _STYLES[style]
            pitch, pitch_range = pitch + change, style_range + int(rng.integers(-6, 7))
            rate = style_rate + int(rng.integers(-8, 9)) if event["pace"] == "normal" else rate
        else:
            pitch += int(rng.integers(-4, 5))
        if event.get("intonation") == "rising":
            text, pitch_range = text + "?", max(pitch_range, 60)
        wave, marks = synthesise(text, name, pitch, pitch_range, rate)
        limit = event["end"] - event["start"]
        if len(wave) > limit * SAMPLE_RATE:  # the slot is fixed, so a long word is said a little faster
            rate = int(rate * len(wave) / SAMPLE_RATE / limit * 1.06) + 1
            wave, marks = synthesise(text, name, pitch, pitch_range, rate)
    level = {"loud": _LOUD_DB, "quiet": _QUIET_DB}.get(event.get("loudness", ""), -2.0 + float(rng.uniform(-1.5, 1.5)))
    rms = float(np.sqrt(np.mean(np.square(wave)))) or 1.0
    return (wave * (0.1 * 10 ** (level / 20) / rms)).astype(np.float32), marks


def _spans(event: dict[str, Any], index: int, marks: list[Mark], start: float, end: float) -> list[Span]:
    tags = [f"speaker={event['speaker']}", f"index={index}"]
    if event.get("loudness", "normal") != "normal":
        tags.append("loudness=" + {"loud": "loud", "quiet": "soft"}[event["loudness"]])
    if event["pace"] != "normal":
        tags.append(f"pace={event['pace']}")
    if "sentence" in event:
        tags += [f"style={event['style']}", f"intonation={event['intonation']}"]
    spans = [Span(start, end, tag) for tag in tags]
    for mark in marks:
        a, b = start + mark.start, min(start + mark.end, end)
        if mark.kind == "word":
            spans += [Span(a, b, f"word={mark.name.lower()}"), Span(a, min(a + _ONSET, b), "onset=word")]
        elif name := _PHONEMES.get(mark.name.lstrip("',%=_|")):
            spans.append(Span(a, b, f"phoneme={name}"))
    return [s for s in spans if s.end > s.start]


def _background(name: str, speech: np.ndarray, rng: Rng) -> np.ndarray | float:
    """Return the background of a clip, 15 to 25 dB below its speech."""
    if name == "none":
        return 0.0
    n = len(speech)
    if name == "hum":
        t, base = np.arange(n, dtype=np.float32) / SAMPLE_RATE, float(rng.uniform(90, 140))
        noise = np.sum([np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6)) / k for k in (1, 2, 3, 5)], axis=0)
    else:
        size = 1 << (n - 1).bit_length()
        spectrum = np.fft.rfft(rng.standard_normal(size, dtype=np.float32))
        hz = np.arange(len(spectrum)) * (SAMPLE_RATE / size)
        shape = np.clip(hz / 2500, 0, 1) ** 2 if name == "rain" else hz**2 / (hz**2 + 200**2) / (1 + (hz / 900) ** 2)
        noise = np.fft.irfft(spectrum * shape)[:n]
        if name == "rain":  # drops: short bursts at random times
            drops = np.where(rng.random(n // 160 + 1) < 0.15, rng.uniform(1, 3, n // 160 + 1), 0.6)
            noise = noise * np.repeat(drops, 160)[:n]
        else:  # syllables of several talkers at once
            t = np.arange(n, dtype=np.float32) / SAMPLE_RATE
            noise = noise * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(3, 6) * t + rng.uniform(0, 6)))
    active = speech[np.abs(speech) > 0.003]
    loud = float(np.sqrt(np.mean(np.square(active)))) if len(active) else 0.1
    rms = float(np.sqrt(np.mean(np.square(noise))))
    return (noise * (loud * 10 ** (-rng.uniform(15, 25) / 20) / rms)).astype(np.float32)


@functools.cache
def recordings(speaker: str) -> dict[str, np.ndarray]:
    """Return word -> wave of a committed held-out voice, ``rms`` (a man) or ``slt`` (a woman)."""
    import soundfile

    folder = resources.files("earwitness.soundworld").joinpath("heldout_voices")
    index = json.loads(folder.joinpath("index.json").read_text(encoding="utf-8"))[speaker]
    wave, _ = soundfile.read(io.BytesIO(folder.joinpath(f"{speaker}.ogg").read_bytes()), dtype="float32")
    return {word: wave[first:last] for word, (first, last) in index.items()}


def caption(facts: Facts) -> str:
    """Return the text twin of a clip: every word and attribute in order."""
    parts = []
    for i, event in enumerate(facts["events"], 1):
        if "word" in event:
            values = [event[a] for a in ("loudness", "pace") if event[a] != "normal"]
            parts.append(f"word {i} is " + ", ".join([event["word"], f"said by the {event['speaker']}", *values]))
        else:
            pace = "" if event["pace"] == "normal" else f" {event['pace']}"
            parts.append(
                f"in turn {i} the {event['speaker']} says '{event['sentence']}' in a {event['style']}{pace} voice "
                f"with {event['intonation']} intonation; the words are {event['sentiment']}"
            )
    behind = "silence" if facts["background"] == "none" else facts["background"]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. The background is {behind}."


SUITE = Suite("speech", TYPES, layout, propose, key, render, caption, TAGS)
