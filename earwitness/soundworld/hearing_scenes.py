"""Scenes of music, sound and speech for suites that ask about any of them.

A scene belongs to the split that its own suite gives it, so a test scene is no scene of anybody's training.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

from earwitness.soundworld.core import Facts, Rng, Suite, facts_hash, split_of
from earwitness.soundworld.sequence import pick

SOURCES = ("music", "sound", "speech")


def source(name: str) -> Suite:
    """Return the suite that a scene is from."""
    return importlib.import_module(f"earwitness.soundworld.{name}").SUITE


def scene(
    rng: Rng,
    split: str,
    name: str,
    least_seconds: float = 0.0,
    wanted: Callable[[Facts], bool] = lambda facts: True,
    kinds: tuple[str, ...] = (),
) -> Facts:
    """Return the facts of a scene of a suite that lasts at least so long and is as wanted.

    ``kinds`` are timbres or sounds that are likely to be in it.
    """
    suite = source(name)
    types = [t for t in suite.types if split != "heldout" or t.heldout]
    while True:
        kind = pick(rng, types)
        params = kind.draw(rng, split)
        if kinds:
            params = {**params, "kinds": kinds}
        frame = suite.layout(rng, split, kind, params)
        if frame["seconds"] < least_seconds:
            continue
        facts = suite.propose(rng, split, frame, params)
        facts = {"suite": name, "seconds": frame["seconds"], "level_db": frame["level_db"], **facts}
        if wanted(facts) and split_of(facts_hash(suite, facts)) == split:
            return facts


def owned(suite: Suite, split: str, facts: Facts) -> Facts:
    """Return facts with the first ``take`` that puts their hash into the split which owns their scene."""
    for take in itertools.count():
        facts = {**facts, "take": take}
        if split_of(facts_hash(suite, facts)) == split:
            return facts
    raise AssertionError("the count never ends")


def named(events: list[dict[str, Any]]) -> list[str]:
    """Return what the events of a scene are: 'loud flute', 'near bell', 'the word cat by the man'."""

    def name(event: dict[str, Any]) -> str:
        if "timbre" in event:
            return f"{event['loudness']} {event['timbre']}"
        if "sound" in event:
            return f"{event['distance']} {event['sound']}"
        said = f"word {event['word']}" if "word" in event else f"sentence {event['sentence']}"
        return f"{said} by the {event['speaker']}"

    return [name(event) for event in events]
