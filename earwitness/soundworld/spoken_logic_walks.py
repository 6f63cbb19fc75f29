"""Counting objects and navigation: what is spoken, its answer, and chains that keep a count or a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from earwitness.soundworld import spoken_logic_words as say
from earwitness.soundworld.core import Facts, Layout, Params, Rng
from earwitness.soundworld.sequence import pick, shuffled
from earwitness.soundworld.spoken import NUMBERS, clip, heard, make, of

_YES_NO = ("yes", "no")
_AXES = {"forward": (1, 1), "back": (1, -1), "right": (0, 1), "left": (0, -1)}
Lengths = dict[str, Sequence[int]]


def _numbers(rng: Rng, least: int, most: int) -> tuple[str, ...]:
    low = int(rng.integers(least, most + 1))
    return tuple(str(low + int(i)) for i in rng.permutation(6)[:4])


# Counting objects


def _draw_count(lengths: Lengths, of_a_kind: bool) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        length, kind = pick(rng, of(split, lengths)), pick(rng, tuple(say.KINDS))
        least = 1 if of_a_kind else length
        slots = (1.4, *[1.05] * (length - 1), 1.7)
        asked = kind if of_a_kind else "things"
        return {"choices": _numbers(rng, least, least + 6), "length": length, "kind": asked, "slots": slots}

    return draw


def _is_asked(facts: Facts, thing: str) -> bool:
    return facts["asked"] == "things" or thing in say.KINDS[facts["asked"]]


def _objects(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose things in numbers that give the answer; others are among them where a kind is asked for."""
    length, kind = params["length"], params["kind"]
    inside = tuple(say.THINGS) if kind == "things" else tuple(say.KINDS[kind])
    outside = tuple(thing for thing in say.THINGS if thing not in inside)
    most = min(length - 1 if outside else length, int(answer))
    counted = int(rng.integers(1, most + 1)) if outside else length
    cuts = [0, *sorted(int(x) for x in rng.permutation(int(answer) - 1)[: counted - 1] + 1), int(answer)]
    parts = [b - a for a, b in zip(cuts, cuts[1:])]
    rest = length - len(parts)
    parts += [int(n) for n in rng.integers(1, 8, size=rest)]
    things = [*shuffled(rng, inside)[: length - rest], *shuffled(rng, outside)[:rest]]
    lines: list[tuple[str, dict[str, Any]]] = []
    for i in rng.permutation(length):
        n, thing = min(parts[i], 9), things[i]
        words = f"{NUMBERS[n]} {thing if n == 1 else say.THINGS[thing]}"
        table = say.ALSO if lines else say.OWN
        lines.append((pick(rng, of(split, table)).format(n=words), {"n": n, "thing": thing}))
    lines.append((pick(rng, of(split, say.HOW_MANY)).format(kind=kind), {"n": 0, "thing": ""}))
    return {**clip(rng, frame, lines), "asked": kind}


def _count(facts: Facts, params: Params) -> str:
    return str(sum(e["n"] for e in facts["events"] if e["n"] and _is_asked(facts, e["thing"])))


def _count_chain(facts: Facts, params: Params) -> str:
    total, asked = 0, facts["asked"]

    def note(event: dict[str, Any]) -> str:
        nonlocal total
        if not event["n"]:
            return ""
        if not _is_asked(facts, event["thing"]):
            return f"not {asked}"
        before, total = total, total + event["n"]
        return f"is {asked} so {before} plus {event['n']} is {total}"

    text = heard(facts, f"how many {asked}", note)
    return f"{text} The number of {asked} is {total}."


# Navigation


def _draw_walk(lengths: Lengths, axes: int, choices: tuple[str, ...] = _YES_NO) -> Callable[[Rng, str], Params]:
    """Return the draw of a walk along so many axes; 0 for one that walks forward and turns around."""

    def draw(rng: Rng, split: str) -> Params:
        length = pick(rng, of(split, lengths))
        slots = (*[1.5 if axes else 1.2] * length, 2.0 if choices == _YES_NO else 2.3)
        asked = shuffled(rng, choices) if choices == _YES_NO else shuffled(rng, choices)[:4]
        return {"choices": asked, "length": length, "axes": axes, "slots": slots}

    return draw


def _steps(n: int) -> str:
    return f"{NUMBERS[n]} {'step' if n == 1 else 'steps'}"


def _walk(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose moves along one axis or two; they end where they began about as often as not."""
    sides = [("forward", "back"), ("right", "left")]
    used = sides if params["axes"] == 2 else [pick(rng, sides)]
    moves = [(pick(rng, pick(rng, used)), int(rng.integers(1, 6))) for _ in range(params["length"])]
    if answer in _YES_NO:
        moves = _closed(rng, moves, len(used)) if rng.random() < 0.6 else moves
    lines = []
    for where, n in moves:
        text = pick(rng, of(split, say.MOVE)).format(n=_steps(n), where=where)
        lines.append((text, {"where": where, "n": n}))
    asked = "back" if answer in _YES_NO else "far"
    table = say.BACK if asked == "back" else say.FAR
    lines.append((pick(rng, of(split, table)), {"where": "", "n": 0}))
    return {**clip(rng, frame, lines), "asked": asked}


def _closed(rng: Rng, moves: list[tuple[str, int]], axes: int) -> list[tuple[str, int]]:
    """Return moves of which the last on each axis leads back to the start, where one move can."""
    moves = list(moves)
    for axis in range(2):
        mine = [i for i, (where, _) in enumerate(moves) if _AXES[where][0] == axis]
        if not mine:
            continue
        rest = sum(_AXES[moves[i][0]][1] * moves[i][1] for i in mine[:-1])
        if 1 <= abs(rest) <= 9:
            where = next(w for w, (a, sign) in _AXES.items() if a == axis and sign == (-1 if rest > 0 else 1))
            moves[mine[-1]] = (where, abs(rest))
    return moves


def _place(facts: Facts) -> tuple[int, int]:
    """Return where a walk along axes ends: (right minus left, forward minus back)."""
    at = [0, 0]
    for event in facts["events"]:
        if event["n"]:
            axis, sign = _AXES[event["where"]]
            at[axis] += sign * event["n"]
    return at[0], at[1]


def _told(at: Sequence[int]) -> str:
    """Return a place in words: 'right 2 forward 1', or 'at the start'."""
    names = (("right", "left"), ("forward", "back"))
    parts = [f"{side[x < 0]} {abs(x)}" for side, x in zip(names, at) if x]
    return " ".join(parts) or "at the start"


def _back(facts: Facts, params: Params) -> str | None:
    axes = {_AXES[e["where"]][0] for e in facts["events"] if e["n"]}
    if facts["asked"] != "back" or len(axes) < params["axes"]:
        return None
    return "yes" if _place(facts) == (0, 0) else "no"


def _far(facts: Facts, params: Params) -> str | None:
    return None if facts["asked"] != "far" else str(sum(abs(x) for x in _place(facts)))


def _walk_chain(facts: Facts, params: Params) -> str:
    at = [0, 0]

    def note(event: dict[str, Any]) -> str:
        if not event["n"]:
            return ""
        axis, sign = _AXES[event["where"]]
        at[axis] += sign * event["n"]
        return f"so {_told(at)}"

    text = heard(facts, "the place at the end", note)
    far = sum(map(abs, at))
    if "yes" in params["choices"]:
        return f"{text} The place is {_told(at)}, {'that is back' if far == 0 else 'not back'}."
    return f"{text} The place is {_told(at)}, that is {far} from the start."


def _turning(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose walks forward with one turn or two between them; two turns never follow each other."""
    length = params["length"]
    first, second = (int(i) for i in rng.integers(1, length - 1, size=2))
    turns = {first, second} if abs(first - second) > 1 else {first}
    lines = []
    for i in range(length):
        n = 0 if i in turns else int(rng.integers(1, 6))
        text = pick(rng, of(split, say.WALK if n else say.TURN)).format(n=_steps(n))
        lines.append((text, {"n": n, "turn": n == 0}))
    lines.append((pick(rng, of(split, say.BACK)), {"n": 0, "turn": False}))
    return {**clip(rng, frame, lines), "asked": "turn"}


def _turned(facts: Facts, params: Params) -> str | None:
    at, sign = 0, 1
    for event in facts["events"]:
        sign = -sign if event["turn"] else sign
        at += sign * event["n"]
    return "yes" if at == 0 else "no"


def _turn_chain(facts: Facts, params: Params) -> str:
    at, sign = 0, 1

    def note(event: dict[str, Any]) -> str:
        nonlocal at, sign
        if event["turn"]:
            sign = -sign
            return f"so I face {'forward' if sign > 0 else 'back'} at {at}"
        if not event["n"]:
            return ""
        before, at = at, at + sign * event["n"]
        return f"so {before} {'plus' if sign > 0 else 'minus'} {event['n']} is {at}"

    text = heard(facts, "the place at the end", note)
    return f"{text} The place is {at}, {'that is back' if at == 0 else 'not back'}."


_ALL = _draw_count({"train": (2, 3), "heldout": (3,)}, False)
_KIND = _draw_count({"train": (3, 4, 6), "heldout": (5,)}, True)
_LINE = _draw_walk({"train": (2, 3), "heldout": (3,)}, 1)
_PLANE = _draw_walk({"train": (4, 6), "heldout": (5,)}, 2)
_TURNS = _draw_walk({"train": (3, 5), "heldout": (4,)}, 0)
_FAR = _draw_walk({"train": (3, 5), "heldout": (4,)}, 1, tuple(str(n) for n in range(6)))
WALKS = (
    make("count_all", 2, say.COUNT, _ALL, _objects, _count, _count_chain),
    make("count_kind", 3, say.COUNT, _KIND, _objects, _count, _count_chain, 1.8),
    make("walk_line", 2, say.YES, _LINE, _walk, _back, _walk_chain),
    make("walk_plane", 3, say.YES, _PLANE, _walk, _back, _walk_chain, 1.4),
    make("walk_turn", 3, say.YES, _TURNS, _turning, _turned, _turn_chain, 1.2),
    make("walk_far", 3, say.COUNT, _FAR, _walk, _far, _walk_chain, 1.2),
)
