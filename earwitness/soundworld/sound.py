"""The ``sound`` suite: rows of everyday events, near and far, over a background, sometimes overlapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from earwitness.soundworld.core import SAMPLE_RATE, Facts, Layout, Params, QuestionType, Rng, Span, Suite
from earwitness.soundworld.sequence import pick, shuffled
from earwitness.soundworld.sound_questions import NAMES_FOR, SHOWN_TRENDS, SUSTAINED, TYPES
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
    drawn = int(rng.integers(max(7, least), 9)) if heldout else int(rng.integers(least, 7))
    n = int(params.get("exactly") or params.get("slots") or drawn)
    key = "heldout" if heldout else "train"
    lead, trail = (round(float(x), 3) for x in rng.uniform(0.05, 0.25, size=2))
    seconds = lead + n * (_SECONDS[key][1] + _GAP[key][1]) + trail
    return {
        "n": n,
        "heldout": heldout,
        "lead": lead,
        "trail": trail,
        "seconds": round(seconds, 3),
        "level_db": round(float(rng.uniform(-34, -24)), 1),
        "background": None if params.get("ask_background") else pick(rng, BACKGROUNDS),
    }


def _names(rng: Rng, n: int, params: Params) -> list[str]:
    """Return what happens in each place: any of the kinds asked for and of some others."""
    extra = shuffled(rng, tuple(RECIPES))[: 1 if params["kinds"] else 3]
    palette = tuple(dict.fromkeys((*params["kinds"], *extra)))
    if params.get("distinct"):
        palette = shuffled(rng, tuple(RECIPES))
        return [palette[i % len(palette)] for i in range(n)]
    return [pick(rng, palette) for _ in range(n)]


def _distances(rng: Rng, n: int, params: Params) -> list[str]:
    """Return near or far for each place; both occur, and two sounds that may overlap are as far as each other."""
    drawn = [pick(rng, ("near", "far")) for _ in range(n)]
    if params.get("overlap"):
        drawn[1] = drawn[0]
    if n > 1 and len(set(drawn)) == 1:
        i = n - 1 if params.get("overlap") else int(rng.integers(n))
        drawn[i] = "far" if drawn[i] == "near" else "near"
    return drawn


def _placed(rng: Rng, frame: Layout, events: list[dict[str, Any]], overlap: bool) -> None:
    """Give the events their times; slack goes into the gaps, never into lead or trail."""
    key = "heldout" if frame["heldout"] else "train"
    moving = 2 * _SECONDS[key][1]
    lengths = [float(rng.uniform(*_SECONDS[key])) if e["trend"] == "steady" else moving for e in events]
    # Where the first two overlap, the second starts this long after the first.
    shift = float(rng.uniform(0.12, 0.22)) if overlap else 0.0
    gaps = len(events) - (1 if overlap else 0) - 1
    used = sum(lengths) - (lengths[0] - shift if overlap else 0.0)
    if overlap:
        used = max(used, lengths[0] + sum(lengths[2:]))
    slack = frame["seconds"] - frame["lead"] - frame["trail"] - used - gaps * _GAP[key][0]
    shares = rng.exponential(size=gaps)
    at, later = frame["lead"], iter([*(slack * shares / shares.sum()), 0.0])
    for i, (one, length) in enumerate(zip(events, lengths)):
        one["start"], one["end"] = round(at, 4), round(at + length, 4)
        end = max(one["end"], events[0]["end"]) if overlap and i == 1 else one["end"]
        at = one["start"] + shift if overlap and i == 0 else end + _GAP[key][0] + float(next(later))


def _facts(rng: Rng, frame: Layout, params: Params, names: list[str]) -> Facts:
    distances = _distances(rng, len(names), params)
    events: list[dict[str, Any]] = [
        {"sound": name, "distance": distance, "trend": "steady"} for name, distance in zip(names, distances)
    ]
    if params.get("trend"):  # the first event takes two places and moves; only what lasts can be heard to do so
        events = events[:2]
        events[0] |= {"sound": pick(rng, SUSTAINED), "distance": "near", "trend": pick(rng, SHOWN_TRENDS)}
    overlap = bool(params.get("overlap") and rng.random() < 0.5)
    _placed(rng, frame, events, overlap)
    name = frame["background"] or pick(rng, BACKGROUNDS)
    return {"events": events, "heldout": frame["heldout"], "background": name, "overlap": overlap}


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return random events; both distances occur."""
    n = frame["n"] if "slots" not in params else int(pick(rng, params["choices"]))
    return _facts(rng, frame, params, _names(rng, n, params))


def _propose_named(names: Callable[[Rng, int, Params, str], list[str]]) -> Callable[..., Facts]:
    def propose_for(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
        return _facts(rng, frame, params, names(rng, frame["n"], params, answer))

    return propose_for


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


_ASKED = tuple(replace(t, propose=_propose_named(NAMES_FOR[t.name])) if t.name in NAMES_FOR else t for t in TYPES)
SUITE = Suite("sound", _ASKED, layout, propose, key, render, caption, TAGS)
