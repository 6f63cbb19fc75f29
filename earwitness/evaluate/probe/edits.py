"""Edits of a SoundWorld clip that must change the answer: order, level, pitch, tempo of what happens in it.

An edit changes the facts of a clip and has it made again, with the same random details; the suite says what the answer
is now. An item is asked under an edit only where its answer becomes another of its own choices.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

from earwitness import soundworld
from earwitness.records import Sample

Facts = dict[str, Any]

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_TEMPO = {"slow": ("fast", 0.5), "fast": ("slow", 2.0)}


def edited(sample: Sample, name: str) -> Sample | None:
    """Return an item with its clip edited and the answer that it has now, or None where that is no other choice.

    Args:
        sample: of a SoundWorld suite with sound.
        name: one of ``EDITS``.
    """
    if not sample.facts or not sample.audio or "events" not in sample.facts:
        return None
    facts = EDITS[name](copy.deepcopy(sample.facts))
    if facts is None:
        return None
    suite = soundworld.suite(sample.domain)
    try:
        answer = suite.type(sample.task).answer(facts, sample.extra["params"])
    except (LookupError, StopIteration):  # the question names an event that is no longer there
        return None
    if answer not in sample.choices or answer == sample.answer:
        return None
    extra = {**sample.extra, "caption": suite.caption(facts), "edit": name}
    transcript = facts.get("transcript", sample.transcript)
    return dataclasses.replace(sample, facts=facts, answer=answer, extra=extra, transcript=transcript, acceptable=())


def _order(facts: Facts) -> Facts | None:
    """Turn the order of the events round; each keeps its length and its sound."""
    events = facts["events"]
    if len(events) < 2 or any("sentence" in event for event in events):
        return None
    first, last = events[0]["start"], max(event["end"] for event in events)
    for event in events:
        event["start"], event["end"] = (round(first + last - event[key], 4) for key in ("end", "start"))
    facts["events"] = events[::-1]
    if "transcript" in facts:
        facts["transcript"] = " ".join(event["word"] for event in facts["events"])
    return facts


def _level(facts: Facts) -> Facts | None:
    """Make what is loud soft and what is near far, and the other way round."""
    softer = "soft" if _is_music(facts) else "quiet"
    others = {"loud": softer, softer: "loud", "near": "far", "far": "near"}
    changed = False
    for event in facts["events"]:
        for key in ("loudness", "distance"):
            if event.get(key) in others:
                event[key], changed = others[event[key]], True
    return facts if changed else None


def _pitch(facts: Facts) -> Facts | None:
    """Mirror the melody: the highest note becomes the lowest."""
    if not _is_music(facts):
        return None
    pitches = [event["midi"] for event in facts["events"]]
    for event in facts["events"]:
        event["midi"] = min(pitches) + max(pitches) - event["midi"]
        event["note"] = f"{_NAMES[event['midi'] % 12]}{event['midi'] // 12 - 1}"
    return facts


def _tempo(facts: Facts) -> Facts | None:
    """Play a slow clip fast and a fast one slowly."""
    if facts.get("tempo") not in _TEMPO:
        return None
    facts["tempo"], factor = _TEMPO[facts["tempo"]]
    facts["seconds"] = round(facts["seconds"] * factor, 3)
    events = facts["events"]
    for event in events:
        length = event["end"] - event["start"]
        event["start"] = round(event["start"] * factor, 4)
        event["end"] = round(event["start"] + length, 4)
    return None if any(a["end"] > b["start"] for a, b in zip(events, events[1:])) else facts


def _is_music(facts: Facts) -> bool:
    return all("midi" in event for event in facts["events"])


EDITS: dict[str, Callable[[Facts], Facts | None]] = {"order": _order, "level": _level, "pitch": _pitch, "tempo": _tempo}
