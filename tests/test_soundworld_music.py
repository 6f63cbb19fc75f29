"""The music suite: what is asked can be answered from the facts, heard in the sound, and from nothing else."""

import collections
import dataclasses
import math

import numpy as np
import pytest

from earwitness.soundworld import core
from earwitness.soundworld.music import LOWEST, NUM_PITCHES, SUITE, TAGS
from earwitness.soundworld.music_synth import TIMBRES, note

RATE = core.SAMPLE_RATE
SIZES = {"train": 1200, "validation": 60, "test": 150, "heldout": 60}
_TRIALS = 100


@pytest.fixture(scope="module")
def drafts():
    return {split: [core.draw(SUITE, split, i) for i in range(n)] for split, n in SIZES.items()}


def _only(kind):
    return dataclasses.replace(SUITE, types=(kind,))


def test_types_and_phrasings():
    assert len(SUITE.types) >= 16
    assert len({kind.name for kind in SUITE.types}) == len(SUITE.types)
    for kind in SUITE.types:
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name
        assert not [text for text in train + heldout if " ?" in text or "  " in text], kind.name
        assert not [t for t in train + heldout if "long or long" in t or "short or short" in t], kind.name
    share: dict[int, float] = collections.defaultdict(float)
    for kind in SUITE.types:
        share[kind.steps] += kind.weight / sum(t.weight for t in SUITE.types)
    assert set(share) == {1, 2, 3} and share[3] >= 0.45


def test_the_plain_question_about_two_notes_is_trained():
    texts = SUITE.type("pair").phrasings.all("train")
    assert "which note is {relation}, the {x} or the {y}?" in texts


def test_every_type_is_reached_with_its_answer_and_chain(drafts):
    assert {d.type.name for d in drafts["train"]} == {t.name for t in SUITE.types}
    for d in (d for items in drafts.values() for d in items):
        choices = d.params["choices"]
        assert d.type.answer(d.facts, d.params) == d.answer and d.answer in choices
        assert len(set(choices)) == len(choices) and 2 <= len(choices) <= 5
        chain = d.type.chain(d.facts, d.params)
        assert chain.endswith(f" {d.answer}.") and len(set(chain.split())) >= 8, chain
        assert len(chain.split()) <= 180, chain
        assert "{" not in d.question, d.question


def test_draws_are_deterministic():
    assert [core.draw(SUITE, "test", i) for i in range(5)] == [core.draw(SUITE, "test", i) for i in range(5)]


def test_splits_share_no_facts(drafts):
    for split, items in drafts.items():
        assert all(core.split_of(core.facts_hash(SUITE, d.facts)) == split for d in items)
    digests = [{d.digest for d in items} for items in drafts.values()]
    assert len(set.union(*digests)) == sum(map(len, digests))


@pytest.mark.parametrize("kind", SUITE.types, ids=lambda kind: kind.name)
def test_answers_are_uniform_over_their_places(kind):
    items = [core.draw(_only(kind), "train", i) for i in range(_TRIALS)]
    size = len(items[0].params["choices"])
    assert {len(d.params["choices"]) for d in items} == {size}
    for counts in (
        collections.Counter(d.params["choices"].index(d.answer) for d in items),
        collections.Counter(sorted(d.params["choices"]).index(d.answer) for d in items),
    ):
        chi2 = sum((counts[i] - _TRIALS / size) ** 2 for i in range(size)) * size / _TRIALS
        # Wilson and Hilferty's bound at about p = 1e-4
        k = size - 1
        assert chi2 < k * (1 - 2 / (9 * k) + 3.7 * math.sqrt(2 / (9 * k))) ** 3, counts


@pytest.mark.parametrize("kind", SUITE.types, ids=lambda kind: kind.name)
def test_the_frame_of_a_clip_never_sees_the_answer(kind):
    """Whatever the proposals do, length, level and number of notes are those of the layout."""
    for index in range(10):
        draft = core.draw(_only(kind), "train", index)
        seen: list[core.Layout] = []

        def layout(rng, split, kind, params, seen=seen):
            seen.append(SUITE.layout(rng, split, kind, params))
            return seen[-1]

        again = core.draw(dataclasses.replace(_only(kind), layout=layout), "train", index)
        assert again == draft and len(seen) == 1
        assert (draft.facts["seconds"], draft.facts["level_db"]) == (seen[0]["seconds"], seen[0]["level_db"])
        if kind.name != "how_many":
            assert len(draft.facts["events"]) == seen[0]["n"]


def test_levels_and_durations_can_be_compared_within_a_clip(drafts):
    for d in (d for items in drafts.values() for d in items):
        events = d.facts["events"]
        timed = d.type.name in ("tempo", "rhythm")  # where the lengths are the question, they may be all short
        assert timed or {e["duration"] for e in events} == {"long", "short"}
        # Questions of pitch alone keep one loudness, so that nothing but pitch changes.
        assert d.params.get("plain") or {e["loudness"] for e in events} == {"loud", "soft"}
        gaps = [b["start"] - a["end"] for a, b in zip(events, events[1:])]
        assert min(gaps) >= 0.05 and events[-1]["end"] <= d.facts["seconds"]
        seconds = {v: [e["end"] - e["start"] for e in events if e["duration"] == v] for v in ("long", "short")}
        assert not seconds["long"] or min(seconds["long"]) > 1.8 * max(seconds["short"])


def test_pitches_that_are_compared_are_two_semitones_apart(drafts):
    compared = {"pair", "place_of_extreme", "timbre_of_extreme", "timbre_of_extreme_by_level", "steps", "contour"}
    for d in drafts["train"] + drafts["heldout"]:
        midi = [e["midi"] for e in d.facts["events"]]
        assert LOWEST <= min(midi) and max(midi) < LOWEST + NUM_PITCHES
        if d.type.name == "contour":  # its neighbours are compared, and no others
            assert np.abs(np.diff(midi)).min() >= 2
        elif d.type.name in compared:
            assert np.diff(sorted(midi)).min() >= 2


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_render(split, drafts):
    for i, d in enumerate(drafts[split][:25]):
        wave, spans = core.render(SUITE, d.facts, f"{split}/{i}")
        assert wave.dtype == np.float32 and len(wave) == round(d.facts["seconds"] * RATE)
        assert abs(20 * np.log10(np.sqrt(np.mean(wave**2))) - d.facts["level_db"]) < 0.3
        assert all(s.tag in TAGS and 0 <= s.start < s.end <= d.facts["seconds"] for s in spans)
        assert len(spans) == 6 * len(d.facts["events"]) + ("tempo" in d.facts)
        for place, event in enumerate(d.facts["events"], 1):
            own = {s.tag for s in spans if (s.start, s.end) == (event["start"], event["end"])}
            said = {f"{group}={event[group]}" for group in ("note", "timbre", "loudness", "duration")}
            assert own == said | {f"index={place}"}
        again, _ = core.render(SUITE, d.facts, f"{split}/{i}")
        assert np.array_equal(wave, again)


def test_loud_notes_are_about_14_db_above_soft_ones(drafts):
    gaps = []
    for i, d in enumerate(d for d in drafts["train"][:60] if not d.params.get("plain")):
        wave, _ = core.render(SUITE, d.facts, str(i))
        rms = collections.defaultdict(list)
        for e in d.facts["events"]:
            part = wave[round(e["start"] * RATE) : round(e["end"] * RATE)]
            rms[e["loudness"]].append(20 * np.log10(np.sqrt(np.mean(part**2))))
        gaps.append(min(rms["loud"]) - max(rms["soft"]))
    assert np.median(gaps) > 10 and min(gaps) > 6


def test_caption_names_every_note_as_the_facts_do(drafts):
    for d in drafts["train"][:40]:
        caption = SUITE.caption(d.facts)
        assert caption.startswith("Note 1 is a ")
        for place, e in enumerate(d.facts["events"], 1):
            said = f"ote {place} is a {e['loudness']} {e['duration']} {e['timbre']} {e['note']}"
            assert f"{said};" in caption or f"{said}." in caption, caption


@pytest.mark.parametrize("heldout", [False, True])
@pytest.mark.parametrize("timbre", TIMBRES)
def test_notes_sound_at_their_pitch(timbre, heldout):
    parselmouth = pytest.importorskip("parselmouth")
    for midi in (48, 60, 71, 83):
        hz = 440 * 2 ** ((midi - 69) / 12)
        wave = note(timbre, hz, 0.4, core.rng_of(timbre, midi), heldout)
        pitch = parselmouth.Sound(wave.astype(float), RATE).to_pitch(pitch_floor=90, pitch_ceiling=1200)
        heard = pitch.selected_array["frequency"]
        assert abs(1200 * np.log2(np.median(heard[heard > 0]) / hz)) < 50
