"""Whether there is something to hear, balanced and honest; and open questions with the facts that score them."""

import collections
import math

import numpy as np
import pytest

from earwitness import soundworld
from earwitness.evaluate import shortcuts
from earwitness.rewards.scores import verify
from earwitness.soundworld import core, hearing, open_ended
from earwitness.soundworld.hearing_scenes import source


@pytest.fixture(scope="module")
def items():
    counts = {"train": 400, "validation": 60, "test": 120, "heldout": 80}
    return {split: [soundworld.sample("hearing", split, i) for i in range(n)] for split, n in counts.items()}


def test_phrasings():
    for kind in (*hearing.TYPES, *open_ended.TYPES):
        train, heldout = kind.phrasings.all("train"), kind.phrasings.all("heldout")
        assert min(len(train), len(heldout)) >= 30, kind.name
        assert not set(train) & set(heldout), kind.name
        assert not [text for text in train + heldout if " ?" in text or "  " in text], kind.name


def test_hearing_is_claimed_exactly_where_there_is_sound(items):
    claims = {"yes", "false", "music", "speech", "everyday sounds"}
    for split, some in items.items():
        for item in some:
            condition, wave = item.extra["condition"], soundworld.waveform(item)
            if item.task == "which":
                assert (item.answer == "nothing") == (condition != "sound")
            else:
                assert (item.answer in claims) == (condition == "sound")
            assert (item.audio == ()) == (condition == "missing") == (len(wave) == 0)
            if condition == "silent":
                assert not wave.any() and len(wave) == round(item.facts["seconds"] * core.SAMPLE_RATE)
            if condition == "sound":
                assert abs(20 * np.log10(np.sqrt(np.mean(wave**2))) - item.facts["level_db"]) < 0.3
            assert item.reasoning.endswith(f"So the answer is {item.answer}.")
            assert "cannot" not in item.reasoning
            assert all(verify(item, said).right for said in (item.answer,)) and item.answer not in item.acceptable
            assert (item.facts["seconds"] > 3.1) == (split == "heldout")


def test_conditions_are_balanced(items):
    counts = collections.Counter(item.extra["condition"] for item in items["train"])
    assert 0.45 < counts["sound"] / 400 < 0.65
    assert abs(counts["silent"] - counts["missing"]) < 4 * math.sqrt(counts["silent"] + counts["missing"])
    for task in ("can_hear", "hear_nothing"):
        some = [item.answer for item in items["train"] if item.task == task]
        assert abs(collections.Counter(some)[some[0]] - len(some) / 2) < 2 * math.sqrt(len(some))


def test_scenes_stay_in_the_split_of_their_suite(items):
    seen: dict[str, set[str]] = {}
    for split, some in items.items():
        hashes = {item.source["hash"] for item in some}
        assert all(core.split_of(digest) == split for digest in hashes)
        scenes = [item.facts["scene"] for item in some if item.extra["condition"] == "sound"]
        seen[split] = {core.facts_hash(source(f["suite"]), f) for f in scenes}
        assert all(core.split_of(digest) == split for digest in seen[split])
    assert not seen["train"] & seen["test"]


def test_which_has_one_of_the_two(items):
    for item in items["train"]:
        if item.task == "which" and item.answer != "nothing":
            params, scene, heard = item.extra["params"], item.facts["scene"], item.facts["heard"]
            names = {e[params["attribute"]] for e in scene["events"] if e["start"] < heard}
            assert names & {params["x"], params["y"]} == {item.answer}


def test_no_shortcut_from_the_text_or_from_length_and_level_of_sounds(items):
    train, test = items["train"], items["test"] + items["validation"]
    limit = shortcuts.chance(test) + 0.03 + 2.5 * math.sqrt(0.25 / len(test))
    assert shortcuts.text_accuracy(train, test) < limit
    # The level that a clip would have, had it a sound, and its length; a silent clip itself has none, which is asked.
    heard = [np.array([(s.facts["seconds"], s.facts["level_db"]) for s in part]) for part in (train, test)]
    assert shortcuts.level_accuracy(train, test, *heard) < limit


# Open questions


def test_open_ended_items_list_the_facts_that_score_them():
    tasks = set()
    for split in ("train", "test", "heldout"):
        for i in range(12):
            item = soundworld.sample("open_ended", split, i)
            tasks.add(item.task)
            scene = item.facts["scene"]
            assert item.answer_type == "open" and item.choices == () and not verify(item, item.answer).right
            assert core.split_of(core.facts_hash(source(scene["suite"]), scene)) == split
            assert len(item.extra["facts"]) >= 4
            for fact in item.extra["facts"]:
                assert set(fact) == {"kind", "value", "text"} and fact["text"] in item.rubric
                assert fact["text"][1:] in item.answer
            assert abs(len(soundworld.waveform(item)) / core.SAMPLE_RATE - scene["seconds"]) < 1e-3
    assert tasks == {t.name for t in open_ended.TYPES}


def test_facts_of_a_row_of_notes_by_hand():
    rows = [("C4", 60, "flute", "loud"), ("G4", 67, "bell", "soft"), ("A3", 57, "flute", "soft")]
    events = [{"note": n, "midi": m, "timbre": t, "loudness": x} for n, m, t, x in rows]
    told = {f["kind"]: f for f in open_ended.covered({"suite": "music", "events": events})}
    assert told["highest"]["value"] == "2" and "G4" in told["highest"]["text"]
    assert told["lowest"]["value"] == "3" and told["direction"]["value"] == "down"
    assert told["count"]["value"] == "3" and told["loud"]["value"] == "1"
    assert told["timbres"]["value"] == "flute,bell" and told["timbres"]["text"].endswith("flute and bell")
