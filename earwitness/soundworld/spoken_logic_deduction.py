"""A web of lies and formal fallacies: what is spoken, its answer, and chains that go from premise to premise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from earwitness.soundworld import spoken_logic_words as say
from earwitness.soundworld.core import Facts, Layout, Params, Rng
from earwitness.soundworld.sequence import pick, shuffled
from earwitness.soundworld.spoken import clip, heard, make, of

Lengths = dict[str, Sequence[int]]
_VALID = ("valid", "invalid")


# A web of lies


def _draw_lies(lengths: Lengths) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        length = pick(rng, of(split, lengths))
        slots = (1.4, *[1.75] * length, 1.5)
        return {"choices": shuffled(rng, ("yes", "no")), "length": length, "slots": slots}

    return draw


def _lies(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose one whose honesty is given, and others of whom each speaks of the one before."""
    names = shuffled(rng, say.NAMES)[: params["length"] + 1]
    first = bool(rng.random() < 0.5)
    lines = [(pick(rng, of(split, say.LIES)[first]).format(a=names[0]), {"who": names[0], "of": "", "claims": first})]
    for a, b in zip(names, names[1:]):
        claims = bool(rng.random() < 0.5)
        text = pick(rng, of(split, say.SAYS)[claims]).format(a=a, b=b)
        lines.append((text, {"who": b, "of": a, "claims": claims}))
    lines.append((pick(rng, of(split, say.TRUTH)).format(a=names[-1]), {"who": "", "of": "", "claims": False}))
    return clip(rng, frame, lines)


def _honesty(facts: Facts) -> dict[str, bool]:
    """Return person -> whether he or she tells the truth."""
    honest: dict[str, bool] = {}
    for event in facts["events"]:
        if event["who"]:
            honest[event["who"]] = event["claims"] == honest[event["of"]] if event["of"] else event["claims"]
    return honest


def _truth(facts: Facts, params: Params) -> str:
    return "yes" if list(_honesty(facts).values())[-1] else "no"


def _lies_chain(facts: Facts, params: Params) -> str:
    honest = _honesty(facts)

    def verdict(name: str) -> str:
        return f"{name} {'is honest' if honest[name] else 'lies'}"

    def note(event: dict[str, Any]) -> str:
        if not event["who"]:
            return ""
        if not event["of"]:
            return f"so {verdict(event['who'])}"
        held = "true" if event["claims"] == honest[event["of"]] else "false"
        return f"but {verdict(event['of'])} so {held} and {verdict(event['who'])}".replace("but", "and", held == "true")

    text = heard(facts, "who tells the truth", note)
    return f"{text} At the end {verdict(list(honest)[-1])}."


# Formal fallacies


def _draw_form(slots: tuple[float, ...]) -> Callable[[Rng, str], Params]:
    def draw(rng: Rng, split: str) -> Params:
        return {"choices": shuffled(rng, _VALID), "slots": slots}

    return draw


# (what is known besides the rule, what is concluded): of the first part or the second, affirmed or denied.
_FORMS = {
    "valid": ((("p", True), ("q", True)), (("q", False), ("p", False))),
    "invalid": ((("q", True), ("p", True)), (("p", False), ("q", False))),
}
_REASON = {
    (("p", True), ("q", True)): "the first part holds so the second holds",
    (("q", False), ("p", False)): "the second part fails so the first fails",
    (("q", True), ("p", True)): "the second part holds but the first need not hold",
    (("p", False), ("q", False)): "the first part fails but the second need not fail",
}


def _argument(rng: Rng, split: str, frame: Layout, answer: str, rule: str, parts: dict[str, dict[bool, str]]) -> Facts:
    """Return the facts of rule, premise and conclusion in one of the valid or invalid forms."""
    form = pick(rng, _FORMS[answer])
    (known, affirmed), (told, concluded) = form
    lines: list[tuple[str, dict[str, Any]]] = [
        (rule, {"part": "rule", "holds": True}),
        (pick(rng, of(split, say.PLAIN)).format(p=parts[known][affirmed]), {"part": known, "holds": affirmed}),
        (pick(rng, of(split, say.SO)).format(p=parts[told][concluded]), {"part": told, "holds": concluded}),
    ]
    return clip(rng, frame, lines)


def _syllogism(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose an argument such as 'all cats are red, Tom is a cat, so Tom is red'."""
    one = pick(rng, tuple(say.KINDS["animals"]))
    colour, who = pick(rng, say.COLOURS), pick(rng, say.NAMES)
    rule = pick(rng, of(split, say.ALL)).format(a=say.THINGS[one], b=colour, one=one, b_one=colour)
    parts = {
        "p": {True: f"{who} is a {one}", False: f"{who} is no {one}"},
        "q": {True: f"{who} is {colour}", False: f"{who} is not {colour}"},
    }
    return _argument(rng, split, frame, answer, rule, parts)


def _if_then(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose an argument such as 'if Tom sings then Anna runs, Tom sings, so Anna runs'."""
    a, b = shuffled(rng, say.NAMES)[:2]
    p, q = shuffled(rng, say.DOES)[:2]

    def said(who: str, does: str) -> dict[bool, str]:
        return {True: f"{who} {does}", False: f"{who} never {does}"}

    parts = {"p": said(a, p), "q": said(b, q)}
    rule = pick(rng, of(split, say.IF)).format(p=parts["p"][True], q=parts["q"][True])
    return _argument(rng, split, frame, answer, rule, parts)


def _form(facts: Facts, params: Params) -> str | None:
    if len(facts["events"]) != 3:
        return None
    _, premise, conclusion = facts["events"]
    form = ((premise["part"], premise["holds"]), (conclusion["part"], conclusion["holds"]))
    return next((name for name, forms in _FORMS.items() if form in forms), None)


def _form_chain(facts: Facts, params: Params) -> str:
    rule, premise, conclusion = facts["events"]
    form = ((premise["part"], premise["holds"]), (conclusion["part"], conclusion["holds"]))

    def note(event: dict[str, Any]) -> str:
        if event["part"] == "rule":
            return ""
        which = "first" if event["part"] == "p" else "second"
        return f"{'so' if event is premise else 'says'} the {which} part {'holds' if event['holds'] else 'fails'}"

    text = heard(facts, "the first part and the second", note)
    verdict = "follows" if _form(facts, params) == "valid" else "does not follow"
    return f"{text} By the rule {_REASON[form]}, and the conclusion {verdict}."


def _draw_links(rng: Rng, split: str) -> Params:
    length = pick(rng, of(split, {"train": (2, 4), "heldout": (3,)}))
    return {"choices": shuffled(rng, _VALID), "length": length, "slots": (*[1.6] * length, 1.8)}


def _links(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose an argument such as 'all cats are dogs, all dogs are cows, so all cats are cows'.

    An invalid argument concludes the reverse, or one of its premises is the wrong way round.
    """
    things = shuffled(rng, say.KINDS["animals"])[: params["length"] + 1]
    links, end = list(zip(things, things[1:])), (things[0], things[-1])
    if answer == "invalid" and rng.random() < 0.5:
        end = end[::-1]
    elif answer == "invalid":
        i = int(rng.integers(len(links)))
        links[i] = links[i][::-1]
    lines: list[tuple[str, dict[str, Any]]] = []
    for a, b in [*links, end]:
        table = say.SO_ALL if len(lines) == len(links) else say.ALL
        words = {"a": say.THINGS[a], "b": say.THINGS[b], "one": a, "b_one": f"a {b}"}
        lines.append((pick(rng, of(split, table)).format(**words), {"from": a, "to": b}))
    return clip(rng, frame, lines)


def _linked(facts: Facts) -> list[str]:
    """Return what the premises lead to from the first term of the conclusion, step by step."""
    *premises, end = facts["events"]
    leads, at = {e["from"]: e["to"] for e in premises}, end["from"]
    reached = [at]
    while at in leads and at != end["to"]:
        at = leads[at]
        reached.append(at)
    return reached


def _links_answer(facts: Facts, params: Params) -> str:
    return "valid" if _linked(facts)[-1] == facts["events"][-1]["to"] else "invalid"


def _links_chain(facts: Facts, params: Params) -> str:
    text = heard(facts, "a way from premise to premise", lambda event: f"is {event['from']} to {event['to']}")
    end, reached = facts["events"][-1], _linked(facts)
    way = " to ".join(reached)
    if reached[-1] == end["to"]:
        return f"{text} The way is {way}, and {end['from']} to {end['to']} follows."
    return f"{text} The way is {way} and ends there, so {end['from']} to {end['to']} does not follow."


_THREE = (1.7, 1.6, 1.8)
DEDUCTIONS = (
    make("lies_one", 1, say.YES, _draw_lies({"train": (1,), "heldout": (1,)}), _lies, _truth, _lies_chain, 0.8),
    make("lies_two", 2, say.YES, _draw_lies({"train": (2,), "heldout": (2,)}), _lies, _truth, _lies_chain),
    make("lies_web", 3, say.YES, _draw_lies({"train": (3, 5), "heldout": (4,)}), _lies, _truth, _lies_chain, 1.6),
    make("syllogism", 2, say.VALID, _draw_form(_THREE), _syllogism, _form, _form_chain),
    make("if_then", 2, say.VALID, _draw_form((2.1, 1.6, 1.8)), _if_then, _form, _form_chain),
    make("links", 3, say.VALID, _draw_links, _links, _links_answer, _links_chain, 1.4),
)
