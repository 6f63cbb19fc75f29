"""The ``open_ended`` suite: describe a scene, appreciate a row of notes, tell who speaks and how.

There are no choices. ``extra['facts']`` lists what a full answer covers, each as ``{"kind", "value", "text"}``, and
``rubric`` says the same in words; an answer is scored by the facts that it covers and by its claims that hold. Scenes
are those of ``music``, ``sound`` and ``speech``, each in the split that owns it there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from earwitness.records import Sample
from earwitness.soundworld.core import Facts, Layout, Params, QuestionType, Rng, Span, Suite, to_sample
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.hearing_scenes import SOURCES, named, owned, scene, source
from earwitness.soundworld.sequence import phrasings

_LEAST_EVENTS = {"music": 3, "sound": 3, "speech": 1}
Fact = dict[str, str]

_SOUND = phrasings(
    ("^[describe|explain] what [happens|is going on|can be heard]~.", "^what is the scene like~?"),
    (
        "^[paint|sketch] the scene in words.",
        "[give|write] an account of the [soundscape|surroundings]~.",
        "[what takes place|which story do the noises tell]~?",
    ),
)
_MUSIC = phrasings(
    (
        "^[describe|appreciate|explain] the music~.",
        "^what is the music like [for a musician~|to a musician~|in your ears~]?",
    ),
    (
        "^[review|discuss] the piece as a maestro would.",
        "[give|write] an appreciation of the [melody|piece]~.",
        "[what would a conductor say|how would a critic put it]~?",
    ),
)
_SPEECH = phrasings(
    ("^[describe|explain] the [speech|speaking|voices]~.", "^who speaks, what is said, and how~?"),
    (
        "^[sketch|portray] the talk in your own words.",
        "[give|write] a [report|portrait] of what is uttered~.",
        "[how would one portray the talking|what is there to report of the talking]~?",
    ),
)


def _fact(kind: str, value: object, text: str) -> Fact:
    return {"kind": kind, "value": str(value), "text": text}


def _listed(names: list[str]) -> str:
    """Return names without repetition as text: 'flute, bell and harp'."""
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def _music_facts(events: list[dict[str, Any]]) -> list[Fact]:
    pitches = [e["midi"] for e in events]
    high, low = pitches.index(max(pitches)) + 1, pitches.index(min(pitches)) + 1
    way = "up" if pitches[-1] > pitches[0] else "down"
    loud = sum(e["loudness"] == "loud" for e in events)
    played = [e["timbre"] for e in events]
    return [
        _fact("count", len(events), f"there are {len(events)} notes"),
        _fact("timbres", ",".join(dict.fromkeys(played)), f"they are played by {_listed(played)}"),
        _fact("highest", high, f"note {high}, {events[high - 1]['note']}, is the highest"),
        _fact("lowest", low, f"note {low}, {events[low - 1]['note']}, is the lowest"),
        _fact("direction", way, f"from the first note to the last the melody goes {way}"),
        _fact("loud", loud, f"{loud} of the notes {'is' if loud == 1 else 'are'} loud and the others soft"),
    ]


def _sound_facts(events: list[dict[str, Any]], facts: Facts) -> list[Fact]:
    names = [e["sound"] for e in events]
    near = sum(e["distance"] == "near" for e in events)
    told = [
        _fact("count", len(events), f"there are {len(events)} sounds"),
        _fact("sounds", ",".join(dict.fromkeys(names)), f"they are {_listed(names)}"),
        _fact("first", names[0], f"it begins with {names[0]}"),
        _fact("last", names[-1], f"it ends with {names[-1]}"),
        _fact("near", near, f"{near} of them {'is' if near == 1 else 'are'} near and the others far"),
        _fact("background", facts["background"], f"the background is {facts['background']}"),
    ]
    if facts["overlap"]:
        told.append(_fact("overlap", "yes", "the first two sound at the same time"))
    moving = next((e for e in events if e["trend"] != "steady"), None)
    if moving:
        told.append(_fact("trend", moving["trend"], f"the {moving['sound']} is {moving['trend']}"))
    return told


def _speech_facts(events: list[dict[str, Any]], facts: Facts) -> list[Fact]:
    speakers = list(dict.fromkeys(e["speaker"] for e in events))
    told = [
        _fact("speakers", ",".join(speakers), f"a {_listed(speakers)} {'speak' if len(speakers) > 1 else 'speaks'}")
    ]
    for i, event in enumerate(events, 1):
        said = event.get("word") or event["sentence"]
        told.append(_fact(f"said {i}", said, f"the {event['speaker']} says '{said}'"))
        if "sentence" in event:
            told.append(_fact(f"style {i}", event["style"], f"the voice is {event['style']}"))
            told.append(_fact(f"intonation {i}", event["intonation"], f"the intonation is {event['intonation']}"))
    behind = "silence" if facts["background"] == "none" else facts["background"]
    return [*told, _fact("background", behind, f"the background is {behind}")]


def covered(scene_facts: Facts) -> list[Fact]:
    """Return what a full answer about a scene covers."""
    events = scene_facts["events"]
    if scene_facts["suite"] == "music":
        return _music_facts(events)
    return (_sound_facts if scene_facts["suite"] == "sound" else _speech_facts)(events, scene_facts)


def _sentences(scene_facts: Facts) -> str:
    told = [fact["text"] for fact in covered(scene_facts)]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in told)


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return a scene with its length and level; there is no answer that it could tell."""
    name = params["source"]
    found = scene(rng, split, name, wanted=lambda facts: len(facts["events"]) >= _LEAST_EVENTS[name])
    return {"seconds": found["seconds"], "level_db": found["level_db"], "scene": found}


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return the facts of the scene."""
    return owned(SUITE, split, {"scene": frame["scene"]})


def key(facts: Facts) -> Any:
    """Return the symbols of the scene."""
    inner = facts["scene"]
    return [inner["suite"], source(inner["suite"]).key(inner), facts["take"]]


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, spans) of the scene."""
    return source(facts["scene"]["suite"]).render(facts["scene"], rng)


def caption(facts: Facts) -> str:
    """Return the caption of the scene."""
    return source(facts["scene"]["suite"]).caption(facts["scene"])


def _chain(facts: Facts, params: Params) -> str:
    parts = ", ".join(f"{i} {name}" for i, name in enumerate(named(facts["scene"]["events"]), 1))
    return f"I look for all that there is to tell. I hear {parts}. {_sentences(facts['scene'])}"


def _draw(name: str) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        return {"source": name, "choices": ("",)}

    return draw


def _make(name: str, about: str, words: Phrasings) -> QuestionType:
    return QuestionType(name, 3, "contextual", words, _draw(about), lambda f, p: "", _chain, None, 1)


TYPES = (
    _make("describe_scene", "sound", _SOUND),
    _make("appreciate_music", "music", _MUSIC),
    _make("describe_speech", "speech", _SPEECH),
)
_TAGS = tuple(dict.fromkeys(tag for name in SOURCES for tag in source(name).tags))
SUITE = Suite("open_ended", TYPES, layout, propose, key, render, caption, _TAGS)


def sample(split: str, index: int) -> Sample:
    """Return an item; its answer is one good description, and its rubric and ``extra['facts']`` are for scoring."""
    item = to_sample(SUITE, split, index)
    assert item.facts is not None
    told = covered(item.facts["scene"])
    listed = " ".join(f"{i}. {fact['text']}." for i, fact in enumerate(told, 1))
    rubric = (
        "One point for each of these facts that the answer states, and one point less for each claim about the sound "
        f"that contradicts the recording: {listed}"
    )
    return dataclasses.replace(
        item,
        choices=(),
        answer=_sentences(item.facts["scene"]),
        answer_type="open",
        rubric=rubric,
        transcript=item.facts["scene"].get("transcript"),
        extra={**item.extra, "facts": told},
    )
