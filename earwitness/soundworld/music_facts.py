"""Which notes a clip of the music suite may have: its layout, and random facts within it."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import Facts, Layout, Params, QuestionType, Rng
from earwitness.soundworld.music_synth import TIMBRES
from earwitness.soundworld.sequence import pick, shuffled

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
LOWEST, NUM_PITCHES = 48, 36  # MIDI C3 to B5
_SECONDS = {
    "train": {"long": (0.38, 0.46), "short": (0.14, 0.19)},
    "heldout": {"long": (0.48, 0.56), "short": (0.2, 0.24)},
}
_GAP = {"train": (0.06, 0.12), "heldout": (0.13, 0.18)}


def name_of(midi: int) -> str:
    """Return the name of a MIDI pitch, such as ``C4`` for 60."""
    return f"{NAMES[midi % 12]}{midi // 12 - 1}"


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return the number of notes, clip length and level; they leave room for the longest notes, whatever is played."""
    heldout = split == "heldout"
    least = max(params.get("least", 2), kind.min_events)
    n = params.get("slots") or (int(rng.integers(max(7, least), 9)) if heldout else int(rng.integers(least, 7)))
    if params.get("exactly"):
        n = params["exactly"]
    times = _SECONDS["heldout" if heldout else "train"]["long"][1] + _GAP["heldout" if heldout else "train"][1]
    lead = round(float(rng.uniform(0.05, 0.3)), 3)
    return {
        "n": n,
        "heldout": heldout,
        "lead": lead,
        "seconds": round(lead + n * times + float(rng.uniform(0.05, 0.25)), 3),
        "level_db": round(float(rng.uniform(-34, -24)), 1),
    }


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return random notes; where levels or durations are asked for, both values occur."""
    n = frame["n"] if "slots" not in params else int(pick(rng, params["choices"]))
    extra = shuffled(rng, TIMBRES)[: 3 if frame["heldout"] or not params["kinds"] else 1]
    palette = tuple(dict.fromkeys((*params["kinds"], *extra)))
    pitches = params["pitches"](rng, n) if "pitches" in params else scattered(rng, n)
    events: list[dict[str, Any]] = [
        {"midi": int(m), "note": name_of(int(m)), "timbre": pick(rng, palette)} for m in pitches
    ]
    for attribute, values in (("loudness", ("loud", "soft")), ("duration", ("long", "short"))):
        drawn = [pick(rng, values) for _ in events]
        if attribute in params.get("given", {}):
            drawn = params["given"][attribute]
        elif n > 1 and len(set(drawn)) == 1:
            i = int(rng.integers(n))
            drawn[i] = values[1 - values.index(drawn[i])]
        for event, value in zip(events, drawn):
            event[attribute] = value
    if params.get("plain"):  # one instrument and one loudness, so that nothing but pitch changes
        for event in events:
            event |= {"timbre": events[0]["timbre"], "loudness": "loud"}
    key = "heldout" if frame["heldout"] else "train"
    at = frame["lead"]
    beat = params.get("beat_seconds")
    for event in events:
        event["start"] = round(at, 4)
        event["end"] = round(at + float(rng.uniform(*_SECONDS[key][event["duration"]])), 4)
        at = at + beat if beat else event["end"] + float(rng.uniform(*_GAP[key]))
    facts = {"events": events, "heldout": frame["heldout"], "detune_cents": round(float(rng.uniform(-40, 40)), 1)}
    return facts | ({"tempo": params["tempo"]} if beat else {})


def scattered(rng: Rng, n: int) -> list[int]:
    """Return n pitches in random order, any two at least 2 semitones apart."""
    places = rng.choice(NUM_PITCHES - (n - 1), size=n, replace=False)
    places.sort()
    return list(rng.permutation(places + np.arange(n)) + LOWEST)
