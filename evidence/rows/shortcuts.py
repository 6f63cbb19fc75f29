"""Contract row 3: SoundWorld cannot be answered from the text, or from length and level."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from earwitness import soundworld
from earwitness.evaluate import shortcuts

MARGIN = 0.03


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Train both classifiers on each suite's training items and test them on its test items."""
    del folder
    train_count, test_count = (600, 300) if reduced else (6000, 3000)
    figures: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    for name in soundworld.SUITES:
        train = [soundworld.sample(name, "train", i) for i in range(train_count)]
        test = [soundworld.sample(name, "test", i) for i in range(test_count)]
        heard = [np.array([_sound(s) for s in part]) for part in (train, test)]
        level = shortcuts.chance(test)
        scores = {
            "text": shortcuts.text_accuracy(train, test),
            "length_and_level": shortcuts.level_accuracy(train, test, *heard),
        }
        figures[name] = {"chance": round(level, 4), "n": test_count, **{k: round(v, 4) for k, v in scores.items()}}
        # Fewer items make chance itself wider; the full run has the margin of the contract.
        margin = MARGIN + (0.06 if reduced else 0.0)
        holds |= {f"{name}_{k}": v <= level + margin for k, v in scores.items()}
    return {"figures": figures, "holds": holds}


def _sound(sample) -> tuple[float, float]:
    wave = soundworld.waveform(sample)
    return len(wave) / soundworld.SAMPLE_RATE, float(20 * np.log10(np.sqrt(np.mean(wave**2)) + 1e-9))
