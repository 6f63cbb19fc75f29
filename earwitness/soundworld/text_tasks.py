"""The ``text_tasks``: samples without audio whose answers can be verified, for a cold start on text.

Sums and logic problems of the spoken suites as text, small programs with tests, questions about a caption or a
transcript, and dialogues that end in any of these. The chains of captions and transcripts argue from words, which is
what a model that has learned to think on text does with a sound. Every item takes its facts from an item of the same
split of another suite, so train and test share none; half of the questions with a number for an answer list no choices.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from earwitness.prompt import question_text
from earwitness.records import Sample
from earwitness.soundworld import text_tasks_code as code
from earwitness.soundworld.core import VERSION, Rng, rng_of, to_sample
from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.sequence import pick

_BASE_ITEMS = 1 << 24
_WEIGHTS = {"math": 0.18, "logic": 0.18, "caption": 0.36, "transcript": 0.1, "code": 0.08, "dialogue": 0.1}
FAMILIES = tuple(_WEIGHTS)
# Questions about speech that a transcript answers.
_IN_WORDS = {
    "speech": "kth_word how_many_words which_first word_after kth_category between words_sentiment".split(),
    "crossed": ["words"],
}
_DESCRIBED = {
    "train": ("A recording is described as follows.", "This is the caption of a clip.", "Here is a description."),
    "heldout": ("Somebody wrote this about a recording.", "The note on the tape reads so."),
}
_WRITTEN = {
    "train": ("This is the transcript of a clip.", "Here is what is said in a recording.", "A clip was written down."),
    "heldout": ("Somebody typed what was uttered.", "The text of the tape reads so."),
}
_PROBLEM = {
    "train": ("Here is a problem.", "Read this.", "This is a question for you."),
    "heldout": ("Consider the following.", "A puzzle was handed in."),
}
# What is asked after a problem, in place of the question about a clip.
_ASK = Phrasings(
    ("[what is|please give|work out|find|tell me] the [right |true |][answer|solution|reply]{kind}.",),
    ("[supply|determine|settle|state|provide] the [correct |final |proper ][outcome|response|conclusion]{kind}.",),
)
_ACKNOWLEDGED = ("I have read it. What would you like to know?", "Thank you. What is your question?", "I see. Go on.")


def sample(split: str, index: int) -> Sample:
    """Return an item; its task is ``family`` or ``family:task of the item whose facts it has``."""
    rng = rng_of("soundworld", VERSION, "text_tasks", split, index)
    weights = list(_WEIGHTS.values())
    family = FAMILIES[int(rng.choice(len(FAMILIES), p=[w / sum(weights) for w in weights]))]
    item = _MAKERS[family](rng, split)
    return dataclasses.replace(
        item, id=f"text_tasks-{split}-{index}", domain="text_tasks", audio=(), tags=(*item.tags, f"family:{family}")
    )


def _base(rng: Rng, split: str, name: str, tasks: list[str] | None = None) -> Sample:
    """Return an item of another suite, of one of these tasks."""
    suite = importlib.import_module(f"earwitness.soundworld.{name}").SUITE
    if tasks:
        heldout = split == "heldout"
        asked = tuple(t for t in suite.types if t.name in tasks and (t.heldout or not heldout))
        suite = dataclasses.replace(suite, types=asked)
    return to_sample(suite, split, int(rng.integers(_BASE_ITEMS)))


def _opening(rng: Rng, split: str, table: dict[str, tuple[str, ...]]) -> str:
    return pick(rng, table["heldout" if split == "heldout" else "train"])


def _worded(item: Sample, family: str, given: str, heard: str) -> Sample:
    """Return the text version of an item: the words in place of the sound, and a chain that argues from them."""
    reasoning = (item.reasoning or "").replace("I hear", heard)
    return dataclasses.replace(
        item,
        question=f"{given} {item.question}",
        reasoning=reasoning,
        task=f"{family}:{item.task}",
        extra={"given": given, "asked": item.question, "source": item.domain, "params": item.extra["params"]},
    )


def _free(rng: Rng, item: Sample) -> Sample:
    """Return an item without choices half of the time where its answer is a number or yes or no."""
    assert item.answer is not None
    kind = "number" if item.answer.isdigit() else "yes_no" if item.answer in ("yes", "no") else ""
    return dataclasses.replace(item, choices=(), answer_type=kind) if kind and rng.random() < 0.5 else item


def _sentences(item: Sample) -> str:
    """Return the sentences of a spoken item as text, each ended as it was said."""
    assert item.facts is not None
    marks = {"rising": "?", "falling": "."}
    told = [f"{e['sentence'][0].upper()}{e['sentence'][1:]}{marks[e['intonation']]}" for e in item.facts["events"]]
    return " ".join(told)


def _problem(family: str) -> Callable[[Rng, str], Sample]:
    """Return the maker of problems of a spoken suite as text."""

    def make(rng: Rng, split: str) -> Sample:
        item = _base(rng, split, f"spoken_{family}")
        kinds = {
            "yes": ", yes or no",
            "no": ", yes or no",
            "valid": ", valid or invalid",
            "invalid": ", valid or invalid",
        }
        asked = _ASK.draw(rng, split, {"kind": kinds.get(str(item.answer), "")})
        item = dataclasses.replace(item, question=asked)
        return _free(rng, _worded(item, family, f"{_opening(rng, split, _PROBLEM)} {_sentences(item)}", "I read"))

    return make


def _caption(rng: Rng, split: str) -> Sample:
    item = _base(rng, split, pick(rng, ("music", "sound", "speech", "crossed")))
    given = f"{_opening(rng, split, _DESCRIBED)} {item.extra['caption']}"
    return _worded(item, "caption", given, "The caption says")


def _transcript(rng: Rng, split: str) -> Sample:
    name = pick(rng, tuple(_IN_WORDS))
    item = _base(rng, split, name, _IN_WORDS[name])
    return _worded(item, "transcript", f'{_opening(rng, split, _WRITTEN)} "{item.transcript}"', "The transcript says")


def _code(rng: Rng, split: str) -> Sample:
    facts, digest = code.drawn(rng, split)
    steps = 3 if facts["keep"] != "all" and facts["change"] != "none" else 2
    return Sample(
        id="code",
        question=code.WORDS.draw(rng, split, {"name": facts["name"], "task": code.task(facts)}),
        answer=f"```python\n{code.source(facts)}\n```",
        answer_type="code",
        task="code",
        reasoning_type="procedural",
        tags=(f"steps:{steps}",),
        facts=facts,
        reasoning=code.chain(facts),
        tests=code.tests(facts),
        source={"benchmark": "soundworld", "version": VERSION, "hash": digest},
        extra={"given": "", "source": "code"},
    )


def _dialogue(rng: Rng, split: str) -> Sample:
    """Return a problem or caption told in one turn and asked about in a later one."""
    family = pick(rng, ("math", "logic", "caption", "transcript"))
    item = _MAKERS[family](rng, split)
    turns = (
        {"role": "user", "content": item.extra["given"]},
        {"role": "assistant", "content": pick(rng, _ACKNOWLEDGED)},
        {"role": "user", "content": question_text(item.extra["asked"], item.choices)},
    )
    return dataclasses.replace(item, messages=turns, task=f"dialogue:{item.task}")


_MAKERS: dict[str, Callable[[Rng, str], Any]] = {
    "math": _problem("math"),
    "logic": _problem("logic"),
    "caption": _caption,
    "transcript": _transcript,
    "code": _code,
    "dialogue": _dialogue,
}
