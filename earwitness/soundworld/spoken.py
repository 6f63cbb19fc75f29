"""Clips in which one speaker says a few sentences: what the suites ``spoken_math`` and ``spoken_logic`` share.

A question type draws its plan first: how many sentences there are and how many seconds each may take (``slots``).
Sentences are said faster where they would not fit, so the length of a clip tells nothing of what is said in it.
The sound is made by the speech suite, with its voices; so are the labelled spans.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from earwitness.soundworld import speech
from earwitness.soundworld.core import Facts, Layout, Params, QuestionType, Rng, Suite
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.sequence import ending, pick
from earwitness.soundworld.speech_facts import SPEAKERS

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
BACKGROUNDS = ("none", "none", "hum", "rain")
# Held-out clips are spoken at another pace than any clip of training.
_STRETCH = {"train": (0.96, 1.06), "heldout": (1.12, 1.22)}
_GAP = 0.08
_GROUPS = ("phoneme", "speaker", "background", "index", "onset")


def of(split: str, options: Mapping[str, Any]) -> Any:
    """Return the options of a split; validation and test share those of training."""
    return options["heldout" if split == "heldout" else "train"]


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return the frame of a clip: seconds, level and one slot a sentence; sees the question but not its answer."""
    voices = "heldout" if split == "heldout" else "train"
    stretch = float(rng.uniform(*_STRETCH[voices]))
    slots = [round(seconds * stretch, 3) for seconds in params["slots"]]
    lead, tail = round(float(rng.uniform(0.06, 0.25)), 3), float(rng.uniform(0.1, 0.3))
    return {
        "voices": voices,
        "level_db": round(float(rng.uniform(-34, -24)), 1),
        "lead": lead,
        "slots": slots,
        "seconds": round(lead + sum(slots) + tail, 3),
    }


def clip(rng: Rng, frame: Layout, sentences: Sequence[tuple[str, dict[str, Any]]]) -> Facts:
    """Return the facts of (sentence, what it states) pairs, said one after another by one speaker.

    A sentence that ends in a question mark rises at its end.
    """
    speaker, at, events = pick(rng, SPEAKERS), frame["lead"], []
    for (text, states), slot in zip(sentences, frame["slots"], strict=True):
        intonation = "rising" if text.endswith("?") else "falling"
        said = {"sentence": text.rstrip("?"), "speaker": speaker, "style": "neutral", "intonation": intonation}
        times = {"start": round(at, 3), "end": round(at + slot - _GAP, 3)}
        events.append({**said, "pace": "normal", "sentiment": "neutral", **times, **states})
        at += slot
    return {
        "events": events,
        "transcript": " ".join(str(event["sentence"]) for event in events),
        "voices": frame["voices"],
        "background": pick(rng, BACKGROUNDS),
    }


def caption(facts: Facts) -> str:
    """Return the text twin: who speaks, and every sentence."""
    said = ". ".join(event["sentence"][0].upper() + event["sentence"][1:] for event in facts["events"])
    return f"The {facts['events'][0]['speaker']} says: {said}."


def key(facts: Facts) -> Any:
    """Return the sentences and their speaker, without times."""
    return [facts["events"][0]["speaker"], [event["sentence"] for event in facts["events"]]]


def words_of(templates: Iterable[str]) -> list[str]:
    """Return the words of sentence templates in lower case, without what stands in braces."""
    return sorted({w for t in templates for w in re.sub(r"\{[^}]*\}", " ", t).lower().replace("?", "").split()})


def tags(words: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of a spoken suite with this vocabulary."""
    shared = [tag for tag in speech.TAGS if tag.split("=")[0] in _GROUPS]
    manner = ["style=neutral", "intonation=falling", "intonation=rising"]
    return (*(f"word={word}" for word in sorted(set(words))), *shared, *manner)


def make(
    name: str,
    steps: int,
    words: Phrasings,
    draw: Callable[[Rng, str], Params],
    propose: Callable[[Rng, str, Layout, Params, str], Facts],
    answer: Callable[[Facts, Params], str | None],
    chain: Callable[[Facts, Params], str],
    weight: float = 1.0,
) -> QuestionType:
    """Return a question type whose chains end with the answer."""

    def whole(facts: Facts, params: Params) -> str:
        return ending(chain(facts, params), answer(facts, params))

    return QuestionType(name, steps, "procedural", words, draw, answer, whole, propose, 1, weight)


def heard(facts: Facts, goal: str, note: Callable[[dict[str, Any]], str]) -> str:
    """Return the goal and what is heard, each sentence with the remark that it allows; '' where it allows none."""
    parts = []
    for i, event in enumerate(facts["events"], 1):
        remark = note(event)
        parts.append(f"{i} {event['sentence']}{' ' if remark else ''}{remark}")
    return f"I look for {goal}. I hear {', '.join(parts)}."


def suite(name: str, types: Sequence[QuestionType], words: Iterable[str]) -> Suite:
    """Return a suite of spoken clips."""

    def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
        raise NotImplementedError(f"every question of {name} proposes its own facts")

    return Suite(name, tuple(types), layout, propose, key, speech.render, caption, tags(words))
