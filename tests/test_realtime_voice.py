"""Clauses of a text that is being written, and the embedded voice."""

import ctypes.util
import time

import numpy as np
import pytest

from earwitness.realtime.voice import VOICES, Clauses, EspeakVoice, speak

TEXT = 'Yes, Mr. Lee has 3.5 of 1,000 apples. He said "no!" and left;\nso it is invalid: two plus two is four'


def test_clauses_are_the_text_and_keep_numbers_and_names_whole():
    for size in (1, 3, 1000):
        clauses, found = Clauses(), []
        for i in range(0, len(TEXT), size):
            found += clauses.push(TEXT[i : i + size])
        found += clauses.end()
        assert "".join(found) == TEXT
        assert found[:2] == ["Yes, ", "Mr. Lee has 3.5 of 1,000 apples. "] and found[-1] == "two plus two is four"


def test_a_clause_is_cut_between_words_when_it_grows_long():
    clauses = Clauses(longest=20)
    found = [*clauses.push("one two three four five six seven"), *clauses.end()]
    assert "".join(found) == "one two three four five six seven" and max(map(len, found)) <= 20
    assert all(part.endswith(" ") for part in found[:-1])
    assert Clauses(longest=5).push("incomprehensibilities") == []


def test_the_first_clause_leaves_before_the_text_is_complete():
    pytest.importorskip("espeakng_loader")
    read = []

    def words():
        for word in ("Three ", "apples, ", "because ", "five ", "minus ", "two."):
            read.append(word)
            yield word

    stream = speak(words(), EspeakVoice())
    first = next(stream)
    assert (first.text, len(read)) == ("Three apples, ", 2)
    said = [first, *stream]
    assert "".join(piece.text for piece in said) == "Three apples, because five minus two."
    assert all(piece.wave.dtype == np.float32 and np.abs(piece.wave).max() > 0.05 for piece in said)


def test_speech_begins_within_20_milliseconds():
    pytest.importorskip("espeakng_loader")
    voice = EspeakVoice()
    voice.say("Warm up.")
    spent = []
    for clause in ("The answer is seven.", "No, it is invalid.", "There are four apples."):
        start = time.thread_time()
        wave = voice.say(clause)
        spent.append(time.thread_time() - start)
        assert np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())[0] < 0.02 * voice.rate
    assert sorted(spent)[1] < 0.02  # of this thread's processor time, whatever else the machine does


def test_faster_is_shorter_and_voices_differ():
    pytest.importorskip("espeakng_loader")
    text = "How many are there?"
    normal, fast = EspeakVoice().say(text), EspeakVoice(speed=1.5).say(text)
    assert len(fast) < 0.85 * len(normal)
    other = EspeakVoice("alloy").say(text)
    assert len(other) != len(normal) or not np.allclose(other, normal, atol=0.05)
    assert len(set(VOICES.values())) >= 10
    with pytest.raises(ValueError, match="no voice"):
        EspeakVoice("nobody").say("x")
    assert np.abs(EspeakVoice().say("...")).max(initial=0) == 0


def test_a_clause_waits_only_while_it_may_go_on():
    clauses = Clauses(longest=30, first=10)
    assert clauses.push("one two three four five six") == ["one two "]
    assert clauses.settle() == [] and clauses.push(", ") == ["three four five six, "]
    for text, whole in (("It is 3.", False), ("It is it.", True), ("Mr.", False), ("Yes", False)):
        clauses = Clauses()
        assert clauses.push(text) == [] and clauses.settle() == ([text] if whole else [])


@pytest.mark.skipif(ctypes.util.find_library("flite_cmu_us_rms") is None, reason="flite is not installed")
def test_flite_speaks_where_the_system_has_it():
    from earwitness.realtime.flite import FliteVoice

    wave = FliteVoice().say("How many are there?")
    assert 0.5 < len(wave) / FliteVoice.rate < 3 and np.abs(wave).max() > 0.05
    assert np.flatnonzero(np.abs(wave) > 0.01 * np.abs(wave).max())[0] < 0.02 * FliteVoice.rate
    assert len(FliteVoice(speed=1.5).say("How many are there?")) < 0.85 * len(wave)
    assert not np.array_equal(FliteVoice("alloy").say("Yes."), FliteVoice().say("Yes."))
    with pytest.raises(ValueError, match="no voice"):
        FliteVoice("nobody")
