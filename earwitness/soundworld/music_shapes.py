"""Questions about a few notes as a whole: contour, interval, mode, rhythm, tempo."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import Facts, Params, Rng
from earwitness.soundworld.music_facts import LOWEST, NUM_PITCHES, name_of
from earwitness.soundworld.music_facts import propose as propose_notes
from earwitness.soundworld.music_synth import TIMBRES
from earwitness.soundworld.sequence import Row, pick, scan, shuffled

LENGTHS = Row("note", "timbre", TIMBRES, "duration", ("long", "short"))
INTERVALS = {"third": (3, 4), "fifth": (7,), "octave": (12,)}
CONTOURS = ("rising", "falling", "up then down", "down then up")
_TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7)}


def hear_pitch(facts: Facts, *more: str) -> str:
    """Return the notes in order with their pitches and further attributes."""
    parts = [" ".join([str(i), *(e[a] for a in more), e["note"]]) for i, e in enumerate(facts["events"], 1)]
    return f"I hear {', '.join(parts)}."


def moves(facts: Facts, word: str) -> list[int]:
    """Return the positions of the notes that are ``higher`` or ``lower`` than the one before."""
    pitches = [e["midi"] for e in facts["events"]]
    sign = 1 if word == "higher" else -1
    return [i for i in range(2, len(pitches) + 1) if sign * (pitches[i - 1] - pitches[i - 2]) > 0]


# Shapes of a few notes


def draw_shape(choices: tuple[str, ...], **size: Any):
    """Return the draw for the shape of a few plain notes."""

    def draw(rng: Rng, split: str) -> Params:
        return {"kinds": (), "vary": False, "plain": True, "choices": shuffled(rng, choices), **size}

    return draw


def contour(facts: Facts, params: Params) -> str | None:
    """Return the outline of the notes, or None where it turns more than once."""
    signs = np.sign(np.diff([e["midi"] for e in facts["events"]]))
    turns = int((np.diff(signs) != 0).sum())
    if turns > 1 or len(signs) < 2:
        return None
    return CONTOURS[(0 if signs[0] > 0 else 1) + 2 * turns]


def contour_chain(facts: Facts, params: Params) -> str:
    """Return the chain to the outline."""
    ups = set(moves(facts, "higher"))
    text = scan(facts, lambda e: e["note"], lambda i: "" if i == 1 else "up" if i in ups else "down", "line")
    return f"{text} As a whole the line is {contour(facts, params)}."


def _gap(facts: Facts) -> int:
    a, b = facts["events"][0]["midi"], facts["events"][1]["midi"]
    return abs(a - b)


def interval(facts: Facts, params: Params) -> str | None:
    """Return the name of the interval of two notes."""
    return next((name for name, sizes in INTERVALS.items() if _gap(facts) in sizes), None)


def _walk(low: dict[str, Any], high: dict[str, Any]) -> str:
    """Return the semitone steps from one note up to another, counted: 'From A3 up: A#3 1, B3 2, that is 2'."""
    steps = [f"{name_of(midi)} {i}" for i, midi in enumerate(range(low["midi"] + 1, high["midi"] + 1), 1)]
    return f"From {low['note']} up to {high['note']}: {', '.join(steps)}. That is {len(steps)}"


def interval_chain(facts: Facts, params: Params) -> str:
    """Return the chain to the interval."""
    low, high = sorted(facts["events"], key=lambda e: e["midi"])
    name = interval(facts, params)
    return f"{hear_pitch(facts)} {_walk(low, high)}, {'an' if name == 'octave' else 'a'} {name}."


def mode(facts: Facts, params: Params) -> str | None:
    """Return the mode of a triad."""
    pitches = [e["midi"] for e in facts["events"]]
    steps = tuple(p - min(pitches) for p in sorted(pitches))
    return next((name for name, triad in _TRIADS.items() if triad == steps), None)


def mode_chain(facts: Facts, params: Params) -> str:
    """Return the chain to the mode."""
    low, middle, _ = sorted(facts["events"], key=lambda e: e["midi"])
    mode = "major" if middle["midi"] - low["midi"] == 4 else "minor"
    text = f"{hear_pitch(facts)} The lowest is {low['note']}, the middle {middle['note']}."
    return f"{text} {_walk(low, middle)}, so the chord is {mode}."


# Time


BEATS = {"slow": (0.53, 0.57), "medium": (0.4, 0.44), "fast": (0.3, 0.33)}  # seconds from note to note
RHYTHMS = {"even": ("short", "short"), "long short": ("long", "short"), "short long": ("short", "long")}


def draw_time(choices: tuple[str, ...]):
    """Return the draw for what happens in time, over 4 or 6 notes."""

    def draw(rng: Rng, split: str) -> Params:
        size = {"exactly": 2 * int(rng.integers(2, 4))}
        return {"kinds": (), "vary": False, "plain": True, "choices": shuffled(rng, choices), **size}

    return draw


def rhythm(facts: Facts, params: Params) -> str | None:
    """Return the pattern that the lengths repeat."""
    durations = [e["duration"] for e in facts["events"]]
    return next((name for name, pair in RHYTHMS.items() if durations == list(pair) * (len(durations) // 2)), None)


def rhythm_chain(facts: Facts, params: Params) -> str:
    """Return the chain to the rhythm."""
    text = f"{LENGTHS.hear(facts, 'duration')} From pair to pair the same pattern comes back"
    return f"{text}, and it is {rhythm(facts, params)}."


def tempo_chain(facts: Facts, params: Params) -> str:
    """Return the chain to the tempo."""
    last = facts["events"][-1]["note"]
    text = f"{hear_pitch(facts)} The beat is steady up to the last note, {last}."
    return f"{text} The notes come at a {facts['tempo']} pace."


def propose_time(rng: Rng, split: str, frame: Any, params: Params, answer: str) -> Facts:
    """Propose notes with the lengths, or at the tempo, of the answer."""
    pair = RHYTHMS.get(answer, ("short", "short"))
    more: Params = {"given": {"duration": list(pair) * (frame["n"] // 2)}}
    if answer in BEATS:
        more |= {"tempo": answer, "beat_seconds": float(rng.uniform(*BEATS[answer]))}
    return propose_notes(rng, split, frame, {**params, **more})


def propose_pitches(choose: Any):
    """Return proposals that put chosen pitches, given the answer, into otherwise random notes."""

    def propose(rng: Rng, split: str, frame: Any, params: Params, answer: str) -> Facts:
        more = (params["word"],) if "word" in params else ()
        return propose_notes(rng, split, frame, {**params, "pitches": lambda r, n: choose(r, n, answer, *more)})

    return propose


def contour_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    """Return n pitches with the outline of the answer."""
    steps = rng.integers(2, 6, size=n - 1)
    turn = int(rng.integers(1, n - 1)) if "then" in answer else n
    sign = 1 if answer in ("rising", "up then down") else -1
    line = np.concatenate([[0], np.cumsum([s * (sign if i < turn else -sign) for i, s in enumerate(steps)])])
    return list(line - line.min() + LOWEST + int(rng.integers(NUM_PITCHES - (line.max() - line.min()))))


def interval_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    """Return two pitches at the interval of the answer, in random order."""
    size = int(pick(rng, INTERVALS[answer]))
    low = LOWEST + int(rng.integers(NUM_PITCHES - size))
    return list(shuffled(rng, (low, low + size)))


def triad_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    """Return the triad of the answer in random order."""
    low = LOWEST + int(rng.integers(NUM_PITCHES - 7))
    return [low + s for s in shuffled(rng, _TRIADS[answer])]
