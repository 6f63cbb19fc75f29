"""The ``spoken_math`` suite: spoken sums and word problems; the written question only asks for the result.

Facts hold the terms of every sentence, such as ``["plus", 5, "apple"]``; running totals stay between 0 and 24, so
that what is tested is hearing and keeping count, not long arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from earwitness.soundworld import spoken_math_words as say
from earwitness.soundworld.core import Facts, Layout, Params, Rng
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.sequence import pick, shuffled
from earwitness.soundworld.spoken import NUMBERS, clip, heard, make, of, suite

_LARGEST, _MOST_SAID = 24, 12
_PAIRS = [(a, b) for a in range(2, 6) for b in range(2, 7) if a * b <= _LARGEST]
Term = tuple[str, int]


def amount(n: int, thing: str) -> str:
    """Return a number of things in words: 'one apple', 'two apples'."""
    return f"{NUMBERS[n]} {thing if n == 1 else {**say.THINGS, **say.HOLDERS}[thing]}"


def choices(rng: Rng, least: int = 1, most: int = 13) -> tuple[str, ...]:
    """Return four numbers of eight in a row that begins from ``least`` to ``most``; any of them may be the answer."""
    low = int(rng.integers(least, most + 1))
    return tuple(str(low + int(i)) for i in rng.permutation(8)[:4])


def applied(total: int, op: str, n: int) -> int:
    """Return the running total after one term."""
    return {"start": n, "plus": total + n, "minus": total - n, "times": total * n}[op]


def row(rng: Rng, length: int, answer: int, with_times: bool = False) -> list[Term] | None:
    """Return ``length`` terms after a start that lead to the answer, or None where the draw does not."""
    if with_times and rng.random() < 0.4:
        a, b = pick(rng, [p for p in _PAIRS if p[0] * p[1] == answer] or _PAIRS) if length == 1 else pick(rng, _PAIRS)
        terms: list[Term] = [("start", a), ("times", b)]
        total = a * b
    else:
        total = int(rng.integers(1, 15))
        terms = [("start", total)]
    while len(terms) <= length:
        last = len(terms) == length
        n = abs(answer - total) if last else int(rng.integers(1, 10))
        op = ("plus" if answer > total else "minus") if last else pick(rng, ("plus", "minus"))
        total = applied(total, op, n)
        if not (1 <= n <= _MOST_SAID and 0 < total <= _LARGEST):
            return None
        terms.append((op, n))
    return terms if total == answer else None


def _terms(facts: Facts, thing: str | None = None) -> list[Term]:
    """Return the terms of a clip in order; only those of one thing where it is named."""
    return [(op, n) for e in facts["events"] for op, n, what in e["terms"] if thing in (None, what)]


def _total(facts: Facts, params: Params) -> str | None:
    """Return the number at the end; None where it is asked who has more."""
    if "who" in facts["events"][0]:
        return None
    total = 0
    for op, n in _terms(facts, facts.get("asked")):
        total = applied(total, op, n)
    return str(total) if total >= 0 else None


def _step(total: int, op: str, n: int) -> tuple[int, str]:
    """Return the new total and the step in words: '7 plus 5 is 12'."""
    after = applied(total, op, n)
    return after, f"is {n}" if op == "start" else f"so {total} {op} {n} is {after}"


def _chain(facts: Facts, params: Params) -> str:
    """Return the chain that keeps one running total, with every step beside what is heard."""
    total, asked = 0, facts.get("asked")

    def note(event: dict[str, Any]) -> str:
        nonlocal total
        said = []
        for op, n, what in event["terms"]:
            if asked in (None, what):
                total, step = _step(total, op, n)
                said.append(step)
        others = [what for _, _, what in event["terms"] if asked not in (None, what)]
        return " and ".join(said) or (f"not {say.THINGS[str(asked)]}" if others else "")

    text = heard(facts, params["goal"], note)
    return f"{text} The number is {total}."


def _sum_chain(facts: Facts, params: Params) -> str:
    """Return the chain of a spoken sum, term by term."""
    total, parts = 0, []
    for i, (op, n) in enumerate(_terms(facts), 1):
        total, step = _step(total, op, n)
        parts.append(f"{i} {'' if op == 'start' else op + ' '}{NUMBERS[n]} {step}")
    return f"I look for the result. I hear {', '.join(parts)}. The result is {total}."


# Spoken sums


def _draw_sum(lengths: dict[str, Sequence[int]]) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        length = pick(rng, of(split, lengths))
        return {"choices": choices(rng), "length": length, "slots": (1.3 + 0.85 * length,)}

    return draw


def _sum(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    terms = row(rng, params["length"], int(answer), with_times=True) or [("start", 0)]
    words = " ".join(f"{'' if op == 'start' else op + ' '}{NUMBERS[n]}" for op, n in terms)
    states = {"terms": [[op, n, ""] for op, n in terms]}
    return clip(rng, frame, [(pick(rng, of(split, say.SUMS)).format(e=words), states)])


# Stories


def _draw_story(
    goal: str, slots: dict[str, Sequence[tuple[float, ...]]], people: int = 1
) -> Callable[[Rng, str], Params]:
    """Return the draw of a story: who, what, and the seconds of each sentence for one of the given lengths."""

    def draw(rng: Rng, split: str) -> Params:
        things, who = shuffled(rng, say.THINGS)[:2], shuffled(rng, say.PEOPLE)[:people]
        seconds = pick(rng, of(split, slots))
        # Three people have one thing each at least; where two are compared, the first has twenty at most.
        numbers = choices(rng, len(who), 13 if len(who) != 2 else 4)
        wanted = goal.format(things=say.THINGS[things[0]])
        return {"choices": numbers, "things": things, "who": who, "slots": seconds, "goal": wanted}

    return draw


def _always(*slots: float) -> dict[str, Sequence[tuple[float, ...]]]:
    return {"train": (slots,), "heldout": (slots,)}


def _line(rng: Rng, split: str, table: Mapping[str, Any], terms: Sequence[Any], **words: str) -> Any:
    return pick(rng, of(split, table)).format(**words), {"terms": [list(term) for term in terms]}


def _story(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose a story such as 'Tom has seven apples, he buys five more, how many apples does Tom have'."""
    thing, who = params["things"][0], params["who"][0]
    terms = row(rng, len(frame["slots"]) - 2, int(answer)) or [("start", 1)] * (len(frame["slots"]) - 1)
    (_, first), *rest = terms
    lines = [_line(rng, split, say.START, [("start", first, thing)], who=who, n=amount(first, thing))]
    for op, n in rest:
        table = say.MORE if op == "plus" else say.LESS
        lines.append(_line(rng, split, table, [(op, n, thing)], he=say.PEOPLE[who], k=NUMBERS[n]))
    lines.append(_line(rng, split, say.ASK, [], who=who, things=say.THINGS[thing]))
    return {**clip(rng, frame, lines), "asked": thing}


def _two_things(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose a story of two things, of which only one is asked for; at least one change is of each."""
    thing, other = params["things"]
    who, changes = params["who"][0], len(frame["slots"]) - 2
    about = [bool(x < 0.6) for x in rng.random(changes)]
    if all(about) or not any(about):
        about[int(rng.integers(changes))] ^= True
    counted = row(rng, sum(about), int(answer))
    spare = row(rng, changes - sum(about), int(rng.integers(1, 15)))
    if not counted or not spare:
        counted, spare = [("start", 1)] * (sum(about) + 1), [("start", 1)] * (changes - sum(about) + 1)
    left = {True: iter(counted), False: iter(spare)}
    names = {True: thing, False: other}
    order = (True, False) if rng.random() < 0.5 else (False, True)
    first = [(*next(left[which]), names[which]) for which in order]
    n, m = (amount(count, what) for _, count, what in first)
    lines = [_line(rng, split, say.BOTH, first, who=who, n=n, m=m)]
    for which in about:
        op, count = next(left[which])
        table, what = say.GET if op == "plus" else say.DROP, names[which]
        lines.append(_line(rng, split, table, [(op, count, what)], he=say.PEOPLE[who], n=amount(count, what)))
    lines.append(_line(rng, split, say.ASK, [], who=who, things=say.THINGS[thing]))
    return {**clip(rng, frame, lines), "asked": thing}


def _difference(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose a story such as 'Tom has nine apples, Anna has four apples, how many more does Tom have'."""
    (a, b), thing, small = params["who"], params["things"][0], int(rng.integers(1, 10))
    more = small + int(answer)
    lines = [
        _line(rng, split, say.START, [("start", more, thing)], who=a, n=amount(more, thing)),
        _line(rng, split, say.START, [("minus", small, thing)], who=b, n=amount(small, thing)),
        _line(rng, split, say.ASK_MORE, [], who=a),
    ]
    return {**clip(rng, frame, lines), "asked": thing}


def _in_all(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose what each of several people has, asked for in all."""
    people, thing = params["who"], params["things"][0]
    cuts = sorted(int(x) for x in rng.integers(1, max(int(answer), 2), size=len(people) - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, int(answer)])]
    if not all(1 <= n <= _MOST_SAID for n in parts):
        parts = [1] * len(people)
    lines = [
        _line(rng, split, say.START, [("plus" if i else "start", n, thing)], who=who, n=amount(n, thing))
        for i, (who, n) in enumerate(zip(people, parts))
    ]
    lines.append(_line(rng, split, say.ASK_ALL, [], things=say.THINGS[thing]))
    return {**clip(rng, frame, lines), "asked": thing}


def _groups(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose a story such as 'Tom has three baskets, each has four lemons', sometimes with a change after it."""
    thing, holder, changed = params["things"][0], pick(rng, tuple(say.HOLDERS)), len(frame["slots"]) == 4
    who = params["who"][0]
    pairs = _PAIRS if changed else [p for p in _PAIRS if p[0] * p[1] == int(answer)]
    a, b = pick(rng, pairs or _PAIRS)
    lines = [
        _line(rng, split, say.GROUPS, [("start", a, thing)], who=who, a=amount(a, holder)),
        _line(rng, split, say.EACH, [("times", b, thing)], holder=holder, n=amount(b, thing)),
    ]
    if changed:
        n = min(abs(int(answer) - a * b), _MOST_SAID) or 1
        op, table = ("plus", say.MORE) if int(answer) > a * b else ("minus", say.LESS)
        lines.append(_line(rng, split, table, [(op, n, thing)], he=who, k=NUMBERS[n]))
    lines.append(_line(rng, split, say.ASK_ALL, [], things=say.THINGS[thing]))
    return {**clip(rng, frame, lines), "asked": thing}


def _draw_groups(*slots: float) -> Callable[[Rng, str], Params]:
    """Return the draw of groups; without a change after them, the choices are products."""
    base = _draw_story("how many {things} in all", _always(*slots))

    def draw(rng: Rng, split: str) -> Params:
        params = base(rng, split)
        products = sorted({a * b for a, b in _PAIRS})
        i = int(rng.integers(len(products) - 4))
        some = tuple(str(products[i + int(k)]) for k in rng.permutation(5)[:4])
        return params if len(slots) == 4 else {**params, "choices": some}

    return draw


# Who has more


def _draw_who(rng: Rng, split: str) -> Params:
    params = _draw_story("who has more", _always(1.6, 1.6, 1.5, 1.5, 1.4), people=2)(rng, split)
    return {**params, "choices": shuffled(rng, params["who"])}


def _holdings(facts: Facts) -> dict[str, int]:
    """Return person -> number at the end."""
    held: dict[str, int] = {}
    for event in facts["events"]:
        for op, n, _ in event["terms"]:
            held[event["who"]] = applied(held.get(event["who"], 0), op, n)
    return held


def _more(facts: Facts, params: Params) -> str | None:
    held = _holdings(facts)
    a, b = params["who"]
    return None if held[a] == held[b] else a if held[a] > held[b] else b


def _unanswerable(facts: Facts) -> Facts:
    """Return facts that give no answer, so that they are drawn again."""
    return {**facts, "events": [{**e, "terms": [["start", 0, ""]]} for e in facts["events"]]}


def _who_has_more(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose two people who start with something and each get or lose some."""
    thing, lines = params["things"][0], []
    for step in range(2):
        for who in params["who"]:
            n = int(rng.integers(1, 10))
            if step == 0:
                line = _line(rng, split, say.START, [("start", n + 2, thing)], who=who, n=amount(n + 2, thing))
            else:
                op, table = pick(rng, (("plus", say.MORE), ("minus", say.LESS)))
                n = min(n, 5)
                line = _line(rng, split, table, [(op, n, thing)], he=who, k=NUMBERS[n])
            lines.append((line[0], {**line[1], "who": who}))
    text, states = _line(rng, split, say.ASK_WHO, [], things=say.THINGS[thing])
    facts = clip(rng, frame, [*lines, (text, {**states, "who": ""})])
    return facts if min(_holdings(facts).values()) >= 0 else _unanswerable(facts)


def _who_chain(facts: Facts, params: Params) -> str:
    held: dict[str, int] = {}

    def note(event: dict[str, Any]) -> str:
        steps = []
        for op, n, _ in event["terms"]:
            held[event["who"]], step = _step(held.get(event["who"], 0), op, n)
            steps.append(step)
        return " ".join(steps)

    text = heard(facts, f"more of {' and '.join(params['who'])}", note)
    (a, n), (b, m) = held.items()
    return f"{text} {a} has {n}, that is {'more' if n > m else 'less'} than {b} with {m}."


# The types


def _story_type(name: str, steps: int, goal: str, slots: Any, propose: Any, people: int = 1, weight: float = 1.0):
    draw = _draw_story(goal, slots, people)
    return make(name, steps, say.STORY, draw, propose, _total, _chain, weight)


def _sum_type(name: str, steps: int, lengths: dict[str, Sequence[int]], words: Phrasings, weight: float):
    return make(name, steps, words, _draw_sum(lengths), _sum, _total, _sum_chain, weight)


_LONG = {
    "train": ((1.7, 1.5, 1.5, 1.5, 1.8), (1.7, 1.5, 1.5, 1.5, 1.5, 1.5, 1.8)),
    "heldout": ((1.7, 1.5, 1.5, 1.5, 1.5, 1.8),),
}
_MIXED = {
    "train": ((2.3, 1.6, 1.6, 1.8), (2.3, 1.6, 1.6, 1.6, 1.6, 1.8)),
    "heldout": ((2.3, 1.6, 1.6, 1.6, 1.8),),
}
TYPES = (
    _sum_type("two_numbers", 1, {"train": (1,), "heldout": (1,)}, say.RESULT, 0.8),
    _story_type("story_one", 1, "how many {things}", _always(1.7, 1.5, 1.8), _story, weight=0.8),
    _story_type("difference", 1, "how many more {things}", _always(1.7, 1.7, 1.6), _difference, people=2, weight=0.8),
    make("groups", 1, say.STORY, _draw_groups(1.5, 1.8, 1.8), _groups, _total, _chain, 0.6),
    _sum_type("three_numbers", 2, {"train": (2,), "heldout": (2,)}, say.RESULT, 1.0),
    _story_type("story_two", 2, "how many {things}", _always(1.7, 1.5, 1.5, 1.8), _story),
    _story_type("in_all", 2, "how many {things} in all", _always(1.6, 1.6, 1.6, 1.8), _in_all, people=3),
    make("groups_then", 2, say.STORY, _draw_groups(1.5, 1.8, 1.6, 1.8), _groups, _total, _chain, 0.8),
    _sum_type("long_sum", 3, {"train": (3, 5), "heldout": (4,)}, say.RESULT, 1.5),
    _story_type("story_long", 3, "how many {things}", _LONG, _story, weight=1.5),
    _story_type("two_things", 3, "how many {things}", _MIXED, _two_things, weight=1.8),
    make("who_has_more", 3, say.WHO, _draw_who, _who_has_more, _more, _who_chain, 1.2),
)
SUITE = suite("spoken_math", TYPES, say.WORDS)
