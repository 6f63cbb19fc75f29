"""How the parameters of the speech suite's questions are drawn, and proposals that reach rare answers directly.

A ``draw_*`` function is, or returns, the ``draw`` of a question type; it never sees the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from earwitness.soundworld.core import Facts, Layout, Params, Rng
from earwitness.soundworld.speech_facts import (
    BACKGROUNDS,
    CATEGORIES,
    CATEGORY,
    PLURAL,
    SPEAKERS,
    VALUES,
    pick,
    pick_events,
    propose_words,
    shuffled,
)

_KTH = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_ALL_WORDS = tuple(CATEGORY)


def _words(rng: Rng, split: str, **params: Any) -> Params:
    return {"family": "words", **params, "choices": shuffled(rng, params["choices"])}


def _some_words(rng: Rng, size: int = 4) -> tuple[str, ...]:
    return shuffled(rng, _ALL_WORDS)[:size]


def _k(rng: Rng, most: int = 4) -> dict[str, Any]:
    k = int(rng.integers(1, most + 1))
    return {"k": k, "kth": _KTH[k], "least": k}


def draw_kth(attribute: str) -> Callable[[Rng, str], Params]:
    """Return the draw for an attribute of the k-th word."""

    def draw(rng: Rng, split: str) -> Params:
        if attribute == "word":
            return _words(rng, split, **_k(rng), choices=_some_words(rng))
        if attribute == "category":
            choices = shuffled(rng, CATEGORIES)[:3]
            return _words(rng, split, **_k(rng), choices=choices, categories=choices)
        values = SPEAKERS if attribute == "speaker" else VALUES[attribute]
        return _words(rng, split, **_k(rng), choices=values, vary=() if attribute == "speaker" else (attribute,))

    return draw


def _filtered(rng: Rng, *names: str) -> Params:
    """Draw a category, speaker, loudness or pace to filter by, with their names for the phrasings."""
    filters: dict[str, str] = {}
    params: Params = {"filters": filters, "vary": tuple(n for n in names if n in VALUES)}
    for name in names:
        values = {"category": CATEGORIES, "speaker": SPEAKERS, **VALUES}[name]
        filters[name] = params[name] = pick(rng, values)
    if "category" in names:
        params |= {"categories": (filters["category"],), "plural": PLURAL[filters["category"]]}
    return params


def draw_count(*names: str) -> Callable[[Rng, str], Params]:
    """Return the draw for a count of the words that pass filters of these names."""

    def draw(rng: Rng, split: str) -> Params:
        return _words(rng, split, **_filtered(rng, *names), least=3, choices=("0", "1", "2", "3"))

    return draw


def draw_length(rng: Rng, split: str) -> Params:
    """Draw the question for the number of words; the frame has room for the largest choice, whatever the answer."""
    choices = ("5", "7") if split == "heldout" else ("2", "3", "4", "6")
    return _words(rng, split, choices=choices, slots=int(choices[-1]))


def draw_pair(rng: Rng, split: str) -> Params:
    """Draw two words that both occur."""
    words = _some_words(rng, 2)
    return _words(rng, split, words=words, x=words[0], y=words[1], choices=words)


def draw_between(rng: Rng, split: str) -> Params:
    """Draw two words in a clip that is long enough for every distance asked."""
    return {**draw_pair(rng, split), "least": 5, "choices": shuffled(rng, ("0", "1", "2", "3"))}


def draw_after(rng: Rng, split: str) -> Params:
    """Draw a word that has a successor, and what the successor may be."""
    word, *choices = _some_words(rng, 5)
    return _words(rng, split, words=(word,), x=word, filters={"word": word}, choices=choices)


def draw_after_loud(rng: Rng, split: str) -> Params:
    """Draw a category and a loudness whose first word has a successor."""
    return _words(rng, split, **_filtered(rng, "loudness", "category"), choices=_some_words(rng))


def draw_compare(rng: Rng, split: str) -> Params:
    """Draw two categories to compare by number."""
    a, b = shuffled(rng, CATEGORIES)[:2]
    names = (PLURAL[a], PLURAL[b])
    sides = ({"category": a}, {"category": b})
    return _words(
        rng, split, categories=(a, b), sides=sides, names=names, x=names[0], y=names[1], choices=(*names, "equal")
    )


def draw_who_more(rng: Rng, split: str) -> Params:
    """Draw a category of which the two speakers may say different numbers."""
    category, names = pick(rng, CATEGORIES), shuffled(rng, SPEAKERS)
    sides = tuple({"category": category, "speaker": name} for name in names)
    more = {"plural": PLURAL[category], "x": names[0], "y": names[1]}
    return _words(rng, split, categories=(category,), sides=sides, names=names, **more, choices=(*names, "equal"))


def draw_kth_by(rng: Rng, split: str) -> Params:
    """Draw the k-th word of one speaker."""
    return _words(rng, split, **_filtered(rng, "speaker"), **_k(rng, 3), choices=_some_words(rng))


def draw_kth_category(name: str) -> Callable[[Rng, str], Params]:
    """Return the draw for the category of the k-th word with a value of attribute ``name``."""

    def draw(rng: Rng, split: str) -> Params:
        choices = shuffled(rng, CATEGORIES)[:3]
        return _words(rng, split, **_filtered(rng, name), **_k(rng, 2), choices=choices, categories=choices)

    return draw


def draw_last(attribute: str) -> Callable[[Rng, str], Params]:
    """Return the draw for an attribute of the last word of a category."""

    def draw(rng: Rng, split: str) -> Params:
        params = _filtered(rng, "category")
        params["vary"] = (attribute,)
        values = SPEAKERS if attribute == "speaker" else VALUES[attribute]
        return _words(rng, split, **params, k=-1, kth="last", choices=values)

    return draw


def draw_sentence(asked: str, choices: tuple[str, ...], family: str = "sentence") -> Callable[[Rng, str], Params]:
    """Return the draw for an attribute of a sentence (or of two turns), where the voice varies in what is asked."""

    def draw(rng: Rng, split: str) -> Params:
        vary = ("style",) if asked in ("style", "sentiment", "agree") else (asked,)
        return {"family": family, "asked": asked, "vary": vary, "choices": shuffled(rng, choices)}

    return draw


def draw_background(rng: Rng, split: str) -> Params:
    """Draw the question for the background, behind words or a sentence."""
    return {"family": pick(rng, ("words", "sentence")), "choices": shuffled(rng, BACKGROUNDS)}


# Proposals that reach rare answers directly


def _plant(rng: Rng, facts: Facts, position: int, answer: str, choices: Iterable[str]) -> Facts:
    """Put the answer at a position (from 1), and by chance other choices elsewhere, so that presence tells nothing."""
    events = facts["events"]
    free = [e["word"] for e in events]

    def put(i: int, word: str) -> None:
        if word in free:  # the two words change places, so that all stay distinct
            j = free.index(word)
            free[i], free[j] = free[j], free[i]
        free[i] = word

    put(position - 1, answer)
    for choice in choices:
        if choice != answer and rng.random() < 0.5 and len(events) > 1:
            i = int(rng.integers(len(events) - 1))
            i += i >= position - 1
            if choice not in free and free[i] not in choices:
                put(i, choice)
    for event, word in zip(events, free):
        event["word"], event["category"] = word, CATEGORY[word]
    facts["transcript"] = " ".join(free)
    return facts


def propose_kth(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose words with the answer as the k-th that passes the filters."""
    facts = propose_words(rng, frame, params)
    found = pick_events(facts, **params.get("filters", {}))
    return _plant(rng, facts, found[params["k"] - 1], answer, params["choices"]) if len(found) >= params["k"] else facts


def propose_after(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose words with the answer right after the first that passes the filters."""
    n = frame["slots"]
    fixed = {int(rng.integers(n - 1)): params["filters"]["word"]} if "word" in params["filters"] else {}
    facts = propose_words(rng, frame, params, fixed)
    found = pick_events(facts, **params["filters"])
    return _plant(rng, facts, found[0] + 1, answer, params["choices"]) if found and found[0] < n else facts


def propose_pair(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose words with the two of the question in the order, or at the distance, of the answer."""
    n, (x, y) = frame["slots"], params["words"]
    gap = int(answer) + 1 if answer.isdigit() else int(rng.integers(1, n))
    a = int(rng.integers(n - gap))
    if (answer == y) if not answer.isdigit() else (rng.random() < 0.5):
        x, y = y, x
    return propose_words(rng, frame, params, {a: x, a + gap: y})


def propose_length(rng: Rng, split: str, frame: Layout, params: Params, answer: str) -> Facts:
    """Propose as many words as the answer says."""
    return propose_words(rng, frame, params, n=int(answer))
