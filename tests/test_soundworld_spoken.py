"""Spoken sums, stories and logic: right answers, disjoint splits, words that are said, and their text versions."""

import collections
import math
import re

import numpy as np
import pytest

from earwitness import soundworld
from earwitness.evaluate import shortcuts
from earwitness.rewards.scores import verify
from earwitness.soundworld import core, text_tasks, text_tasks_code
from earwitness.soundworld.spoken import NUMBERS
from earwitness.soundworld.spoken_logic import SUITE as LOGIC
from earwitness.soundworld.spoken_logic_deduction import _form
from earwitness.soundworld.spoken_math import SUITE as MATH

SUITES = {"spoken_math": MATH, "spoken_logic": LOGIC}
COUNTS = {"train": 500, "validation": 120, "test": 160, "heldout": 160}


@pytest.fixture(scope="module")
def drafts():
    return {
        name: {split: [core.draw(suite, split, i) for i in range(n)] for split, n in COUNTS.items()}
        for name, suite in SUITES.items()
    }


@pytest.mark.parametrize("name", SUITES)
def test_types_phrasings_and_steps(name):
    assert {t.steps for t in SUITES[name].types} == {1, 2, 3}
    for kind in SUITES[name].types:
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name
        assert not [text for text in train + heldout if " ?" in text or "  " in text], kind.name


@pytest.mark.parametrize("name", SUITES)
def test_answers_and_chains(name, drafts):
    assert {d.type.name for d in drafts[name]["train"]} == {t.name for t in SUITES[name].types}
    for split, items in drafts[name].items():
        for d in items:
            assert d.type.answer(d.facts, d.params) == d.answer and d.answer in d.params["choices"]
            assert len(set(d.params["choices"])) == len(d.params["choices"]) >= 2
            chain = d.type.chain(d.facts, d.params)
            assert chain.endswith(f" So the answer is {d.answer}.") and chain.startswith("I look for ")
            assert d.answer not in d.question.split()[-3:] or name == "spoken_logic"
            assert 1.5 < d.facts["seconds"] < 15
            caption = SUITES[name].caption(d.facts).lower()
            assert all(e["sentence"].lower() in caption for e in d.facts["events"])
            if split != "heldout":
                assert d.facts["voices"] == "train"


@pytest.mark.parametrize("name", SUITES)
def test_splits_share_no_facts(name, drafts):
    suite = SUITES[name]
    for split, items in drafts[name].items():
        assert all(core.split_of(core.facts_hash(suite, d.facts)) == split for d in items)
    digests = [{d.digest for d in items} for items in drafts[name].values()]
    assert len(set.union(*digests)) == sum(map(len, digests))
    sentences = {
        split: {re.sub("|".join(NUMBERS), "N", d.facts["transcript"]) for d in items}
        for split, items in drafts[name].items()
    }
    assert not sentences["heldout"] & (sentences["train"] | sentences["test"])  # other templates


@pytest.mark.parametrize("name", SUITES)
def test_heldout_clips_have_other_lengths(name, drafts):
    def lengths(split):
        found = collections.defaultdict(set)
        for d in drafts[name][split]:
            found[d.type.name].add(len(d.facts["events"][0].get("terms", ())) * 100 + len(d.facts["events"]))
        return found

    train, heldout = lengths("train"), lengths("heldout")
    for kind in SUITES[name].types:
        if kind.steps == 3 and kind.name not in ("who_has_more",):
            assert not train[kind.name] & heldout[kind.name], kind.name


@pytest.mark.parametrize("name", SUITES)
def test_answers_are_uniform_over_their_places(name, drafts):
    items = drafts[name]["train"]
    for size in {len(d.params["choices"]) for d in items}:
        some = [d for d in items if len(d.params["choices"]) == size]
        for place in (
            lambda d: d.params["choices"].index(d.answer),
            lambda d: sorted(d.params["choices"]).index(d.answer),
        ):
            counts = collections.Counter(map(place, some))
            chi2 = sum((counts[i] - len(some) / size) ** 2 for i in range(size)) * size / len(some)
            k = size - 1
            assert chi2 < k * (1 - 2 / (9 * k) + 3.7 * math.sqrt(2 / (9 * k))) ** 3, counts


@pytest.mark.parametrize("name", SUITES)
def test_no_shortcut_from_text_length_or_level(name):
    train = [soundworld.sample(name, "train", i) for i in range(700)]
    test = [soundworld.sample(name, "test", i) for i in range(500)]
    heard = [np.array([(s.facts["seconds"], s.facts["level_db"]) for s in part]) for part in (train, test)]
    limit = shortcuts.chance(test) + 0.03 + 2.5 * math.sqrt(0.25 / len(test))  # the margin of the full run, and noise
    assert shortcuts.text_accuracy(train, test) < limit
    assert shortcuts.level_accuracy(train, test, *heard) < limit


@pytest.mark.parametrize("name", SUITES)
def test_every_word_is_said_in_its_slot(name, drafts):
    suite = SUITES[name]
    for split in ("train", "heldout"):
        for i, d in enumerate(drafts[name][split][:12]):
            wave, spans = core.render(suite, d.facts, f"{split}/{i}")
            assert len(wave) == round(d.facts["seconds"] * core.SAMPLE_RATE) and wave.dtype == np.float32
            assert abs(20 * np.log10(np.sqrt(np.mean(wave**2))) - d.facts["level_db"]) < 0.3
            assert {s.tag for s in spans} <= set(suite.tags)
            said = [s.tag[5:] for s in sorted(spans, key=lambda s: s.start) if s.tag.startswith("word=")]
            assert said == d.facts["transcript"].lower().split()
            turns = sorted((s.start, s.end) for s in spans if s.tag.startswith("speaker="))
            assert all(b[0] > a[1] for a, b in zip(turns, turns[1:]))
    again = core.render(suite, d.facts, f"{split}/{i}")
    assert np.array_equal(again[0], wave) and again[1] == spans


def test_a_story_by_hand():
    kind, thing = MATH.type("two_things"), {"asked": "lemon"}
    sentences = ["Tom has nine lemons and two apples", "he buys three apples", "he loses four lemons", "how many"]
    terms = [[["start", 9, "lemon"], ["start", 2, "apple"]], [["plus", 3, "apple"]], [["minus", 4, "lemon"]], []]
    facts = {**thing, "events": [{"sentence": s, "terms": t} for s, t in zip(sentences, terms)]}
    assert kind.answer(facts, {}) == "5"
    assert "3 he loses four lemons so 9 minus 4 is 5" in kind.chain(facts, {"goal": "how many lemons"})
    assert "2 he buys three apples not lemons" in kind.chain(facts, {"goal": "how many lemons"})


@pytest.mark.parametrize(
    "premise, conclusion, verdict",
    [
        (("p", True), ("q", True), "valid"),
        (("q", False), ("p", False), "valid"),
        (("q", True), ("p", True), "invalid"),
        (("p", False), ("q", False), "invalid"),
    ],
)
def test_formal_fallacies(premise, conclusion, verdict):
    parts = [("rule", True), premise, conclusion]
    assert _form({"events": [{"part": part, "holds": holds} for part, holds in parts]}, {}) == verdict


def test_web_of_lies_and_walks_by_hand():
    told = [("Tom", "", False), ("Anna", "Tom", False), ("Ben", "Anna", False), ("", "", False)]
    facts = {"events": [{"who": who, "of": of, "claims": c} for who, of, c in told]}
    assert LOGIC.type("lies_web").answer(facts, {}) == "no"  # Tom lies, so Anna is right that he does, so Ben lies
    walk = [("left", 2), ("forward", 1), ("right", 2), ("back", 1), ("", 0)]
    facts = {"asked": "back", "events": [{"where": where, "n": n} for where, n in walk]}
    assert LOGIC.type("walk_plane").answer(facts, {"axes": 2}) == "yes"
    facts["events"][3]["n"] = 2
    assert LOGIC.type("walk_plane").answer(facts, {"axes": 2}) == "no"


def test_links_are_valid_exactly_when_the_premises_imply_the_conclusion(drafts):
    for d in drafts["spoken_logic"]["train"]:
        if d.type.name == "links":
            *premises, end = d.facts["events"]
            follows, grown = {end["from"]}, True
            while grown:
                more = {p["to"] for p in premises if p["from"] in follows}
                grown, follows = not more <= follows, follows | more
            assert d.answer == ("valid" if end["to"] in follows else "invalid")


@pytest.mark.parametrize("name", SUITES)
def test_a_question_asked_of_another_clip_has_the_answer_of_that_clip(name, drafts):
    """The written question only says what kind of answer is wanted, so an answer is the clip's own or there is none."""
    items = drafts[name]["test"]
    answered = 0
    for d in items:
        for other in items[:60]:
            try:
                answer = d.type.answer(other.facts, d.params)
            except LookupError:
                continue
            assert answer in (None, other.answer), (d.type.name, other.type.name, other.facts["transcript"])
            answered += answer is not None and other is not d
    assert answered > len(items)


# The text side


@pytest.fixture(scope="module")
def texts():
    return {split: [soundworld.sample("text_tasks", split, i) for i in range(260)] for split in ("train", "test")}


def test_text_tasks_are_verifiable_and_silent(texts):
    families = collections.Counter()
    for items in texts.values():
        for item in items:
            families[item.task.split(":")[0]] += 1
            assert item.audio == () and len(soundworld.waveform(item)) == 0
            assert item.answer is not None and item.reasoning and "I hear" not in item.reasoning
            if item.answer_type != "code":
                assert verify(item, item.answer).right, item
            if item.task.startswith("dialogue"):
                assert [m["role"] for m in item.messages] == ["user", "assistant", "user"]
                assert item.extra["given"] in item.messages[0]["content"]
    assert set(families) == set(text_tasks.FAMILIES)


def test_text_tasks_share_no_facts(texts):
    digests = {split: {item.source["hash"] for item in items} for split, items in texts.items()}
    assert not digests["train"] & digests["test"]
    assert all(core.split_of(digest) == split for split, found in digests.items() for digest in found)


def test_code_tasks_run(texts):
    programs = [item for item in texts["train"] if item.answer_type == "code"]
    assert len(programs) > 10
    for item in programs:
        space: dict = {}
        exec(item.answer.removeprefix("```python\n").removesuffix("\n```"), space)
        for test in item.tests:
            exec(test, space)
    item = programs[0]
    assert verify(item, item.answer).right
    assert not verify(item, item.answer.replace("return ", "return 1 and not ")).right
    facts = {"name": "f", "keep": "above", "change": "add", "combine": "largest", "k": 3, "m": 2}
    assert text_tasks_code.expected(facts, [1, 3, 5, 4]) == 7 and text_tasks_code.expected(facts, [1]) == 0


def test_text_only_suite_has_no_sound():
    with pytest.raises(ValueError, match="text only"):
        soundworld.suite("text_tasks")
    with pytest.raises(ValueError, match="crossed"):
        soundworld.sample("opera")
    assert soundworld.SUITES == ("music", "sound", "speech")
