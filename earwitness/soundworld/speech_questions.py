"""What the speech suite asks: for each question type its parameters, its answer from the facts, and its chain.

The phrasings are in ``speech_phrasings``. Positions in chains and in ``pick_events`` count from 1, as in questions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from earwitness.soundworld.core import Facts, Params, QuestionType, Rng
from earwitness.soundworld.sequence import compared, counted, scan, tally, told
from earwitness.soundworld.speech_draws import (
    draw_after,
    draw_after_loud,
    draw_background,
    draw_between,
    draw_compare,
    draw_count,
    draw_kth,
    draw_kth_by,
    draw_kth_category,
    draw_last,
    draw_length,
    draw_pair,
    draw_sentence,
    draw_who_more,
    propose_after,
    propose_kth,
    propose_length,
    propose_pair,
)
from earwitness.soundworld.speech_facts import PLURAL, SENTIMENTS, SPEAKERS, STYLES, VALUES, pick_events
from earwitness.soundworld.speech_phrasings import PHRASINGS

_VOICE = {
    "cheerful": "high, lively and quick",
    "neutral": "even and plain",
    "sad": "low, flat and slow",
}


# What holds on facts


def _position(facts: Facts, word: str) -> int | None:
    return next(iter(pick_events(facts, word=word)), None)


def _count(facts: Facts, params: Params) -> str:
    return str(len(pick_events(facts, **params["filters"])))


def _kth(facts: Facts, params: Params, attribute: str) -> str | None:
    """Return an attribute of the k-th (or last, k = -1) word that passes the filters; 'last' needs two of them."""
    found = pick_events(facts, **params.get("filters", {}))
    k = params["k"]
    if len(found) < (2 if k < 0 else k):
        return None
    return facts["events"][found[k if k < 0 else k - 1] - 1][attribute]


def _more(a: int, b: int, names: tuple[str, str]) -> str:
    return "equal" if a == b else names[int(b > a)]


def _after(facts: Facts, params: Params) -> str | None:
    """Return the word right after the first one that passes the filters."""
    found = pick_events(facts, **params["filters"])
    return facts["events"][found[0]]["word"] if found and found[0] < len(facts["events"]) else None


def _between(facts: Facts, params: Params) -> str | None:
    a, b = (_position(facts, word) for word in params["words"])
    return str(abs(a - b) - 1) if a and b else None


def _first(facts: Facts, params: Params) -> str | None:
    a, b = (_position(facts, word) for word in params["words"])
    return params["words"][int(b < a)] if a and b else None


def _compared(facts: Facts, params: Params) -> tuple[int, int]:
    a, b = (len(pick_events(facts, **filters)) for filters in params["sides"])
    return a, b


def _compare_answer(facts: Facts, params: Params) -> str:
    return _more(*_compared(facts, params), params["names"])


def _speaker_count(facts: Facts, _: Params) -> str:
    return "one" if len({event["speaker"] for event in facts["events"]}) == 1 else "two"


def _agree(facts: Facts, _: Params) -> str:
    event = facts["events"][0]
    return "agree" if STYLES.index(event["style"]) == SENTIMENTS.index(event["sentiment"]) else "conflict"


def _asker(facts: Facts, _: Params) -> str | None:
    if len(facts["events"]) != 2:
        return None
    a, b = facts["events"]
    if a["speaker"] == b["speaker"] or a["intonation"] == b["intonation"]:
        return None
    return a["speaker"] if a["intonation"] == "rising" else b["speaker"]


# Chains


def _say(*attributes: str) -> Callable[[dict[str, Any]], str]:
    """Return what names a word with the attributes that matter: 'loud cat animals by the man'."""

    def say(event: dict[str, Any]) -> str:
        shown = [event[a] for a in attributes if a in VALUES] + [event["word"]]
        shown += [PLURAL[event["category"]]] * ("category" in attributes)
        return " ".join(shown + ["by the " + event["speaker"]] * ("speaker" in attributes))

    return say


def _wanted(filters: dict[str, str]) -> str:
    """Return what passes the filters: 'loud animals by the man'."""
    levels = [value for name, value in filters.items() if name in VALUES]
    what = PLURAL[filters["category"]] if "category" in filters else "words"
    speaker = [f"by the {filters['speaker']}"] if "speaker" in filters else []
    return " ".join([*levels, what, *speaker])


def _goal(filters: dict[str, str]) -> str:
    """Return what passes the filters, in few words: 'loud animals man'."""
    return " ".join(PLURAL.get(value, value) for value in filters.values())


def _kth_chain(facts: Facts, params: Params, attribute: str) -> str:
    filters, events = params.get("filters", {}), facts["events"]
    positions = pick_events(facts, **filters)
    say, wanted = _say(*filters, attribute), _goal(filters)
    goal = f"{params['kth']} {wanted}".strip()
    if params["k"] < 0:

        def note(i: int) -> str:
            return f"is {wanted} {events[i - 1][attribute]}" if i in positions else f"not {wanted}"

        position, text = positions[-1], scan(facts, say, note, goal)
    else:
        position = positions[params["k"] - 1]
        text = scan(facts, say, tally(positions, wanted) if filters else lambda i: "", goal, until=position)
    event = events[position - 1]
    said = {"word": event["word"], "speaker": f"said by the {event['speaker']}"}.get(attribute, event[attribute])
    said = f"{event['word']}, a kind of {said}" if attribute == "category" else said
    which = f"The {params['kth']} of the {_wanted(filters)} is {position}. " if filters else ""
    return f"{text} {which}Word {position} is {said}. So the answer is {event[attribute]}."


def _count_chain(facts: Facts, params: Params) -> str:
    filters = params["filters"]
    positions = pick_events(facts, **filters)
    text = counted(facts, _say(*filters), positions, _goal(filters), _wanted(filters))
    return f"{text} So the answer is {len(positions)}."


def _length_chain(facts: Facts, params: Params) -> str:
    n = len(facts["events"])
    return f"{scan(facts, _say(), lambda i: '', 'number')} The last word has number {n}. So the answer is {n}."


def _compare_chain(facts: Facts, params: Params) -> str:
    def count(name: str, side: dict[str, str]) -> tuple[str, str, int]:
        at = pick_events(facts, **side)
        return name, counted(facts, _say(*side), at, _goal(side), _wanted(side)), len(at)

    first, second = map(count, params["names"], params["sides"])
    return f"{compared(first, second)} So the answer is {_compare_answer(facts, params)}."


def _after_chain(facts: Facts, params: Params) -> str:
    filters = params["filters"]
    first = pick_events(facts, **filters)[0]
    word = facts["events"][first]["word"]
    wanted = _goal(filters)

    def note(i: int) -> str:
        return "" if i > first else f"{'is' if i == first else 'not'} {wanted}"

    text = scan(facts, _say(*filters), note, f"after {wanted}", until=first + 1)
    what = filters.get("word") or f"first of the {_wanted(filters)}"
    return f"{text} The {what} is {first} and {first + 1} is {word}. So the answer is {word}."


def _pair_chain(facts: Facts, params: Params, between: bool) -> str:
    x, y = params["words"]
    a, b = sorted(int(_position(facts, word) or 0) for word in (x, y))
    goal, names = (
        f"{x} {'to' if between else 'or'} {y}",
        {a: facts["events"][a - 1]["word"], b: facts["events"][b - 1]["word"]},
    )
    text = scan(
        facts, _say(), lambda i: f"is {names[i]}" if i in names else f"not {x} {y}", goal, until=b if between else a
    )
    if not between:
        return f"{text} Of {x} and {y} this is the first to come. So the answer is {_first(facts, params)}."
    inside = range(a + 1, b)
    text += f" From {a} to {b} there are {told(inside)} between."
    return f"{text} That is {len(inside)}. So the answer is {len(inside)}."


def _sentence_chain(facts: Facts, params: Params) -> str:
    event, asked = facts["events"][0], params["asked"]
    words = f"The words are: {event['sentence']}. They are {event['sentiment']}."
    voice = f"The voice is {_VOICE[event['style']]}, so it sounds {event['style']}."
    turn = "up, as in a question" if event["intonation"] == "rising" else "down, as in a statement"
    if asked == "agree":
        relation = "the same" if _agree(facts, params) == "agree" else "not the same"
        return f"{voice} {words} The two are {relation}. So the answer is {_agree(facts, params)}."
    told = {
        "sentiment": words,
        "style": voice,
        "intonation": f"I hear: {event['sentence']}. At the end the voice goes {turn}.",
        "pace": f"I hear: {event['sentence']}. The words come at a {event['pace']} pace.",
    }
    return f"{told[asked]} So the answer is {event[asked]}."


def _background_chain(facts: Facts, params: Params) -> str:
    name = facts["background"]
    heard = "nothing but silence" if name == "none" else f"a steady sound of {name}"
    return f"Behind the words and in the gaps I hear {heard}. So the answer is {name}."


def _turns_chain(facts: Facts, params: Params) -> str:
    a, b = facts["events"]
    if params["asked"] == "speakers":
        heard = {a["speaker"], b["speaker"]}
        text = f"The first turn is by the {a['speaker']} and the second by the {b['speaker']}."
        text += "".join(f" A {who} speaks." if who in heard else f" No {who} speaks." for who in ("man", "woman"))
        return f"{text} So the answer is {'one' if len(heard) == 1 else 'two'}."
    ends = [f"the {e['speaker']} goes {'up' if e['intonation'] == 'rising' else 'down'} at the end" for e in (a, b)]
    return f"First {ends[0]}, then {ends[1]}. Going up is a question. So the answer is {_asker(facts, params)}."


# The types


def _kth_type(name: str, steps: int, attribute: str, draw: Callable[[Rng, str], Params], **more: Any) -> QuestionType:
    """Return a type that asks for an attribute of the k-th word among those that pass its filters."""
    return QuestionType(
        name=name,
        steps=steps,
        reasoning_type="factual" if steps == 1 else "procedural",
        phrasings=PHRASINGS[name],
        draw=draw,
        answer=lambda facts, params: _kth(facts, params, attribute),
        chain=lambda facts, params: _kth_chain(facts, params, attribute),
        **more,
    )


def _type(name: str, steps: int, draw: Any, answer: Any, chain: Any, **more: Any) -> QuestionType:
    more = {"reasoning_type": "factual" if steps == 1 else "procedural", **more}
    return QuestionType(
        name=name, steps=steps, phrasings=PHRASINGS[name], draw=draw, answer=answer, chain=chain, **more
    )


def _sentence_type(name: str, steps: int, asked: str, choices: tuple[str, ...], **more: Any) -> QuestionType:
    def answer(facts: Facts, params: Params) -> str:
        return _agree(facts, params) if asked == "agree" else facts["events"][0][asked]

    more = {"reasoning_type": "contextual", "min_events": 1, **more}
    return _type(name, steps, draw_sentence(asked, choices), answer, _sentence_chain, **more)


_SPEAKER_COUNT = draw_sentence("speakers", ("one", "two"), "turns")
_ASKER = draw_sentence("asker", SPEAKERS, "turns")
_PLANTED = {"propose": propose_kth}

TYPES = (
    _kth_type("kth_word", 1, "word", draw_kth("word"), weight=1.4, **_PLANTED),
    _kth_type("kth_speaker", 1, "speaker", draw_kth("speaker"), weight=0.7),
    _kth_type("kth_loudness", 1, "loudness", draw_kth("loudness"), weight=0.7),
    _kth_type("kth_pace", 1, "pace", draw_kth("pace"), weight=0.6),
    _sentence_type("intonation", 1, "intonation", ("rising", "falling"), weight=0.6),
    _sentence_type("sentence_pace", 1, "pace", VALUES["pace"], weight=0.5),
    _sentence_type("voice_style", 1, "style", STYLES, weight=0.8),
    _type("background", 1, draw_background, lambda f, p: f["background"], _background_chain, min_events=1, weight=0.7),
    _type("how_many_words", 2, draw_length, lambda f, p: str(len(f["events"])), _length_chain, propose=propose_length),
    _type("how_many_by", 2, draw_count("speaker"), _count, _count_chain, weight=1.3),
    _type("which_first", 2, draw_pair, _first, lambda f, p: _pair_chain(f, p, False), propose=propose_pair),
    _type("word_after", 2, draw_after, _after, _after_chain, propose=propose_after, weight=1.5),
    _kth_type("kth_category", 2, "category", draw_kth("category"), weight=1.3),
    _sentence_type("words_sentiment", 2, "sentiment", SENTIMENTS),
    _type("one_or_two", 2, _SPEAKER_COUNT, _speaker_count, _turns_chain, weight=0.8),
    _type("who_asks", 2, _ASKER, _asker, _turns_chain, weight=0.8),
    _type("count_by", 3, draw_count("category", "speaker"), _count, _count_chain, weight=2.0),
    _type("count_loud", 3, draw_count("category", "loudness"), _count, _count_chain, weight=1.6),
    _type("more_of", 3, draw_compare, _compare_answer, _compare_chain, weight=2.0),
    _type("who_says_more", 3, draw_who_more, _compare_answer, _compare_chain, weight=2.0),
    _kth_type("kth_word_by", 3, "word", draw_kth_by, weight=1.8, **_PLANTED),
    _kth_type("last_loudness", 3, "loudness", draw_last("loudness"), weight=1.0),
    _kth_type("last_speaker", 3, "speaker", draw_last("speaker"), weight=1.0),
    _type("between", 3, draw_between, _between, lambda f, p: _pair_chain(f, p, True), propose=propose_pair, weight=1.4),
    _kth_type("kth_loud_category", 3, "category", draw_kth_category("loudness"), weight=1.4),
    _type("after_loud", 3, draw_after_loud, _after, _after_chain, propose=propose_after, weight=1.4),
    _sentence_type("agree", 3, "agree", ("agree", "conflict"), weight=1.0),
)
