"""The sound suite: what is asked can be answered from the facts, heard in the sound, and from nothing else."""

import collections
import dataclasses
import math

import numpy as np
import pytest

from earwitness.soundworld import core
from earwitness.soundworld.sound import SUITE
from earwitness.soundworld.sound_questions import SHOWN_TRENDS, SUSTAINED
from earwitness.soundworld.sound_synth import BACKGROUNDS, RECIPES, background, event

RATE = core.SAMPLE_RATE


def only(name):
    return dataclasses.replace(SUITE, types=(SUITE.type(name),))


@pytest.fixture(scope="module")
def drafts():
    return {
        split: [core.draw(SUITE, split, i) for i in range(1500 if split == "train" else 150)] for split in core.SPLITS
    }


def unlike(counts, size):
    """Whether counts over ``size`` places differ from uniform at about p = 1e-4 (Wilson and Hilferty)."""
    total, k = sum(counts.values()), size - 1
    chi2 = sum((counts[i] - total / size) ** 2 for i in range(size)) * size / total
    return chi2 > k * (1 - 2 / (9 * k) + 3.7 * math.sqrt(2 / (9 * k))) ** 3


def test_types_and_phrasings():
    assert len(SUITE.types) >= 16 and len(RECIPES) >= 12
    share = collections.Counter()
    for kind in SUITE.types:
        share[kind.steps] += kind.weight / sum(t.weight for t in SUITE.types)
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name
        assert not [text for text in train + heldout if " ?" in text or "  " in text], kind.name
    assert 0.15 <= share[1] <= 0.2 and 0.25 <= share[2] <= 0.35 and share[3] >= 0.45


def test_every_type_is_reached_with_its_answer_and_chain(drafts):
    for split, items in drafts.items():
        for d in items:
            assert d.type.answer(d.facts, d.params) == d.answer
            choices = d.params["choices"]
            assert len(set(choices)) == len(choices) and 2 <= len(choices) <= 5
            chain = d.type.chain(d.facts, d.params)
            assert chain.endswith(f" {d.answer}.") and len(set(chain.split())) >= 8 and len(chain.split()) <= 180, chain
            n = len(d.facts["events"])
            if d.type.name != "trend":
                assert n in ((7, 8) if split == "heldout" else range(2, 7))
    assert {d.type.name for d in drafts["train"]} == {t.name for t in SUITE.types}


@pytest.mark.parametrize("name", [t.name for t in SUITE.types])
def test_answers_are_uniform(name):
    items = [core.draw(only(name), "train", i) for i in range(400)]
    size = len(items[0].params["choices"])
    assert {len(d.params["choices"]) for d in items} == {size}
    assert not unlike(collections.Counter(d.params["choices"].index(d.answer) for d in items), size)
    assert not unlike(collections.Counter(sorted(d.params["choices"]).index(d.answer) for d in items), size)


def test_splits_share_no_facts(drafts):
    for split, items in drafts.items():
        assert all(core.split_of(core.facts_hash(SUITE, d.facts)) == split for d in items)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_render(split, drafts):
    for i, d in enumerate(drafts[split][:40]):
        wave, spans = core.render(SUITE, d.facts, f"{split}/{i}")
        assert wave.dtype == np.float32 and len(wave) == round(d.facts["seconds"] * RATE)
        assert abs(20 * np.log10(np.sqrt(np.mean(wave**2))) - d.facts["level_db"]) < 0.3
        assert np.mean(np.abs(wave) >= 1) < 1e-3
        for s in spans:
            assert s.tag in SUITE.tags and 0 <= s.start < s.end <= d.facts["seconds"] + 1e-3
        heard = [s.tag.removeprefix("sound=") for s in spans if s.tag.startswith("sound=")]
        assert heard == [e["sound"] for e in d.facts["events"]]
        rows = d.facts["events"][1:] if d.facts["overlap"] else d.facts["events"]
        assert all(b["start"] - a["end"] >= 0.079 for a, b in zip(rows, rows[1:]))


def test_draws_and_sound_are_repeatable(drafts):
    for i, d in enumerate(drafts["train"][:12]):
        assert core.draw(SUITE, "train", i) == d
        first, again = (core.render(SUITE, d.facts, str(i)) for _ in range(2))
        assert np.array_equal(first[0], again[0]) and first[1] == again[1]


@pytest.mark.parametrize("name", ["how_many", "overlap", "present", "count_sound"])
def test_length_level_and_padding_do_not_tell_the_answer(name):
    groups = collections.defaultdict(list)
    for i in range(300):
        d = core.draw(only(name), "train", i)
        events, seconds = d.facts["events"], d.facts["seconds"]
        trail = seconds - max(e["end"] for e in events)
        groups[d.answer].append((seconds, d.facts["level_db"], events[0]["start"], trail))
    spread = np.std(np.concatenate(list(groups.values())), axis=0)
    means = np.array([np.mean(rows, axis=0) for rows in groups.values()])
    assert np.all(np.ptp(means, axis=0) < 0.7 * spread), (means, spread)


@pytest.mark.parametrize("name", ["present", "count_sound", "count_distance_sound", "tail"])
def test_number_of_kinds_does_not_tell_the_answer(name):
    groups = collections.defaultdict(list)
    for i in range(400):
        d = core.draw(only(name), "train", i)
        groups[d.answer].append(len({e["sound"] for e in d.facts["events"]}))
    means = [np.mean(rows) for rows in groups.values()]
    assert max(means) - min(means) < 0.4, {k: collections.Counter(v) for k, v in groups.items()}


def test_trends_are_heard():
    for i in range(80):
        d = core.draw(only("trend"), "train", i)
        moving = d.facts["events"][0]
        wave, _ = core.render(SUITE, d.facts, str(i))
        part = wave[round(moving["start"] * RATE) : round(moving["end"] * RATE)]
        third = len(part) // 3
        change = 10 * np.log10(np.mean(part[-third:] ** 2) / np.mean(part[:third] ** 2))
        assert moving["sound"] in SUSTAINED and moving["trend"] in SHOWN_TRENDS
        assert change > 6 if moving["trend"] == "approaching" else change < -6, (moving, change)


@pytest.mark.parametrize("heldout", [False, True])
def test_every_sound_is_above_every_background(heldout):
    for name in RECIPES:
        near, far = (event(name, 0.5, far, core.rng_of(name, far), heldout) for far in (False, True))
        assert 10 < 20 * np.log10(np.std(near) / np.std(far)) < 14
        assert len(near) == len(far) == RATE // 2 and np.isfinite(near).all()
    for name in BACKGROUNDS:
        wave = background(name, RATE, core.rng_of(name))
        assert wave.dtype == np.float32 and abs(np.sqrt(np.mean(wave**2)) - 1) < 1e-3


def test_captions_tell_every_event(drafts):
    for d in drafts["test"]:
        caption = SUITE.caption(d.facts).lower()
        assert d.facts["background"] in caption
        assert all(f"{e['distance']} {e['sound']}" in caption for e in d.facts["events"])
