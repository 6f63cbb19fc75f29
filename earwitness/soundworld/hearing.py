"""The ``hearing`` suite: whether a model knows if it hears something.

Questions tempt it to say that a text model cannot hear. About half of the time there is nothing to hear, and then it
must not claim to: the clip is digital silence, or the message holds no clip at all (``audio`` is empty). Music, sounds
and speech are stretches of scenes of their suites. Length and level are drawn before the answer; that silence has no
level is what is asked, not a shortcut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from earwitness.records import Sample
from earwitness.soundworld import hearing_phrasings as say
from earwitness.soundworld.core import (
    SAMPLE_RATE,
    Facts,
    Layout,
    Params,
    QuestionType,
    Rng,
    Span,
    Suite,
    to_sample,
)
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.hearing_scenes import SOURCES, named, owned, scene, source
from earwitness.soundworld.music_synth import TIMBRES
from earwitness.soundworld.sequence import ending, pick, shuffled
from earwitness.soundworld.sound_synth import RECIPES

_SECONDS = {"train": (1.6, 3.0), "heldout": (3.2, 4.0)}
_LEAST_HEARD, _CLEARLY_HEARD = 0.15, 0.3
_FADE_SAMPLES = 160
_KINDS = {"music": "music", "sound": "everyday sounds", "speech": "speech"}
_CHOSEN = {"music": ("timbre", TIMBRES), "sound": ("sound", tuple(RECIPES))}
# Answers that say the same; a scorer takes them as right.
ACCEPTABLE = {
    "yes": ("I can hear it", "yes, I can hear it", "yes, I can"),
    "no": ("nothing", "no, there is nothing to hear", "no, I cannot hear anything", "there is no sound"),
    "true": ("right", "true, there is nothing to hear", "right, there is nothing to hear", "yes"),
    "false": ("wrong", "false, I can hear it", "wrong, I can hear it", "no"),
    "nothing": ("nothing at all", "silence", "no sound", "there is nothing to hear"),
}


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return seconds and level; the same for what is heard and for silence."""
    seconds = float(rng.uniform(*_SECONDS["heldout" if split == "heldout" else "train"]))
    return {"seconds": round(seconds, 3), "level_db": round(float(rng.uniform(-34, -24)), 1)}


def _events(facts: Facts, seconds: float, least: float = _LEAST_HEARD) -> list[dict[str, Any]]:
    """Return the events of a scene of which at least so much lies within its first seconds."""
    return [e for e in facts["events"] if e["start"] + least < seconds]


def _names(facts: Facts, params: Params, seconds: float, least: float) -> set[str]:
    """Return which of the two names asked for can be heard within the first seconds of a scene."""
    return {e[params["attribute"]] for e in _events(facts, seconds, least)} & {params["x"], params["y"]}


def propose(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Return facts of what is heard, or of silence or a missing clip where the answer says that there is nothing."""
    if answer in ("no", "true", "nothing"):
        condition = pick(rng, ("silent", "missing"))
        return owned(SUITE, split, {"condition": condition, "kind": "", "number": int(rng.integers(1 << 40))})
    seconds = frame["seconds"]
    if "x" in params:

        def wanted(facts: Facts) -> bool:
            return all(_names(facts, params, seconds, least) == {answer} for least in (0.0, _CLEARLY_HEARD))

        name = params["kind"]
        found = scene(rng, split, name, seconds, wanted, (answer,))
    else:
        name = next((k for k, shown in _KINDS.items() if shown == answer), None) or pick(rng, SOURCES)
        found = scene(rng, split, name, seconds)
    return owned(SUITE, split, {"condition": "sound", "kind": name, "scene": found, "heard": seconds})


def key(facts: Facts) -> Any:
    """Return the symbols of the scene; an empty clip has none, so it is told from others by its number."""
    if facts["condition"] != "sound":
        return [facts["condition"], facts["number"], facts["take"]]
    inner = facts["scene"]
    return [facts["kind"], source(facts["kind"]).key(inner), facts["take"]]


def render(facts: Facts, rng: Rng) -> tuple[np.ndarray, list[Span]]:
    """Return the beginning of the scene, faded at its end, or digital silence."""
    length = round(facts["seconds"] * SAMPLE_RATE)
    if facts["condition"] != "sound":
        return np.zeros(length, np.float32), []
    wave, spans = source(facts["kind"]).render(facts["scene"], rng)
    wave = np.array(wave[:length], np.float32)
    wave[-_FADE_SAMPLES:] *= np.linspace(1, 0, min(_FADE_SAMPLES, len(wave)), dtype=np.float32)
    end = facts["seconds"]
    return wave, [Span(s.start, min(s.end, end), s.tag) for s in spans if s.start < end]


def caption(facts: Facts) -> str:
    """Return what is there to hear, in words."""
    if facts["condition"] == "missing":
        return "There is no clip."
    if facts["condition"] == "silent":
        return "The clip is silent from start to end."
    names = named(_events(facts["scene"], facts["heard"]))
    return f"The clip holds {_KINDS[facts['kind']]}: {', '.join(names)}."


# Questions


def _draw(*choices: str) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        return {"choices": shuffled(rng, choices)}

    return draw


def _draw_kind(rng: Rng, split: str) -> Params:
    return {"choices": shuffled(rng, (*shuffled(rng, _KINDS.values())[:2], "nothing"))}


def _draw_which(rng: Rng, split: str) -> Params:
    kind = pick(rng, tuple(_CHOSEN))
    attribute, names = _CHOSEN[kind]
    x, y = shuffled(rng, names)[:2]
    return {"choices": shuffled(rng, (x, y, "nothing")), "x": x, "y": y, "kind": kind, "attribute": attribute}


def _is_heard(facts: Facts) -> bool:
    return facts["condition"] == "sound"


def _kind(facts: Facts, params: Params) -> str:
    return _KINDS[facts["kind"]] if _is_heard(facts) else "nothing"


def _which(facts: Facts, params: Params) -> str | None:
    if not _is_heard(facts):
        return "nothing"
    if facts["kind"] != params["kind"]:
        return None
    names = _names(facts["scene"], params, facts["heard"], _CLEARLY_HEARD)
    return names.pop() if len(names) == 1 else None


def _chain(facts: Facts, params: Params) -> str:
    if facts["condition"] == "missing":
        return "I look for sound. There is no clip in the message. So there is nothing to hear."
    if facts["condition"] == "silent":
        return "I look for sound. There is a clip, and it is silent from start to end. So there is nothing to hear."
    names = named(_events(facts["scene"], facts["heard"]))
    parts = ", ".join(f"{i} {name}" for i, name in enumerate(names, 1))
    kind = _KINDS[facts["kind"]]
    return f"I look for sound. There is a clip, and I hear {parts}. So there is something to hear: {kind}."


def _make(name: str, steps: int, words: Phrasings, draw: Any, answer: Any, weight: float) -> QuestionType:
    def chain(facts: Facts, params: Params) -> str:
        return ending(_chain(facts, params), answer(facts, params))

    return QuestionType(name, steps, "contextual", words, draw, answer, chain, propose, 1, weight)


TYPES = (
    _make("can_hear", 1, say.CAN_HEAR, _draw("yes", "no"), lambda f, p: "yes" if _is_heard(f) else "no", 1.3),
    _make(
        "hear_nothing", 1, say.NOTHING, _draw("true", "false"), lambda f, p: "false" if _is_heard(f) else "true", 1.0
    ),
    _make("what_kind", 1, say.WHAT_KIND, _draw_kind, _kind, 0.8),
    _make("which", 2, say.WHICH, _draw_which, _which, 0.8),
)


def _no_scene(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    raise NotImplementedError("every question of hearing proposes its own facts")


_TAGS = tuple(dict.fromkeys(tag for name in SOURCES for tag in source(name).tags))
SUITE = Suite("hearing", TYPES, layout, _no_scene, key, render, caption, _TAGS)


def sample(split: str, index: int) -> Sample:
    """Return an item; one with a missing clip has no audio. ``extra['condition']`` is sound, silent or missing."""
    item = to_sample(SUITE, split, index)
    assert item.facts is not None and item.answer is not None
    condition = item.facts["condition"]
    said = item.facts.get("scene", {}).get("transcript") if condition == "sound" else None
    return dataclasses.replace(
        item,
        audio=() if condition == "missing" else item.audio,
        acceptable=ACCEPTABLE.get(item.answer, ()),
        transcript=said if condition == "sound" and _whole(item.facts) else None,
        extra={**item.extra, "condition": condition},
    )


def _whole(facts: Facts) -> bool:
    """Return whether a scene is heard to the end of its last event."""
    return facts["scene"]["events"][-1]["end"] <= facts["heard"]
