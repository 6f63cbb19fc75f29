"""The ``sound`` suite: rows of everyday events, near and far, over a background, sometimes overlapping."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Facts, Layout, Params, QuestionType, Rng, Span, Suite
from earwitness.soundworld.sequence import pick, shuffled
from earwitness.soundworld.sound_questions import SHOWN_TRENDS, TYPES
from earwitness.soundworld.sound_synth import BACKGROUNDS, RECIPES, background, event

_SECONDS = {"train": (0.42, 0.58), "heldout": (0.62, 0.75)}
_GAP = {"train": (0.08, 0.16), "heldout": (0.18, 0.24)}
_ONSET = 0.04
# Background below the near events, in dB; far events are 12 dB below the near ones.
_BACKGROUND_DB = {"silence": (-48, -38), "other": (-24, -20)}

_VALUES = {
    "sound": list(RECIPES),
    "distance": ["far", "near"],
    "trend": list(SHOWN_TRENDS),
    "overlap": ["yes"],
    "background": list(BACKGROUNDS),
    "index": [str(i) for i in range(1, 9)],
    "onset": ["sound"],
}
TAGS = tuple(f"{group}={value}" for group, values in _VALUES.items() for value in values)


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return the number of events, clip length, level and background; they leave room for any answer."""
    heldout = split == "heldout"
    least = max(params.get("least", 3), kind.min_events, 3)
    n = params.get("slots") or (int(rng.integers(max(7, least), 9)) if heldout else int(rng.integers(least, 7)))
    n = params.get("exactly", n)
    key = "heldout" if heldout else "train"
    lead = round(float(rng.uniform(0.05, 0.25)), 3)
    seconds = lead + n * (_SECONDS[key][1] + _GAP[key][1]) + float(rng.uniform(0.05, 0.25))
    return {
        "n": n,
        "heldout": heldout,
        "lead": lead,
        "seconds": round(seconds, 3),
        "level_db": round(float(rng.uniform(-34, -24)), 1),
        "background": None if params.get("ask_background") else pick(rng, BACKGROUNDS),
    }


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return random events; where distances are asked for, both occur."""
    n = frame["n"] if "slots" not in params else int(pick(rng, params["choices"]))
    extra = shuffled(rng, tuple(RECIPES))[: 1 if params["kinds"] else 3]
    palette = tuple(dict.fromkeys((*params["kinds"], *extra)))
    if params.get("distinct"):
        palette = shuffled(rng, dict.fromkeys((*params["kinds"], *shuffled(rng, tuple(RECIPES)))))
    drawn = [pick(rng, ("near", "far")) for _ in range(n)]
    if n > 1 and len(set(drawn)) == 1:
        i = int(rng.integers(n))
        drawn[i] = "far" if drawn[i] == "near" else "near"
    events: list[dict[str, Any]] = []
    for i, distance in enumerate(drawn):
        name = palette[i % len(palette)] if params.get("distinct") else pick(rng, palette)
        events.append({"sound": name, "distance": distance, "trend": "steady"})
    if params.get("trend"):  # the first event takes two places and moves
        events = events[:2]
        events[0] |= {"distance": "near", "trend": pick(rng, SHOWN_TRENDS)}
    key = "heldout" if frame["heldout"] else "train"
    at = frame["lead"]
    overlap = params.get("overlap") and rng.random() < 0.5
    for i, one in enumerate(events):
        one["start"] = round(at, 4)
        seconds = float(rng.uniform(*_SECONDS[key]))
        one["end"] = round(at + (seconds if one["trend"] == "steady" else 2 * _SECONDS[key][1]), 4)
        at = one["end"] + float(rng.uniform(*_GAP[key]))
        if overlap and i == 0:
            at = one["start"] + float(rng.uniform(0.05, 0.12))
    name = frame["background"] or pick(rng, BACKGROUNDS)
    return {"events": events, "heldout": frame["heldout"], "background": name, "overlap": bool(overlap)}


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans) of the events over their background."""
    samples = round(facts["seconds"] * SAMPLE_RATE)
    low, high = _BACKGROUND_DB.get(facts["background"], _BACKGROUND_DB["other"])
    wave = 0.1 * 10 ** (rng.uniform(low, high) / 20) * background(facts["background"], samples, rng)
    spans = [Span(0.0, facts["seconds"], f"background={facts['background']}")]
    for index, one in enumerate(facts["events"], 1):
        start, end = one["start"], one["end"]
        sound = event(one["sound"], end - start, one["distance"] == "far", rng, facts["heldout"])
        if one["trend"] != "steady":
            ramp = np.linspace(-22, 0, len(sound), dtype=np.float32)
            sound = sound * 10 ** ((ramp if one["trend"] == "approaching" else ramp[::-1]) / 20)
            spans.append(Span(start, end, f"trend={one['trend']}"))
        first = round(start * SAMPLE_RATE)
        wave[first : first + len(sound)] += sound[: samples - first]
        spans += [Span(start, end, f"sound={one['sound']}"), Span(start, end, f"distance={one['distance']}")]
        spans += [Span(start, end, f"index={min(index, 8)}"), Span(start, start + _ONSET, "onset=sound")]
    if facts["overlap"]:
        a, b = facts["events"][:2]
        spans.append(Span(b["start"], min(a["end"], b["end"]), "overlap=yes"))
    return wave, spans


def caption(facts: Facts) -> str:
    """Return the events in order and the background."""
    rows = []
    for i, one in enumerate(facts["events"], 1):
        trend = "" if one["trend"] == "steady" else f" {one['trend']}"
        rows.append(f"sound {i} is a {one['distance']} {one['sound']}{trend}")
    text = f"{'; '.join(rows)}. ".capitalize()
    if facts["overlap"]:
        text += "The first two sound at the same time. "
    return f"{text}The background is {facts['background']}."


def key(facts: Facts) -> Any:
    """Return the events as symbols."""
    rows = [[e["sound"], e["distance"], e["trend"]] for e in facts["events"]]
    return [rows, facts["background"], facts["overlap"]]


SUITE = Suite("sound", TYPES, layout, propose, key, render, caption, TAGS)
