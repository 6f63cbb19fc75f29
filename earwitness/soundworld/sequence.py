"""Questions about a row of events, whatever they are: filter, count, compare, look before, after and between.

A ``Row`` names what the events of a suite are called and which attributes they have; its methods build the question
types that music and sounds share. Positions count from 1, in questions and in chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from earwitness.soundworld.core import Facts, Params, QuestionType, Rng
from earwitness.soundworld.grammar import Phrasings

KTH = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
COUNTS = ("0", "1", "2", "3")
Filters = dict[str, str]

_OPENING = "[|tell me, |listen: |please say, ]"
_PLACE = "[| in the clip| in this recording| here]"
_HELDOUT_OPENING = "[by ear, |going by the audio, |after listening, |from the sound alone, ]"
_HELDOUT_PLACE = "[ in this audio| in what you hear| in the sample| on the tape]"


def phrasings(train: Iterable[str], heldout: Iterable[str]) -> Phrasings:
    """Return phrasings in which ``^`` is an opening and ``~`` a place, each with words of its own for held-out ones."""

    def fill(templates: Iterable[str], opening: str, place: str) -> tuple[str, ...]:
        return tuple(t.replace("^", opening).replace("~", place) for t in templates)

    return Phrasings(fill(train, _OPENING, _PLACE), fill(heldout, _HELDOUT_OPENING, _HELDOUT_PLACE))


def pick(rng: Rng, options: Any) -> Any:
    """Return one of ``options``, uniformly."""
    return options[int(rng.integers(len(options)))]


def shuffled(rng: Rng, options: Iterable[Any]) -> tuple[Any, ...]:
    """Return ``options`` in random order."""
    options = tuple(options)
    return tuple(options[i] for i in rng.permutation(len(options)))


def found(facts: Facts, filters: Filters) -> list[int]:
    """Return the positions of the events that have all these attributes."""
    return [i for i, e in enumerate(facts["events"], 1) if all(e[k] == v for k, v in filters.items())]


def told(positions: Iterable[int]) -> str:
    """Return positions as text."""
    return ", ".join(map(str, positions)) or "none"


def ending(text: str, answer: object) -> str:
    """Return a chain with its conclusion."""
    return f"{text} So the answer is {answer}."


def scan(
    facts: Facts, say: Callable[[dict[str, Any]], str], note: Callable[[int], str], goal: str, until: int = 0
) -> str:
    """Return the goal and what is heard: 'I look for bell. I hear 1 bell is bell 1, 2 dog not bell.'.

    Every remark says again what is wanted and keeps count, so it follows from the event beside it and the remark
    before: each step of the chain is short, and the question is read once, at its start.
    ``until`` ends the list at a position, where nothing later can change the answer.
    """
    events = facts["events"][:until] if until else facts["events"]
    parts = []
    for i, event in enumerate(events, 1):
        remark = note(i)
        parts.append(f"{i} {say(event)}{' ' if remark else ''}{remark}")
    return f"I look for {goal}. I hear {', '.join(parts)}."


def tally(positions: list[int], wanted: str) -> Callable[[int], str]:
    """Return remarks that count the events at these positions: 'is bell 1', 'not bell', 'is bell 2'."""
    return lambda i: f"is {wanted} {positions.index(i) + 1}" if i in positions else f"not {wanted}"


def score(sides: dict[str, list[int]]) -> Callable[[int], str]:
    """Return remarks that count several sides, name -> positions: 'is bell 1', 'is dog 1', 'not bell dog'."""
    none = f"not {' '.join(sides)}"

    def note(i: int) -> str:
        return next((f"is {name} {at.index(i) + 1}" for name, at in sides.items() if i in at), none)

    return note


def counted(facts: Facts, say: Callable[[dict[str, Any]], str], positions: list[int], wanted: str, what: str) -> str:
    """Return the chain that counts the events at these positions: 'I look for bell. ... The number of bells is 2.'."""
    return f"{scan(facts, say, tally(positions, wanted), wanted)} The number of {what} is {len(positions)}."


def compared(first: tuple[str, str, int], second: tuple[str, str, int]) -> str:
    """Return the chain that compares two counts, each (name, the chain that counts, the count).

    Each side is counted on its own: two counts kept side by side in one pass are mixed up by a small model.
    """
    (x, count_x, a), (y, count_y, b) = first, second
    relation = "equals" if a == b else "is more than" if a > b else "is less than"
    return f"I compare {x} with {y}. {count_x} {count_y} {x} {a} {relation} {y} {b}."


def make(name: str, steps: int, words: Phrasings, draw: Any, answer: Any, chain: Any, **more: Any) -> QuestionType:
    """Return a question type; chains are handed the answer and end with it."""
    kind = "factual" if steps == 1 else "procedural"

    def whole_chain(facts: Facts, params: Params) -> str:
        return ending(chain(facts, params), answer(facts, params))

    return QuestionType(name, steps, kind, words, draw, answer, whole_chain, **more)


@dataclass(frozen=True)
class Row:
    """The vocabulary of a suite's rows: ``noun``, the attribute ``kind`` and a binary attribute ``level``."""

    noun: str
    kind: str
    """Name of the attribute that says what an event is, such as ``timbre``."""
    kinds: tuple[str, ...]
    level: str
    """Name of the attribute with two values, such as ``loudness``."""
    levels: tuple[str, str]

    def values(self, attribute: str) -> tuple[str, ...]:
        """Return the values of ``kind`` or ``level``."""
        return self.kinds if attribute == self.kind else self.levels

    def say(self, *attributes: str) -> Callable[[dict[str, Any]], str]:
        """Return what names an event by these attributes: 'loud flute'."""
        ordered = [a for a in (self.level, self.kind) if a in attributes]
        ordered += [a for a in attributes if a not in ordered]
        return lambda event: " ".join(str(event[a]) for a in ordered)

    def hear(self, facts: Facts, *attributes: str) -> str:
        """Return the list of what is heard: 'I hear 1 loud flute, 2 soft bell.'."""
        parts = [f"{i} {self.say(*attributes)(event)}" for i, event in enumerate(facts["events"], 1)]
        return f"I hear {', '.join(parts)}."

    def _params(self, rng: Rng, *names: str, **more: Any) -> Params:
        filters = {name: pick(rng, self.values(name)) for name in names}
        short = {"x": filters.get(self.kind, ""), "level": filters.get(self.level, "")}
        kinds = (filters[self.kind],) if self.kind in filters else ()
        return {"filters": filters, "kinds": kinds, "vary": self.level in names, **short, **more}

    def kth(self, attribute: str, by: str | None, words: Phrasings, steps: int, most: int = 4, **more: Any):
        """Return the question for an attribute of the k-th event, or of the k-th with a value of ``by``."""

        def draw(rng: Rng, split: str) -> Params:
            k = int(rng.integers(1, most + 1))
            values = self.values(attribute)
            choices = shuffled(rng, values)[: 3 if attribute == self.kind else 2]
            params = self._params(rng, *([by] if by else []))
            kinds = choices if attribute == self.kind else params["kinds"]
            extra = {"k": k, "kth": KTH[k], "least": k + (by is not None), "kinds": kinds, "choices": choices}
            return {**params, **extra, "vary": params["vary"] or attribute == self.level}

        def answer(facts: Facts, params: Params) -> str | None:
            positions = found(facts, params["filters"])
            if len(positions) < params["k"]:
                return None
            return facts["events"][positions[params["k"] - 1] - 1][attribute]

        def chain(facts: Facts, params: Params) -> str:
            positions, wanted = found(facts, params["filters"]), " ".join(params["filters"].values())
            position = positions[params["k"] - 1]
            note = tally(positions, wanted) if by else lambda i: ""
            goal = f"{params['kth']} {wanted}".strip()
            text = scan(facts, self.say(attribute, *params["filters"]), note, goal, until=position)
            which = f"The {params['kth']} is {self.noun} {position}, and it" if by else f"{self.noun} {position}"
            return f"{text} {which[0].upper()}{which[1:]} is {facts['events'][position - 1][attribute]}."

        return make(f"kth_{attribute}" + (f"_by_{by}" if by else ""), steps, words, draw, answer, chain, **more)

    def last(self, attribute: str, by: str, words: Phrasings, **more: Any):
        """Return the question for an attribute of the last event with a value of ``by``; there are at least two."""

        def draw(rng: Rng, split: str) -> Params:
            choices = shuffled(rng, self.values(attribute))[: 3 if attribute == self.kind else 2]
            params = self._params(rng, by)
            kinds = choices if attribute == self.kind else params["kinds"]
            return {**params, "kinds": kinds, "vary": True, "choices": choices, "least": 4}

        def answer(facts: Facts, params: Params) -> str | None:
            positions = found(facts, params["filters"])
            return facts["events"][positions[-1] - 1][attribute] if len(positions) > 1 else None

        def chain(facts: Facts, params: Params) -> str:
            positions, events = found(facts, params["filters"]), facts["events"]
            wanted = " ".join(params["filters"].values())

            def note(i: int) -> str:
                return f"is {wanted} {events[i - 1][attribute]}" if i in positions else f"not {wanted}"

            text = scan(facts, self.say(self.level, self.kind), note, f"last {wanted}")
            return f"{text} The last {wanted} is {self.noun} {positions[-1]}, {events[positions[-1] - 1][attribute]}."

        return make(f"last_{attribute}", 3, words, draw, answer, chain, **more)

    def count(self, names: tuple[str, ...], words: Phrasings, steps: int, **more: Any):
        """Return the question for the number of events that have these attributes."""

        def draw(rng: Rng, split: str) -> Params:
            return {**self._params(rng, *names), "choices": shuffled(rng, COUNTS), "least": 4}

        def answer(facts: Facts, params: Params) -> str:
            return str(len(found(facts, params["filters"])))

        def chain(facts: Facts, params: Params) -> str:
            wanted = " ".join(params["filters"].values())
            positions = found(facts, params["filters"])
            return counted(facts, self.say(*names), positions, wanted, f"{wanted} {self.noun}s")

        return make("count_" + "_".join(names), steps, words, draw, answer, chain, **more)

    def more(self, levels: bool, words: Phrasings, **more: Any):
        """Return the question whether there are more X or more Y, of one level each where ``levels``."""

        def draw(rng: Rng, split: str) -> Params:
            a, b = shuffled(rng, self.kinds)[:2]
            sides = [{self.kind: a}, {self.kind: b}]
            names = [a, b]
            if levels:
                marks = shuffled(rng, self.levels)
                sides = [{self.level: m, **s} for m, s in zip(marks, sides)]
                names = [f"{m} {n}" for m, n in zip(marks, names)]
            choices = shuffled(rng, (*names, "equal"))
            more = {"sides": sides, "names": names, "x": names[0], "y": names[1]}
            return {**more, "kinds": (a, b), "vary": levels, "choices": choices, "least": 4}

        def numbers(facts: Facts, params: Params) -> tuple[int, int]:
            a, b = (len(found(facts, side)) for side in params["sides"])
            return a, b

        def answer(facts: Facts, params: Params) -> str | None:
            a, b = numbers(facts, params)
            return None if a == b == 0 else "equal" if a == b else params["names"][int(b > a)]

        def chain(facts: Facts, params: Params) -> str:
            say = self.say(*params["sides"][0])

            def count(name: str, side: dict[str, str]) -> tuple[str, str, int]:
                at = found(facts, side)
                return name, counted(facts, say, at, name, f"{name} {self.noun}s"), len(at)

            first, second = map(count, params["names"], params["sides"])
            return compared(first, second)

        return make("more_of_levels" if levels else "more_of", 3, words, draw, answer, chain, **more)

    def after(self, names: tuple[str, ...], attribute: str, words: Phrasings, steps: int, **more: Any):
        """Return the question for an attribute of the event right after the first with these attributes."""

        def draw(rng: Rng, split: str) -> Params:
            params = self._params(rng, *names)
            choices = shuffled(rng, self.values(attribute))[: 3 if attribute == self.kind else 2]
            kinds = (*params["kinds"], *choices) if attribute == self.kind else params["kinds"]
            vary = params["vary"] or attribute == self.level
            return {**params, "kinds": kinds, "vary": vary, "choices": choices, "least": 4}

        def answer(facts: Facts, params: Params) -> str | None:
            positions = found(facts, params["filters"])
            if not positions or positions[0] == len(facts["events"]):
                return None
            return facts["events"][positions[0]][attribute]

        def chain(facts: Facts, params: Params) -> str:
            first = found(facts, params["filters"])[0]
            wanted = " ".join(params["filters"].values())

            def note(i: int) -> str:
                return "" if i > first else f"{'is' if i == first else 'not'} {wanted}"

            text = scan(facts, self.say(attribute, *names), note, f"after {wanted}", until=first + 1)
            return f"{text} The first {wanted} is {first} and {first + 1} is {facts['events'][first][attribute]}."

        return make(f"{attribute}_after_{'_'.join(names)}", steps, words, draw, answer, chain, **more)

    def between(self, words: Phrasings, **more: Any):
        """Return the question for the number of events between the first X and the last Y."""

        def draw(rng: Rng, split: str) -> Params:
            a, b = shuffled(rng, self.kinds)[:2]
            return {"x": a, "y": b, "kinds": (a, b), "vary": False, "choices": shuffled(rng, COUNTS), "least": 5}

        def ends(facts: Facts, params: Params) -> tuple[int, int] | None:
            a, b = found(facts, {self.kind: params["x"]}), found(facts, {self.kind: params["y"]})
            return (a[0], b[-1]) if a and b and a[0] < b[-1] else None

        def answer(facts: Facts, params: Params) -> str | None:
            place = ends(facts, params)
            return str(place[1] - place[0] - 1) if place else None

        def chain(facts: Facts, params: Params) -> str:
            a, b = ends(facts, params) or (0, 0)
            x, y = params["x"], params["y"]
            xs, ys = (found(facts, {self.kind: kind}) for kind in (x, y))
            note = {**dict.fromkeys(xs, f"is {x}"), **dict.fromkeys(ys, f"last {y}"), a: f"first {x}"}
            goal = f"first {x} to last {y}"
            text = scan(facts, self.say(self.kind), lambda i: note.get(i, f"not {x} {y}"), goal)
            inside = range(a + 1, b)
            text += f" The first {x} is {a} and the last {y} is {b}."
            return f"{text} Between them are {told(inside)}: that is {len(inside)}."

        return make("between", 3, words, draw, answer, chain, **more)

    def length(self, words: Phrasings, **more: Any):
        """Return the question for the number of events; the frame has room for the most, whatever the answer."""

        def draw(rng: Rng, split: str) -> Params:
            choices = ("7", "8") if split == "heldout" else ("2", "3", "4", "5")
            return {"choices": shuffled(rng, choices), "kinds": (), "vary": False, "slots": int(choices[-1])}

        def answer(facts: Facts, params: Params) -> str:
            return str(len(facts["events"]))

        def chain(facts: Facts, params: Params) -> str:
            return f"{self.hear(facts, self.kind)} The last {self.noun} has number {answer(facts, params)}."

        return make("how_many", 2, words, draw, answer, chain, **more)

    def most(self, words: Phrasings, **more: Any):
        """Return the question for the kind that occurs most often."""

        def draw(rng: Rng, split: str) -> Params:
            kinds = shuffled(rng, self.kinds)[:3]
            return {"choices": kinds, "kinds": kinds, "vary": False, "least": 5}

        def answer(facts: Facts, params: Params) -> str | None:
            counts = sorted(((len(found(facts, {self.kind: k})), k) for k in params["choices"]), reverse=True)
            return counts[0][1] if counts[0][0] > counts[1][0] else None

        def chain(facts: Facts, params: Params) -> str:
            sides = {kind: found(facts, {self.kind: kind}) for kind in params["choices"]}
            text = scan(facts, self.say(self.kind), score(sides), f"most of {' '.join(params['choices'])}")
            counts = ", ".join(f"{kind} {len(positions)}" for kind, positions in sides.items())
            return f"{text} In all {counts}. The most is {answer(facts, params)}."

        return make("most", 3, words, draw, answer, chain, **more)
