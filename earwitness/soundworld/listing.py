"""Lists of what is heard in a clip, event by event, by some of its attributes: '1 loud flute, 2 soft bell.'."""

from __future__ import annotations

from typing import Any

from earwitness.records import Sample
from earwitness.soundworld.core import Rng
from earwitness.soundworld.sequence import pick

# What events are listed by: of the first attribute here that they have.
_ATTRIBUTES: dict[str, tuple[tuple[str, ...], ...]] = {
    "timbre": (
        ("timbre",), ("loudness",), ("note",), ("duration",), ("loudness", "timbre"), ("timbre", "note"),
        ("loudness", "note"), ("duration", "note"), ("loudness", "timbre", "note"),
    ),
    "sound": (("sound",), ("distance",), ("distance", "sound")),
    "word": (
        ("word",), ("word", "category"), ("word", "speaker"), ("word", "category", "speaker"), ("loudness", "word"),
        ("loudness", "word", "category"), ("pace", "word"),
    ),
    "sentence": (("sentence",),),
}  # fmt: skip
_ASK = ("List what you hear: {}.", "Name one after the other what you hear: {}.", "What do you hear? List {}.")


def listing(sample: Sample, rng: Rng) -> tuple[str, str] | None:
    """Return a request to list what is heard by attributes drawn at random, and the list; None without events."""
    events = (sample.facts or {}).get("events", ())
    kind = next((name for name in _ATTRIBUTES if events and name in events[0]), None)
    if kind is None:
        return None
    told = [a for a in _ATTRIBUTES[kind] if not any(event[name] == "normal" for event in events for name in a)]
    named = pick(rng, told)
    parts = [f"{i} {' '.join(_said(name, event) for name in named)}" for i, event in enumerate(events, 1)]
    return pick(rng, _ASK).format(" and ".join(named)), f"{', '.join(parts)}."


def _said(name: str, event: dict[str, Any]) -> str:
    value = str(event[name])
    return f"by the {value}" if name == "speaker" else f"{value}s" if name == "category" else value
