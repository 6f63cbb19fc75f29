"""What the music suite asks, beyond what any row of events can be asked: pitch, interval, contour, mode."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import Facts, Params, QuestionType, Rng
from earwitness.soundworld.music_synth import TIMBRES
from earwitness.soundworld.sequence import COUNTS, KTH, Row, found, make, pick, shuffled

ROW = Row("note", "timbre", TIMBRES, "loudness", ("loud", "soft"))
LENGTHS = Row("note", "timbre", TIMBRES, "duration", ("long", "short"))
_LOWEST, _NUM = 48, 36
_INTERVALS = {"third": (3, 4), "fifth": (7,), "octave": (12,)}
_CONTOURS = ("rising", "falling", "up then down", "down then up")
_TRIADS = {"major": (0, 4, 7), "minor": (0, 3, 7)}


def _hear_pitch(facts: Facts, *more: str) -> str:
    parts = [" ".join([str(i), *(e[a] for a in more), e["note"]]) for i, e in enumerate(facts["events"], 1)]
    return f"I hear {', '.join(parts)}."


def _extreme(facts: Facts, positions: list[int], word: str) -> int | None:
    if not positions:
        return None
    sign = 1 if word == "highest" else -1
    return max(positions, key=lambda p: sign * facts["events"][p - 1]["midi"])


# Two notes


_RELATIONS = {
    "higher": ("midi", lambda a, b: a > b),
    "lower": ("midi", lambda a, b: a < b),
    "louder": ("loudness", lambda a, b: a == "loud" and b == "soft"),
    "softer": ("loudness", lambda a, b: a == "soft" and b == "loud"),
    "longer": ("duration", lambda a, b: a == "long" and b == "short"),
    "shorter": ("duration", lambda a, b: a == "short" and b == "long"),
}


def _draw_pair(rng: Rng, split: str) -> Params:
    relation = pick(rng, ("higher", "higher", "lower", "lower", "louder", "softer", "longer", "shorter"))
    i, j = (1, 2) if rng.random() < 0.6 else sorted(int(x) for x in rng.choice(4, 2, replace=False) + 1)
    size = {"exactly": 2} if (i, j) == (1, 2) and rng.random() < 0.6 and split != "heldout" else {"least": j}
    places = {"i": i, "j": j, "x": KTH[i], "y": KTH[j], "relation": relation}
    return {**places, **size, "kinds": (), "vary": True, "choices": shuffled(rng, (KTH[i], KTH[j]))}


def _pair(facts: Facts, params: Params) -> str | None:
    attribute, holds = _RELATIONS[params["relation"]]
    if len(facts["events"]) < params["j"]:
        return None
    a, b = (facts["events"][params[p] - 1][attribute] for p in "ij")
    return params["x"] if holds(a, b) else params["y"] if holds(b, a) else None


def _pair_chain(facts: Facts, params: Params) -> str:
    attribute = _RELATIONS[params["relation"]][0]
    shown = "note" if attribute == "midi" else attribute
    text = _hear_pitch(facts) if attribute == "midi" else ROW.hear(facts, attribute)
    a, b = (facts["events"][params[p] - 1][shown] for p in "ij")
    first = _pair(facts, params) == params["x"]
    better, worse = (a, b) if first else (b, a)
    said = f"The {params['x']} note is {a} and the {params['y']} note is {b}."
    return f"{text} {said} {better} is {params['relation']} than {worse}."


# The highest note and its neighbours


def _draw_extreme(what: str):
    def draw(rng: Rng, split: str) -> Params:
        word, level = pick(rng, ("highest", "lowest")), pick(rng, ROW.levels)
        choices: Any = {
            "place": KTH[1:5],
            "timbre": shuffled(rng, TIMBRES)[:3],
            "timbre_by_level": shuffled(rng, TIMBRES)[:3],
            "level_after": ROW.levels,
            "duration": ("long", "short"),
        }[what]
        kinds = choices if what.startswith("timbre") else ()
        least = {"place": 4, "timbre_by_level": 4}.get(what, 3)
        return {
            "word": word,
            "level": level,
            "kinds": kinds,
            "vary": True,
            "least": least,
            "choices": shuffled(rng, choices),
        }

    return draw


def _extreme_answer(what: str):
    def answer(facts: Facts, params: Params) -> str | None:
        events = facts["events"]
        filters = {"loudness": params["level"]} if what == "timbre_by_level" else {}
        positions = found(facts, filters)
        place = _extreme(facts, positions, params["word"])
        if place is None or (filters and len(positions) < 2):
            return None
        if what == "level_after":
            return events[place]["loudness"] if place < len(events) else None
        value = {"place": KTH[place], "duration": events[place - 1]["duration"]}
        return value.get(what, events[place - 1]["timbre"])

    return answer


def _extreme_chain(what: str):
    def chain(facts: Facts, params: Params) -> str:
        filters = {"loudness": params["level"]} if what == "timbre_by_level" else {}
        positions = found(facts, filters)
        place = _extreme(facts, positions, params["word"]) or 0
        event = facts["events"][place - 1]
        shown = {"timbre_by_level": ("loudness", "timbre"), "level_after": ("loudness",), "place": ()}
        text = _hear_pitch(facts, *shown.get(what, (what,)))
        if filters:
            rows = ", ".join(f"{p} {facts['events'][p - 1]['note']}" for p in positions)
            text += f" The {params['level']} ones are {rows}."
        text += f" The {params['word']} of these is {event['note']}, note {place}."
        if what == "level_after":
            return f"{text} Next comes note {place + 1}, {facts['events'][place]['loudness']}."
        return f"{text} Note {place} is {KTH[place] if what == 'place' else event.get(what, event['timbre'])}."

    return chain


# Steps up and down


def _draw_steps(rng: Rng, split: str) -> Params:
    word = pick(rng, ("higher", "lower"))
    return {"word": word, "kinds": (), "vary": False, "least": 4, "choices": shuffled(rng, COUNTS)}


def _moves(facts: Facts, word: str) -> list[int]:
    pitches = [e["midi"] for e in facts["events"]]
    sign = 1 if word == "higher" else -1
    return [i for i in range(2, len(pitches) + 1) if sign * (pitches[i - 1] - pitches[i - 2]) > 0]


def _steps_chain(facts: Facts, params: Params) -> str:
    notes = [e["note"] for e in facts["events"]]
    up = _moves(facts, "higher")
    moves = ", ".join(f"{i} {'higher' if i in up else 'lower'}" for i in range(2, len(notes) + 1))
    wanted = _moves(facts, params["word"])
    listed = ", ".join(map(str, wanted)) or "none"
    text = f"{_hear_pitch(facts)} Each against the one before: {moves}."
    return f"{text} The {params['word']} ones are {listed}. That is {len(wanted)}."


# Shapes of a few notes


def _draw_shape(choices: tuple[str, ...], pitches: Any, **size: Any):
    def draw(rng: Rng, split: str) -> Params:
        return {"kinds": (), "vary": False, "plain": True, "choices": shuffled(rng, choices), **size}

    return draw


def _contour(facts: Facts, params: Params) -> str | None:
    signs = np.sign(np.diff([e["midi"] for e in facts["events"]]))
    turns = int((np.diff(signs) != 0).sum())
    if turns > 1 or len(signs) < 2:
        return None
    return _CONTOURS[(0 if signs[0] > 0 else 1) + 2 * turns]


def _contour_chain(facts: Facts, params: Params) -> str:
    ups = set(_moves(facts, "higher"))
    moves = ", ".join("up" if i in ups else "down" for i in range(2, len(facts["events"]) + 1))
    return f"{_hear_pitch(facts)} From note to note the line goes {moves}. As a whole it is {_contour(facts, params)}."


def _gap(facts: Facts) -> int:
    a, b = facts["events"][0]["midi"], facts["events"][1]["midi"]
    return abs(a - b)


def _interval(facts: Facts, params: Params) -> str | None:
    return next((name for name, sizes in _INTERVALS.items() if _gap(facts) in sizes), None)


def _interval_chain(facts: Facts, params: Params) -> str:
    a, b = (e["note"] for e in facts["events"])
    return f"{_hear_pitch(facts)} From {a} to {b} is {_gap(facts)} semitones, a {_interval(facts, params)}."


def _mode(facts: Facts, params: Params) -> str | None:
    pitches = [e["midi"] for e in facts["events"]]
    steps = tuple(p - min(pitches) for p in sorted(pitches))
    return next((name for name, triad in _TRIADS.items() if triad == steps), None)


def _mode_chain(facts: Facts, params: Params) -> str:
    low, middle, _ = sorted(facts["events"], key=lambda e: e["midi"])
    gap = middle["midi"] - low["midi"]
    mode = "major" if gap == 4 else "minor"
    text = f"{_hear_pitch(facts)} The lowest is {low['note']}, the middle {middle['note']}: {gap} semitones"
    return f"{text}, so the chord is {mode}."


# Time


_BEATS = {"slow": (0.53, 0.57), "medium": (0.4, 0.44), "fast": (0.3, 0.33)}  # seconds from note to note
_RHYTHMS = {"even": ("short", "short"), "long short": ("long", "short"), "short long": ("short", "long")}


def _draw_time(choices: tuple[str, ...]):
    def draw(rng: Rng, split: str) -> Params:
        size = {"exactly": 2 * int(rng.integers(2, 4))}
        return {"kinds": (), "vary": False, "plain": True, "choices": shuffled(rng, choices), **size}

    return draw


def _rhythm(facts: Facts, params: Params) -> str | None:
    durations = [e["duration"] for e in facts["events"]]
    return next((name for name, pair in _RHYTHMS.items() if durations == list(pair) * (len(durations) // 2)), None)


def _rhythm_chain(facts: Facts, params: Params) -> str:
    text = f"{LENGTHS.hear(facts, 'duration')} From pair to pair the same pattern comes back"
    return f"{text}, and it is {_rhythm(facts, params)}."


def _tempo_chain(facts: Facts, params: Params) -> str:
    last = facts["events"][-1]["note"]
    text = f"{_hear_pitch(facts)} The beat is steady up to the last note, {last}."
    return f"{text} The notes come at a {facts['tempo']} pace."


def _propose_time(rng: Rng, split: str, frame: Any, params: Params, answer: str) -> Facts:
    from earwitness.soundworld import music  # it imports this module

    pair = _RHYTHMS.get(answer, ("short", "short"))
    more: Params = {"given": {"duration": list(pair) * (frame["n"] // 2)}}
    if answer in _BEATS:
        more |= {"tempo": answer, "beat_seconds": float(rng.uniform(*_BEATS[answer]))}
    return music.propose(rng, split, frame, {**params, **more})


def _propose_pitches(choose: Any):
    """Return proposals that put chosen pitches, given the answer, into otherwise random notes."""

    def propose(rng: Rng, split: str, frame: Any, params: Params, answer: str) -> Facts:
        from earwitness.soundworld import music  # it imports this module

        more = (params["word"],) if "word" in params else ()
        return music.propose(rng, split, frame, {**params, "pitches": lambda r, n: choose(r, n, answer, *more)})

    return propose


def _contour_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    steps = rng.integers(2, 6, size=n - 1)
    turn = int(rng.integers(1, n - 1)) if "then" in answer else n
    sign = 1 if answer in ("rising", "up then down") else -1
    line = np.concatenate([[0], np.cumsum([s * (sign if i < turn else -sign) for i, s in enumerate(steps)])])
    return list(line - line.min() + _LOWEST + int(rng.integers(_NUM - (line.max() - line.min()))))


def _interval_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    size = int(pick(rng, _INTERVALS[answer]))
    low = _LOWEST + int(rng.integers(_NUM - size))
    return list(shuffled(rng, (low, low + size)))


def _step_pitches(rng: Rng, n: int, answer: str, word: str) -> list[int]:
    """Return random pitches with the wanted number of steps; if luck fails, runs that are reversed to have it."""
    from earwitness.soundworld.music import scattered

    ups = int(answer) if word == "higher" else n - 1 - int(answer)
    for _ in range(60):
        line = scattered(rng, n)
        if int((np.diff(line) > 0).sum()) == ups:
            return line
    line = sorted(line)
    starts = [0, *sorted(int(x) + 1 for x in rng.choice(n - 1, ups, replace=False)), n]
    return [p for a, b in zip(starts, starts[1:]) for p in reversed(line[a:b])]


def _triad_pitches(rng: Rng, n: int, answer: str) -> list[int]:
    low = _LOWEST + int(rng.integers(_NUM - 7))
    return [low + s for s in shuffled(rng, _TRIADS[answer])]


from earwitness.soundworld.music_phrasings import PHRASINGS as P  # noqa: E402 - keeps the table out of the way

TYPES: tuple[QuestionType, ...] = (
    make("pair", 2, P["pair"], _draw_pair, _pair, _pair_chain, weight=3.0),
    ROW.kth("timbre", None, P["kth_timbre"], 1, weight=2.0),
    ROW.kth("loudness", None, P["kth_loudness"], 1, weight=2.0),
    LENGTHS.kth("duration", None, P["kth_duration"], 1, weight=1.6),
    make(
        "tempo",
        1,
        P["tempo"],
        _draw_time(tuple(_BEATS)),
        lambda f, p: f.get("tempo"),
        _tempo_chain,
        propose=_propose_time,
        weight=1.0,
    ),
    make(
        "rhythm",
        2,
        P["rhythm"],
        _draw_time(tuple(_RHYTHMS)),
        _rhythm,
        _rhythm_chain,
        propose=_propose_time,
        weight=1.0,
    ),
    make(
        "contour",
        2,
        P["contour"],
        _draw_shape(_CONTOURS, None, least=4),
        _contour,
        _contour_chain,
        propose=_propose_pitches(_contour_pitches),
        weight=1.2,
    ),
    make(
        "interval",
        2,
        P["interval"],
        _draw_shape(tuple(_INTERVALS), None, exactly=2),
        _interval,
        _interval_chain,
        propose=_propose_pitches(_interval_pitches),
        weight=1.0,
    ),
    make(
        "mode",
        2,
        P["mode"],
        _draw_shape(("major", "minor"), None, exactly=3),
        _mode,
        _mode_chain,
        propose=_propose_pitches(_triad_pitches),
        weight=0.8,
    ),
    ROW.length(P["how_many"], weight=0.8),
    ROW.count(("timbre",), P["count_timbre"], 2, weight=1.2),
    ROW.count(("loudness", "timbre"), P["count_both"], 3, weight=1.6),
    ROW.more(False, P["more_of"], weight=1.4),
    ROW.more(True, P["more_of_levels"], weight=1.8),
    ROW.kth("timbre", "loudness", P["kth_by"], 3, most=3, weight=1.4),
    ROW.last("loudness", "timbre", P["last_loudness"], weight=1.0),
    ROW.after(("timbre",), "loudness", P["loudness_after"], 2, weight=0.8),
    ROW.after(("loudness", "timbre"), "timbre", P["timbre_after"], 3, weight=1.2),
    ROW.between(P["between"], weight=1.2),
    ROW.most(P["most"], weight=1.0),
    make(
        "place_of_extreme",
        2,
        P["place"],
        _draw_extreme("place"),
        _extreme_answer("place"),
        _extreme_chain("place"),
        weight=0.8,
    ),
    make(
        "timbre_of_extreme",
        3,
        P["extreme_timbre"],
        _draw_extreme("timbre"),
        _extreme_answer("timbre"),
        _extreme_chain("timbre"),
        weight=1.2,
    ),
    make(
        "timbre_of_extreme_by_level",
        3,
        P["extreme_by_level"],
        _draw_extreme("timbre_by_level"),
        _extreme_answer("timbre_by_level"),
        _extreme_chain("timbre_by_level"),
        weight=1.6,
    ),
    make(
        "level_after_extreme",
        3,
        P["level_after_extreme"],
        _draw_extreme("level_after"),
        _extreme_answer("level_after"),
        _extreme_chain("level_after"),
        weight=1.2,
    ),
    make(
        "duration_of_extreme",
        3,
        P["extreme_duration"],
        _draw_extreme("duration"),
        _extreme_answer("duration"),
        _extreme_chain("duration"),
        weight=1.0,
    ),
    make(
        "steps",
        3,
        P["steps"],
        _draw_steps,
        lambda f, p: str(len(_moves(f, p["word"]))),
        _steps_chain,
        propose=_propose_pitches(_step_pitches),
        weight=1.6,
    ),
)
