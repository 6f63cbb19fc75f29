"""The speech suite: what is asked can be answered from the facts, heard in the sound, and from nothing else."""

import collections
import dataclasses
import math

import numpy as np
import pytest

from earwitness.soundworld import core
from earwitness.soundworld.speech import SUITE, _speak, recordings
from earwitness.soundworld.speech_facts import CATEGORY
from earwitness.soundworld.voices import synthesise

RATE = core.SAMPLE_RATE


@pytest.fixture(scope="module")
def drafts():
    return {
        split: [core.draw(SUITE, split, i) for i in range(1200 if split == "train" else 150)] for split in core.SPLITS
    }


def test_types_and_phrasings():
    assert len(SUITE.types) >= 16
    for kind in SUITE.types:
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name
        assert not [text for text in train + heldout if " ?" in text or "  " in text], kind.name
    share: dict[int, float] = collections.defaultdict(float)
    for kind in SUITE.types:
        share[kind.steps] += kind.weight / sum(t.weight for t in SUITE.types)
    assert 0.15 <= share[1] <= 0.22 and share[3] >= 0.45


def test_every_type_is_reached_with_its_answer_and_chain(drafts):
    names = {d.type.name for d in drafts["train"]}
    assert names == {t.name for t in SUITE.types}
    for split, items in drafts.items():
        for d in items:
            assert d.type.answer(d.facts, d.params) == d.answer and d.answer in d.params["choices"]
            assert len(set(d.params["choices"])) == len(d.params["choices"]) and 2 <= len(d.params["choices"]) <= 5
            chain = d.type.chain(d.facts, d.params)
            assert chain.endswith(f" {d.answer}.") and len(set(chain.split())) >= 8, chain
            assert len(chain.split()) <= 180, chain
            words = [e["word"] for e in d.facts["events"] if "word" in e]
            assert len(set(words)) == len(words)
            if split == "heldout" and words and d.type.name != "how_many_words":
                assert len(words) == 5


def test_splits_share_no_facts(drafts):
    for split, items in drafts.items():
        assert all(core.split_of(core.facts_hash(SUITE, d.facts)) == split for d in items)
    digests = [{d.digest for d in items} for items in drafts.values()]
    assert len(set.union(*digests)) == sum(map(len, digests))


def test_answers_are_uniform_over_their_places(drafts):
    for kind in SUITE.types:
        items = [d for d in drafts["train"] if d.type is kind]
        sizes = {len(d.params["choices"]) for d in items}
        assert len(sizes) == 1
        size = sizes.pop()
        for counts in (
            collections.Counter(d.params["choices"].index(d.answer) for d in items),
            collections.Counter(sorted(d.params["choices"]).index(d.answer) for d in items),
        ):
            chi2 = sum((counts[i] - len(items) / size) ** 2 for i in range(size)) * size / len(items)
            # Wilson and Hilferty's bound at about p = 1e-4
            k = size - 1
            assert chi2 < k * (1 - 2 / (9 * k) + 3.7 * math.sqrt(2 / (9 * k))) ** 3, (kind.name, counts)


@pytest.mark.parametrize("name", ["how_many_words", "how_many_by", "more_of", "sentence_pace"])
def test_length_and_level_do_not_tell_the_answer(name):
    suite = dataclasses.replace(SUITE, types=(SUITE.type(name),))
    items = [core.draw(suite, "train", i) for i in range(80)]
    for field in ("seconds", "level_db"):
        groups = collections.defaultdict(list)
        for d in items:
            groups[d.answer].append(d.facts[field])
        means = [np.mean(values) for values in groups.values()]
        assert max(means) - min(means) < 1.6 * np.std([d.facts[field] for d in items])


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_render(split, drafts):
    for i, d in enumerate(drafts[split][:40]):
        wave, spans = core.render(SUITE, d.facts, f"{split}/{i}")
        assert wave.dtype == np.float32 and len(wave) == round(d.facts["seconds"] * RATE)
        assert abs(20 * np.log10(np.sqrt(np.mean(wave**2))) - d.facts["level_db"]) < 0.3
        assert np.mean(np.abs(wave) >= 1) < 1e-3
        assert 1.4 < d.facts["seconds"] < 5.6
        for s in spans:
            assert s.tag in SUITE.tags and 0 <= s.start < s.end <= d.facts["seconds"] + 1e-3
        found = [s.tag.removeprefix("word=") for s in sorted(spans, key=lambda s: s.start) if s.tag.startswith("word=")]
        assert found == d.facts["transcript"].split()
        speakers = sorted((s.start, s.end) for s in spans if s.tag.startswith("speaker="))
        assert all(b[0] - a[1] >= 0.075 for a, b in zip(speakers, speakers[1:]))


def test_render_is_deterministic(drafts):
    items = drafts["train"][:12]
    first = [core.render(SUITE, d.facts, str(i)) for i, d in enumerate(items)]
    for i, d in reversed(list(enumerate(items))):
        wave, spans = core.render(SUITE, d.facts, str(i))
        assert np.array_equal(wave, first[i][0]) and spans == first[i][1]
    assert core.draw(SUITE, "test", 3) == core.draw(SUITE, "test", 3)


def test_captions_tell_every_word(drafts):
    for d in drafts["test"]:
        caption = SUITE.caption(d.facts)
        for event in d.facts["events"]:
            assert event.get("word", event.get("sentence")) in caption and event["speaker"] in caption


def test_unknown_voice_is_one_sentence():
    with pytest.raises(ValueError, match="no voice 'en-US[+]nobody'"):
        synthesise("cat", "en-US+nobody")


def _f0(wave):
    parselmouth = pytest.importorskip("parselmouth")
    f0 = (
        parselmouth.Sound(wave.astype(float), RATE)
        .to_pitch(pitch_floor=60, pitch_ceiling=500)
        .selected_array["frequency"]
    )
    return f0[f0 > 0]


def _said(voice, **event):
    facts = {"voices": "train", "background": "none"}
    return _speak(facts, {"pace": "normal", "start": 0.0, "end": 3.0, **event}, (voice, 46, 48), core.rng_of(voice))[0]


@pytest.mark.parametrize("man, woman", [("en-US+m2", "en-US+f1"), ("en+m6", "en+f4")])
def test_attributes_can_be_measured(man, woman):
    def pitch(voice):
        return np.median(np.concatenate([_f0(_said(voice, word=w)) for w in ("tiger", "yellow", "window")]))

    assert pitch(woman) > 1.4 * pitch(man)
    loud, quiet = (_said(man, word="dog", loudness=x) for x in ("loud", "quiet"))
    assert 13 < 20 * np.log10(np.std(loud) / np.std(quiet)) < 15
    slow, fast = (_said(man, word="rabbit", pace=x) for x in ("slow", "fast"))
    assert len(slow) > 1.7 * len(fast)
    for voice in (man, woman):
        sentence = {"sentence": "the zebra is yellow", "style": "neutral"}
        up, down = (_f0(_said(voice, **sentence, intonation=x)) for x in ("rising", "falling"))
        assert up[-1] > 1.12 * np.min(up[-15:]) and down[-1] < 1.06 * np.min(down[-15:])
        styles = [_f0(_said(voice, sentence="the zebra is yellow", style=x)) for x in ("sad", "neutral", "cheerful")]
        medians = [np.median(f) for f in styles]
        assert medians[1] > 1.05 * medians[0] and medians[2] > 1.15 * medians[1]
        assert np.std(styles[2]) > 2 * np.std(styles[0])


def test_held_out_recordings():
    for speaker in ("rms", "slt"):
        words = recordings(speaker)
        assert set(words) == set(CATEGORY)
        assert all(0.1 < len(w) / RATE < 0.75 and np.abs(w).max() > 0.05 for w in words.values())
    assert np.median(_f0(recordings("slt")["yellow"])) > 1.3 * np.median(_f0(recordings("rms")["yellow"]))
