"""SoundWorld: procedural audio with exact ground truth. ``sample`` gives an item, ``waveform`` its sound."""

from __future__ import annotations

import importlib
import re

import numpy as np

from earwitness.records import Sample
from earwitness.soundworld.core import SAMPLE_RATE, SPLITS, VERSION, Span, Suite, render, to_sample

__all__ = ["SAMPLE_RATE", "SPLITS", "SUITES", "VERSION", "Span", "Suite", "sample", "spans", "suite", "waveform"]

SUITES = ("music", "sound", "speech")
_ADDRESS = re.compile(r"soundworld:(\w+)/(\w+)/(\d+)@(\w+)")


def suite(name: str) -> Suite:
    """Return a suite by name; imported late, because speech needs the ``world`` extra."""
    if name not in SUITES:
        raise ValueError(f"unknown SoundWorld suite {name!r}; there are {', '.join(SUITES)}")
    module = importlib.import_module(f"earwitness.soundworld.{name}")
    return module.SUITE


def sample(name: str, split: str = "test", index: int = 0) -> Sample:
    """Return the item at (suite, split, index): question, choices, answer, facts, reasoning."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"index {index} is negative")
    return to_sample(suite(name), split, index)


def waveform(item: Sample | str) -> np.ndarray:
    """Return the sound of a sample or of an address: mono float32 at 16 kHz."""
    return spans(item)[0]


def spans(item: Sample | str) -> tuple[np.ndarray, list[Span]]:
    """Return (waveform, labelled spans); the spans are the dense truth that encoder pre-training reads."""
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
