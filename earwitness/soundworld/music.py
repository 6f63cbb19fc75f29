"""The ``music`` suite: rows of notes with known pitch, timbre, loudness and duration."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Facts, Rng, Span, Suite
from earwitness.soundworld.music_facts import LOWEST, NUM_PITCHES, layout, name_of, propose
from earwitness.soundworld.music_questions import TYPES
from earwitness.soundworld.music_synth import TIMBRES, note, room

_SOFT_DB = -14.0
_ONSET = 0.04

_VALUES = {
    "note": [name_of(m) for m in range(LOWEST, LOWEST + NUM_PITCHES)],
    "timbre": list(TIMBRES),
    "loudness": ["loud", "soft"],
    "duration": ["long", "short"],
    "index": [str(i) for i in range(1, 9)],
    "tempo": ["fast", "medium", "slow"],
    "onset": ["note"],
}
TAGS = tuple(f"{group}={value}" for group, values in _VALUES.items() for value in values)


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans) of the notes in a small room, over faint noise."""
    wave = np.zeros(round(facts["seconds"] * SAMPLE_RATE), np.float32)
    spans = []
    for index, event in enumerate(facts["events"], 1):
        start, end = event["start"], event["end"]
        hz = 440 * 2 ** ((event["midi"] - 69 + facts["detune_cents"] / 100) / 12)
        sound = note(event["timbre"], hz, end - start, rng, facts["heldout"])
        # Equal RMS, so that loudness and not crest decides what is loud.
        gain = 10 ** ((rng.uniform(-1, 1) + (_SOFT_DB if event["loudness"] == "soft" else 0)) / 20)
        first = round(start * SAMPLE_RATE)
        wave[first : first + len(sound)] += sound * gain * 0.2 / (np.sqrt(np.mean(sound**2)) + 1e-6)
        for group in ("note", "timbre", "loudness", "duration"):
            spans.append(Span(start, end, f"{group}={event[group]}"))
        spans += [Span(start, end, f"index={min(index, 8)}"), Span(start, start + _ONSET, "onset=note")]
    if "tempo" in facts:
        spans.append(Span(0.0, facts["seconds"], f"tempo={facts['tempo']}"))
    wave = room(wave, rng)
    noise = 0.2 * 10 ** (-rng.uniform(32, 60) / 20)
    return wave + noise * rng.standard_normal(len(wave), dtype=np.float32), spans


def caption(facts: Facts) -> str:
    """Return the notes in order with all that was drawn."""
    notes = [
        f"note {i} is a {e['loudness']} {e['duration']} {e['timbre']} {e['note']}"
        for i, e in enumerate(facts["events"], 1)
    ]
    text = "; ".join(notes)
    tempo = f" The tempo is {facts['tempo']}." if "tempo" in facts else ""
    return f"{text[0].upper()}{text[1:]}.{tempo}"


def key(facts: Facts) -> Any:
    """Return the notes as symbols."""
    notes = [[e["midi"], e["timbre"], e["loudness"], e["duration"]] for e in facts["events"]]
    return [notes, facts["tempo"]] if "tempo" in facts else notes


SUITE = Suite("music", TYPES, layout, propose, key, render, caption, TAGS)
