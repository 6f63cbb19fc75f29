"""Contract row: 20 planted events in three hours of sound, found by the model window by window, and by measuring alone.

The recording is SoundWorld's: backgrounds that change every few minutes, and every 20 s or so a row of one to four
events, near or far, of which 20 in all are sirens and the others one of eleven other kinds, alarms, whistles and horns
among them. It is written as FLAC and read as a user's file is. ``measured_alone`` is the same pipeline with the model
replaced by what ``measure`` says of a window: an event counts as a siren if its brightness, its flatness and its length
lie within the ranges of 40 sirens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import resource
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import soundfile

import earwitness as ew
from earwitness import audio, prompt
from earwitness.acoustics import Measurements
from earwitness.engines import Engine, OnEvent, Request, Sampling
from earwitness.engines.long_audio import LongReply, ask_long
from earwitness.soundworld.sound_synth import BACKGROUNDS, RECIPES, background, event

TARGET, QUESTION = "siren", "When is there a siren?"
RATE = audio.SAMPLE_RATE
SECTION_SECONDS = 140  # whole scenes: no row of events crosses a change of background
SCENE_SECONDS = 20.0
LEVEL = 0.4  # an event that is near has an RMS of -28 dBFS
TOLERANCE_SECONDS = 5.0
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Scene:
    """A row of events at a time in seconds."""

    start: float
    names: tuple[str, ...]


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Ask about three hours with 20 sirens (reduced: five minutes with four)."""
    minutes, planted = (5, 4) if reduced else (180, 20)
    path = folder / "recording.flac"
    scenes = draw(minutes * 60, planted, seed=minutes)
    truth = write(path, minutes * 60, scenes, seed=minutes)
    engine = ew.load()
    next(iter(engine.generate([Request([prompt.user_message("Is there a bell?")])], Sampling(max_new_tokens=4))))
    with _memory() as memory:
        reply, seconds = _ask(engine, path)
    alone, _ = _ask(MeasuredAlone(), path)
    path.unlink()
    found, by_measuring = score(reply, truth), score(alone, truth)
    others = [name for scene in scenes for name in scene.names if name != TARGET]
    figures = {
        "recording": {"minutes": minutes, "planted": len(truth), "other_events": len(others), "scenes": len(scenes)},
        "model": found,
        "measured_alone": by_measuring,
        "windows": reply.windows,
        "seconds": round(seconds, 1),
        "peak_memory_above_idle_gib": round(memory[0] / GIB, 3),
        "answer": reply.answer[:200],
    }
    holds = {
        "recall": found["recall"] >= 0.9,
        "precision": found["precision"] >= 0.9,
        "measuring_falls_short": min(by_measuring["recall"], by_measuring["precision"]) <= 0.6,
        "memory": memory[0] < 2 * GIB,
    }
    return {"figures": figures, "holds": holds}


def draw(seconds: float, planted: int, seed: int) -> list[Scene]:
    """Return scenes in order of time; ``planted`` of them, at least 12 s apart, hold one siren each."""
    rng = np.random.default_rng(seed)
    count = int(seconds / SCENE_SECONDS)
    others = [name for name in RECIPES if name != TARGET]
    with_target = set(rng.choice(np.arange(count), planted, replace=False).tolist())
    scenes = []
    for i in range(count):
        names = [str(rng.choice(others)) for _ in range(int(rng.integers(1, 5)))]
        if i in with_target:
            names[int(rng.integers(len(names)))] = TARGET
        scenes.append(Scene(i * SCENE_SECONDS + float(rng.uniform(3, SCENE_SECONDS - 8)), tuple(names)))
    return scenes


def write(path: pathlib.Path, seconds: float, scenes: Sequence[Scene], seed: int) -> list[float]:
    """Write the recording section by section; return the times in the middle of the sirens."""
    rng, truth, waiting = np.random.default_rng(seed + 1), [], list(scenes)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="FLAC") as out:
        for begun in np.arange(0, seconds, SECTION_SECONDS):
            name = str(rng.choice(BACKGROUNDS))
            low, high = {"silence": (-48, -38)}.get(name, (-24, -20))
            length = round(min(SECTION_SECONDS, seconds - begun) * RATE)
            wave = 0.1 * 10 ** (rng.uniform(low, high) / 20) * background(name, length, rng)
            while waiting and waiting[0].start < begun + SECTION_SECONDS:
                truth += [begun + at for at in _place(wave, waiting.pop(0), begun, rng)]
            out.write(np.clip(LEVEL * wave, -1, 1))
    return [float(at) for at in truth]


def _place(wave: np.ndarray, scene: Scene, begun: float, rng: np.random.Generator) -> Iterator[float]:
    """Add a scene to its section; yield the middles of its sirens from the start of the section."""
    at = scene.start - begun
    for name in scene.names:
        length = float(rng.uniform(0.42, 0.58))
        sound = event(name, length, bool(rng.random() < 0.5), rng, False)
        first = round(at * RATE)
        wave[first : first + len(sound)] += sound[: len(wave) - first]
        if name == TARGET:
            yield at + length / 2
        at += length + float(rng.uniform(0.08, 0.16))


def score(reply: LongReply, truth: Sequence[float]) -> dict[str, Any]:
    """Return recall and precision of the notes' times, each matched with one planted event within 5 s at most."""
    said = [(note.start + note.end) / 2 for note in reply.notes]
    left, errors = list(truth), []
    for at in said:
        near = min(left, key=lambda t: abs(t - at), default=None)
        if near is not None and abs(near - at) <= TOLERANCE_SECONDS:
            left.remove(near)
            errors.append(abs(near - at))
    hits = len(errors)
    recall, precision = hits / len(truth), hits / len(said) if said else 0.0
    worst = round(max(errors), 2) if errors else None
    return {"found": hits, "said": len(said), "recall": recall, "precision": precision, "worst_error_seconds": worst}


class MeasuredAlone(Engine):
    """Answers whether there is a siren by measurements."""

    context = 4096

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        rows = []
        for i in range(40):
            wave = np.zeros(round(1.0 * RATE), np.float32) + 1e-4 * rng.standard_normal(RATE).astype(np.float32)
            sound = LEVEL * event(TARGET, float(rng.uniform(0.42, 0.58)), i % 2 == 0, rng, False)
            wave[4000 : 4000 + len(sound)] += sound
            rows += self._described(Measurements(wave))
        self._low, self._high = np.min(rows, axis=0), np.max(rows, axis=0)

    @staticmethod
    def _described(found: Measurements) -> list[list[float]]:
        rows = []
        for one in found.events:
            values = [found.centroid(one.start, one.end).value, found.flatness(one.start, one.end).value, one.seconds]
            if all(value is not None for value in values):
                rows.append([float(value) for value in values if value is not None])
        return rows

    def generate(
        self, requests: Iterable[Request], sampling: Sampling | None = None, on_event: OnEvent | None = None
    ) -> Iterator[ew.Reply]:
        """Yield yes or no for each window."""
        for request in requests:
            rows = self._described(Measurements(prompt.clips(request.messages)[0]))
            heard = any((self._low <= row).all() and (row <= self._high).all() for row in np.array(rows))
            yield ew.Reply("", "yes" if heard else "no")


def _ask(engine: Engine, path: pathlib.Path) -> tuple[LongReply, float]:
    begun = time.perf_counter()
    reply = ask_long(engine, audio.Recording(path), QUESTION)
    return reply, time.perf_counter() - begun


@contextlib.contextmanager
def _memory() -> Iterator[list[int]]:
    """Give a list with the bytes by which this process grew at most, from one look in 20 ms."""
    idle, grown, done = _resident(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            grown[0] = max(grown[0], _resident() - idle)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        done.set()
        thread.join()


def _resident() -> int:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
