"""What the music suite asks, beyond what any row of events can be asked: pitch, interval, contour, mode."""

from __future__ import annotations

from typing import Any

import numpy as np

from earwitness.soundworld.core import Facts, Params, QuestionType, Rng
from earwitness.soundworld.music_facts import scattered
from earwitness.soundworld.music_phrasings import PHRASINGS as P
from earwitness.soundworld.music_shapes import (
    BEATS,
    CONTOURS,
    INTERVALS,
    LENGTHS,
    RHYTHMS,
    contour,
    contour_chain,
    contour_pitches,
    draw_shape,
    draw_time,
    hear_pitch,
    interval,
    interval_chain,
    interval_pitches,
    mode,
    mode_chain,
    moves,
    propose_pitches,
    propose_time,
    rhythm,
    rhythm_chain,
    tempo_chain,
    triad_pitches,
)
from earwitness.soundworld.music_synth import TIMBRES
from earwitness.soundworld.sequence import COUNTS, KTH, Row, found, make, pick, scan, shuffled, tally

ROW = Row("note", "timbre", TIMBRES, "loudness", ("loud", "soft"))


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

_OPPOSITES = dict(zip(_RELATIONS, ("lower", "higher", "softer", "louder", "shorter", "longer")))


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
    text = hear_pitch(facts) if attribute == "midi" else ROW.hear(facts, attribute)
    text = f"I look for {params['relation']} of {params['x']} and {params['y']}. {text}"
    a, b = (facts["events"][params[p] - 1][shown] for p in "ij")
    relation, other = params["relation"], _OPPOSITES[params["relation"]]

    def judged(place: str, value: str) -> str:
        """Judge a note where it stands, and name it again: the conclusion repeats what follows 'is higher'."""
        mark = f"{relation} is {relation} {place}" if place == _pair(facts, params) else f"{other} not {relation}"
        return f"{place} {value} {mark}"

    said = f"{judged(params['x'], a)}, {judged(params['y'], b)}"
    return f"{text} So {said}. The {relation} is the {_pair(facts, params)}."


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
        names = shown.get(what, (what,))

        wanted = " ".join([*filters.values(), params["word"]])

        def note(i: int) -> str:
            if i not in positions:
                return f"not {params['level']}"
            best = _extreme(facts, [p for p in positions if p <= i], params["word"]) or 0
            return f"{wanted} {best} {facts['events'][best - 1]['note']}"

        goal = {"level_after": f"after {wanted}"}.get(what, wanted)
        text = scan(facts, lambda e: " ".join([*(e[a] for a in names), e["note"]]), note, goal)
        text += f" The {params['word']} is note {place}, {event['note']}."
        if what == "level_after":
            return f"{text} Next comes note {place + 1}, {facts['events'][place]['loudness']}."
        return f"{text} Note {place} is {KTH[place] if what == 'place' else event.get(what, event['timbre'])}."

    return chain


# Steps up and down


def _draw_steps(rng: Rng, split: str) -> Params:
    word = pick(rng, ("higher", "lower"))
    return {"word": word, "kinds": (), "vary": False, "least": 4, "choices": shuffled(rng, COUNTS)}


def _steps_chain(facts: Facts, params: Params) -> str:
    ups, wanted = moves(facts, "higher"), moves(facts, params["word"])
    counted = tally(wanted, params["word"])

    def note(i: int) -> str:
        return f"{'higher' if i in ups else 'lower'} {counted(i)}" if i > 1 else ""

    text = scan(facts, lambda e: e["note"], note, params["word"])
    return f"{text} The number of notes {params['word']} than the one before is {len(wanted)}."


def _step_pitches(rng: Rng, n: int, answer: str, word: str) -> list[int]:
    """Return random pitches with the wanted number of steps; if luck fails, runs that are reversed to have it."""
    ups = int(answer) if word == "higher" else n - 1 - int(answer)
    for _ in range(60):
        line = scattered(rng, n)
        if int((np.diff(line) > 0).sum()) == ups:
            return line
    line = sorted(line)
    starts = [0, *sorted(int(x) + 1 for x in rng.choice(n - 1, ups, replace=False)), n]
    return [p for a, b in zip(starts, starts[1:]) for p in reversed(line[a:b])]


TYPES: tuple[QuestionType, ...] = (
    make("pair", 2, P["pair"], _draw_pair, _pair, _pair_chain, weight=3.0),
    ROW.kth("timbre", None, P["kth_timbre"], 1, weight=2.0),
    ROW.kth("loudness", None, P["kth_loudness"], 1, weight=2.0),
    LENGTHS.kth("duration", None, P["kth_duration"], 1, weight=1.6),
    make(
        "tempo",
        1,
        P["tempo"],
        draw_time(tuple(BEATS)),
        lambda f, p: f.get("tempo"),
        tempo_chain,
        propose=propose_time,
        weight=1.0,
    ),
    make(
        "rhythm",
        2,
        P["rhythm"],
        draw_time(tuple(RHYTHMS)),
        rhythm,
        rhythm_chain,
        propose=propose_time,
        weight=1.0,
    ),
    make(
        "contour",
        2,
        P["contour"],
        draw_shape(CONTOURS, least=4),
        contour,
        contour_chain,
        propose=propose_pitches(contour_pitches),
        weight=1.2,
    ),
    make(
        "interval",
        2,
        P["interval"],
        draw_shape(tuple(INTERVALS), exactly=2),
        interval,
        interval_chain,
        propose=propose_pitches(interval_pitches),
        weight=1.0,
    ),
    make(
        "mode",
        2,
        P["mode"],
        draw_shape(("major", "minor"), exactly=3),
        mode,
        mode_chain,
        propose=propose_pitches(triad_pitches),
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
        lambda f, p: str(len(moves(f, p["word"]))),
        _steps_chain,
        propose=propose_pitches(_step_pitches),
        weight=1.6,
    ),
)
