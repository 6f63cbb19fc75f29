"""SoundWorld: procedural audio with exact ground truth. ``sample`` gives an item, ``waveform`` its sound."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np

from earwitness.records import Sample
from earwitness.soundworld.core import SAMPLE_RATE, SPLITS, VERSION, Span, Suite, render, to_sample

__all__ = [
    "ALL_SUITES",
    "SAMPLE_RATE",
    "SPLITS",
    "SUITES",
    "VERSION",
    "Span",
    "Suite",
    "sample",
    "spans",
    "suite",
    "waveform",
]

SUITES = ("music", "sound", "speech")
"""The suites of the acoustic foundation."""
ALL_SUITES = (*SUITES, "spoken_math", "spoken_logic", "hearing", "crossed", "open_ended", "text_tasks")
"""Every suite; items of ``text_tasks``, and some of ``hearing``, have no audio."""
_ADDRESS = re.compile(r"soundworld:(\w+)/(\w+)/(\d+)@(\w+)")


def suite(name: str) -> Suite:
    """Return a suite with sound by name; imported late, because speech needs the ``world`` extra."""
    module = _module(name)
    if not hasattr(module, "SUITE"):
        raise ValueError(f"{name} is text only and has no sound; read its items with sample")
    return module.SUITE


def _module(name: str) -> Any:
    if name not in ALL_SUITES:
        raise ValueError(f"unknown SoundWorld suite {name!r}; there are {', '.join(ALL_SUITES)}")
    return importlib.import_module(f"earwitness.soundworld.{name}")


def sample(name: str, split: str = "test", index: int = 0) -> Sample:
    """Return the item at (suite, split, index): question, choices, answer, facts, reasoning."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"index {index} is negative")
    module = _module(name)
    # A suite of which some items are no plain questions about a clip makes its samples itself.
    return module.sample(split, index) if hasattr(module, "sample") else to_sample(module.SUITE, split, index)


def waveform(item: Sample | str) -> np.ndarray:
    """Return the sound of a sample or of an address: mono float32 at 16 kHz; empty where a sample has no audio."""
    return spans(item)[0]


def spans(item: Sample | str) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, labelled spans); the spans are the dense truth that encoder pre-training reads."""
    if isinstance(item, Sample) and not item.audio:
        return np.zeros(0, np.float32), []
    address = item if isinstance(item, str) else str(item.audio[0])
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise ValueError(f"{address!r} is not a SoundWorld address such as soundworld:music/test/7@{VERSION}")
    name, split, index, version = match.groups()
    if version != VERSION:
        raise ValueError(f"{address!r} asks for SoundWorld version {version}; this is version {VERSION}")
    facts = item.facts if isinstance(item, Sample) and item.facts else sample(name, split, int(index)).facts
    assert facts is not None
    return render(suite(name), facts, f"{split}/{index}")
