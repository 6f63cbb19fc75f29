"""Words crossed with voice: balanced, with sentences and speakers of its own in every split, voices that differ."""

import collections
import itertools
import math

import numpy as np
import pytest

from earwitness import soundworld
from earwitness.evaluate import shortcuts
from earwitness.soundworld import core
from earwitness.soundworld.crossed import SUITE, VALUES, VOICES
from earwitness.soundworld.speech import _VOICES

RATE = core.SAMPLE_RATE


@pytest.fixture(scope="module")
def drafts():
    counts = {"train": 700, "validation": 150, "test": 250, "heldout": 150}
    return {split: [core.draw(SUITE, split, i) for i in range(n)] for split, n in counts.items()}


def test_phrasings():
    for kind in SUITE.types:
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name


def test_words_and_voice_are_fully_crossed(drafts):
    for asked in ("voice", "words"):
        cells = collections.Counter(
            (d.facts["events"][0]["words"], d.facts["events"][0]["voice"])
            for d in drafts["train"]
            if d.type.name == asked
        )
        total = sum(cells.values())
        assert set(cells) == set(itertools.product(VALUES, VALUES))
        chi2 = sum((n - total / 9) ** 2 for n in cells.values()) * 9 / total
        assert chi2 < 8 * (1 - 2 / 72 + 3.7 * math.sqrt(2 / 72)) ** 3


def test_sentences_and_speakers_are_disjoint(drafts):
    sentences = {split: {d.facts["transcript"] for d in items} for split, items in drafts.items()}
    speakers = {split: {d.facts["events"][0]["name"] for d in items} for split, items in drafts.items()}
    for a, b in itertools.combinations(core.SPLITS, 2):
        assert not sentences[a] & sentences[b] and not speakers[a] & speakers[b]
    assert all(core.split_of(d.digest) == split for split, items in drafts.items() for d in items)
    assert min(len(s) for s in sentences.values()) > 20
    trained = {name for names in _VOICES["train"].values() for name in names}
    assert not trained & {name for s in ("validation", "test", "heldout") for g in VOICES[s].values() for name in g}


def test_answers_chains_and_captions(drafts):
    for items in drafts.values():
        for d in items:
            event = d.facts["events"][0]
            same = event["words"] == event["voice"]
            wanted = {"voice": event["voice"], "words": event["words"], "agree": "agree" if same else "conflict"}
            assert d.answer == wanted[d.type.name] == d.type.answer(d.facts, d.params)
            assert d.type.chain(d.facts, d.params).endswith(f"So the answer is {d.answer}.")
            caption = SUITE.caption(d.facts)
            assert event["sentence"] in caption and f"{event['voice']} voice" in caption
            assert f"words are {event['words']}" in caption


def test_no_shortcut():
    train = [soundworld.sample("crossed", "train", i) for i in range(700)]
    test = [soundworld.sample("crossed", "test", i) for i in range(500)]
    heard = [np.array([(s.facts["seconds"], s.facts["level_db"]) for s in part]) for part in (train, test)]
    limit = shortcuts.chance(test) + 0.03 + 2.5 * math.sqrt(0.25 / len(test))
    assert shortcuts.text_accuracy(train, test) < limit
    assert shortcuts.level_accuracy(train, test, *heard) < limit


def test_render(drafts):
    for i, d in enumerate(drafts["test"][:10] + drafts["heldout"][:10]):
        wave, spans = core.render(SUITE, d.facts, str(i))
        assert len(wave) == round(d.facts["seconds"] * RATE)
        assert {s.tag for s in spans} <= set(SUITE.tags)
        said = [s.tag[5:] for s in sorted(spans, key=lambda s: s.start) if s.tag.startswith("word=")]
        assert said == d.facts["transcript"].split()
        assert np.array_equal(core.render(SUITE, d.facts, str(i))[0], wave)


def _measured(facts, voice):
    """Return (median Hz, spread in semitones, seconds of speech) of a sentence in one of the three voices."""
    parselmouth = pytest.importorskip("parselmouth")
    event = {**facts["events"][0], "voice": voice}
    wave, spans = SUITE.render({**facts, "events": [event]}, core.rng_of(voice))
    start, end = next((s.start, s.end) for s in spans if s.tag.startswith("speaker="))
    sound = parselmouth.Sound(wave[round(start * RATE) : round(end * RATE)].astype(float), RATE)
    f0 = sound.to_pitch(pitch_floor=50, pitch_ceiling=600).selected_array["frequency"]
    return (
        float(np.median(f0[f0 > 0])),
        float(12 * np.log2(np.divide(*np.percentile(f0[f0 > 0], (85, 15))))),
        end - start,
    )


@pytest.mark.parametrize("split", ["train", "test", "heldout"])
def test_voices_can_be_told_apart(split, drafts):
    one_of_each = {d.facts["events"][0]["name"]: d.facts for d in drafts[split]}
    for facts in list(one_of_each.values())[:5]:
        high, even, low = (_measured(facts, voice) for voice in VALUES)
        assert high[0] > 1.2 * even[0] > 1.2 * 1.1 * low[0]
        assert high[1] > 1.5 * low[1]
        assert 1.15 * high[2] < even[2] and 1.15 * even[2] < low[2]
