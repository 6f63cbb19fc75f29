"""The small model outside its world: two notes of synthesisers that share no code with SoundWorld. No threshold."""

from __future__ import annotations

import importlib.util
import pathlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

import earwitness as ew
from earwitness.evaluate import statistics

RATE = 22_050
QUESTION = "Which note is higher, the first or the second?"
CLIPS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "make_clips.py"


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask about 40 pairs of notes of each kind (reduced: 4), drawn from a fixed seed."""
    made = _examples()
    kinds: dict[str, Callable[[float, float, int], np.ndarray]] = {
        "plucked string": lambda hz, seconds, seed: made.pluck(hz, seconds, RATE, seed),
        "sung vowel": lambda hz, seconds, seed: made.sing(hz, seconds, RATE, seed),
        "sine": lambda hz, seconds, seed: _sine(hz, seconds),
    }
    engine = ew.load()
    figures: dict[str, Any] = {}
    in_form = right = asked = 0
    for kind, make in kinds.items():
        answers = [_ask(engine, make, number, folder) for number in range(4 if reduced else 40)]
        good = sum(said == key for said, key in answers)
        value, low, high = statistics.wilson(good, len(answers))
        figures[kind] = {"n": len(answers), "right": good, "accuracy": value, "low": low, "high": high}
        in_form += sum(said in ("first", "second") for said, _ in answers)
        right, asked = right + good, asked + len(answers)
    figures["all"] = {"n": asked, "right": right, "first_or_second": in_form}
    return {"figures": figures, "holds": {"answers_are_in_form": in_form >= 0.9 * asked}}


def _ask(
    engine: Any, make: Callable[[float, float, int], np.ndarray], number: int, folder: pathlib.Path
) -> tuple[str, str]:
    """Return (answer, key) of a pair of notes between 147 and 622 Hz, written and read as a file."""
    rng = np.random.default_rng(number)
    first, second = (int(midi) for midi in rng.choice(np.arange(50, 76), 2, replace=False))
    seconds, gap = rng.uniform(0.35, 0.7), rng.uniform(0.05, 0.3)
    notes = [make(440 * 2 ** ((midi - 69) / 12), seconds, number) for midi in (first, second)]
    parts = [_rest(0.2), 0.3 * notes[0] / np.abs(notes[0]).max(), _rest(gap), 0.3 * notes[1] / np.abs(notes[1]).max()]
    path = folder / "clip.wav"
    soundfile.write(path, np.concatenate([*parts, _rest(0.2)]).astype(np.float32), RATE)
    return engine.ask(str(path), QUESTION).answer.strip(), "first" if first > second else "second"


def _sine(hz: float, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * hz * t) * np.minimum(1, np.minimum(t / 0.01, (seconds - t) / 0.05))


def _rest(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def _examples() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_clips", CLIPS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
