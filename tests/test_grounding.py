"""Claims are verified and refuted rightly, surrogates found, contradictions noticed; each with its reason."""

import argparse
import collections
import io
import json
import wave

import numpy as np
import planted
import pytest
import synths
from chains import GROUNDED, REPORT, SURROGATES

from earwitness import soundworld
from earwitness.acoustics import Measurements
from earwitness.commands import ground
from earwitness.grounding import ClaimChecker, coherence, denies_hearing, detect, tally, verify_chain
from earwitness.grounding.extract import pieces

pytest.importorskip("parselmouth")


@pytest.fixture(scope="module")
def three_notes():
    """Return the measurements of C4 loud, G4 soft and long, E4 loud."""
    notes = [
        synths.tone(synths.hz_of(m), s, synths.PIPE, db)
        for m, s, db in ((60, 0.2, -18), (67, 0.5, -32), (64, 0.2, -18))
    ]
    return Measurements(synths.row(notes)[0])


def outcomes(chain, found):
    return [v.outcome for v in verify_chain(chain, found)]


def test_true_and_false_claims_of_the_heldout_half():
    figures = planted.score("heldout")
    assert figures["true"] >= 200 and figures["false"] >= 200
    for name in ("verified_precision", "verified_recall", "refuted_precision", "refuted_recall"):
        assert figures[name] >= 0.95, figures


def test_the_halves_share_no_sentence():
    for kind, forms in planted.SENTENCES["heldout"].items():
        assert not set(forms) & set(planted.SENTENCES["tuning"][kind]), kind


@pytest.mark.parametrize(
    ("sentence", "outcome"),
    [
        ("The second note is G4.", "verified"),
        ("The second note is F4.", "refuted"),
        ("The fifth note is soft.", "refuted"),
        ("The third note is not the highest.", "uncheckable"),
        ("The first note isn't higher than the second.", "verified"),
        ("The second note isn't higher than the first.", "refuted"),
        ("The first note is as loud as the third note.", "verified"),
        ("The first note is as loud as the second note.", "refuted"),
        ("A flute plays the first note.", "uncheckable"),
        ("Two voices overlap.", "uncheckable"),
    ],
)
def test_outcomes(three_notes, sentence, outcome):
    found = outcomes(sentence, three_notes)
    assert set(found) <= {outcome} if outcome == "uncheckable" else found == [outcome]


def test_near_the_border_nothing_is_decided():
    off = synths.row([synths.tone(synths.hz_of(60.5), 0.4)])[0]
    assert outcomes("The first note is C4.", Measurements(off)) == ["uncheckable"]
    alike = synths.row([synths.tone(300, 0.4, level_db=-20), synths.tone(300, 0.4, level_db=-22)])[0]
    assert outcomes("The first note is louder than the second.", Measurements(alike)) == ["uncheckable"]


def test_a_verdict_names_what_was_measured(three_notes):
    (verdict,) = verify_chain("The second note is higher than the first.", three_notes)
    assert verdict.reason == "+7.0 semitones"
    assert [round(q.number) for q in verdict.measured] == [67, 60]
    json.dumps(verdict.to_json())


def test_a_stream_gives_the_verdicts_of_the_whole(three_notes):
    chain = "There are three notes. The second is the softest. The first note is C4, the last one is A4."
    checker, streamed = ClaimChecker(three_notes), []
    for piece in pieces(chain):
        streamed += checker.feed(piece)
    assert len(streamed) == 2
    assert streamed + checker.flush() == verify_chain(chain, three_notes)


def test_swapping_the_sound_turns_the_verdict():
    chain = "The second note is higher than the first."
    a, b = synths.tone(300, 0.4), synths.tone(400, 0.4)
    assert outcomes(chain, Measurements(synths.row([a, b])[0])) == ["verified"]
    assert outcomes(chain, Measurements(synths.row([b, a])[0])) == ["refuted"]


@pytest.mark.parametrize("suite", ["music", "sound", "speech"])
def test_true_chains_of_soundworld_are_not_refuted(suite):
    counts = collections.Counter()
    for i in range(25):
        sample = soundworld.sample(suite, "test", i)
        counts.update(outcomes(sample.reasoning, Measurements(soundworld.waveform(sample))))
    assert counts["refuted"] <= 0.02 * (counts["verified"] + counts["refuted"]) + 1
    assert suite == "sound" or counts["verified"] > 10


def test_tally(three_notes):
    counts = tally(
        verify_chain("The first note is C4. The second note is C4. A flute plays the first note.", three_notes)
    )
    assert (counts["verified"], counts["refuted"], counts["uncheckable"]) == (1, 1, 1)
    assert counts["precision"] == 0.5 and counts["coverage"] == pytest.approx(2 / 3)
    assert tally([])["precision"] is None


# ---- surrogates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORT)
def test_chains_that_the_report_prints(name):
    chain, is_surrogate = REPORT[name]
    assert detect(chain).is_surrogate == is_surrogate


def test_surrogates_are_found_and_grounded_chains_left_alone():
    assert sum(detect(chain).is_surrogate for chain in SURROGATES) >= 0.9 * len(SURROGATES)
    assert sum(detect(chain).is_surrogate for chain in GROUNDED) <= 0.1 * len(GROUNDED)


def test_words_are_evidence_where_words_are_asked_about():
    chain = "The words are: the rice tastes great. The words suggest joy. The phrase suggests that they are positive."
    assert detect(chain).is_surrogate
    assert not detect(chain, about_words=True).is_surrogate
    assert detect("I cannot hear the audio, but the words are positive.", about_words=True).is_surrogate


def test_denial_of_hearing():
    assert denies_hearing("I'm sorry, as a language model I can't listen to audio.")
    assert not denies_hearing("I cannot hear any drums, only a flute.")
    assert not denies_hearing("I can hear the audio well.")


# ---- coherence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "answer", "kind"),
    [
        ("There are three notes. Then again there are many. There are four notes.", None, None),
        ("The first note is C4. The tempo is fast. The first note is D4.", None, "contradiction"),
        ("The first note is C4. Wait, actually the first note is D4.", None, None),
        ("The second note is higher than the first. The second note is lower than the first.", None, "contradiction"),
        ("G3 is higher than C5. So the answer is G3.", "G3", "false step"),
        ("Of bell against dog: 3 is more than 4.", None, "false step"),
        ("The second is higher. So the answer is second.", "first", "conclusion"),
        ("The second is higher. So the answer is the second.", "Second.", None),
        ("The note is loud and it is bright. " * 3, None, "repetition"),
        ("it goes up and up again " * 4, None, "repetition"),
        (" \n", None, "empty"),
    ],
)
def test_coherence(chain, answer, kind):
    assert [f.kind for f in coherence.check(chain, answer)][:1] == ([kind] if kind else [])


def test_chains_of_soundworld_are_coherent():
    for suite in ("music", "sound", "speech"):
        for i in range(60):
            sample = soundworld.sample(suite, "test", i)
            assert coherence.check(sample.reasoning, sample.answer) == []


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path):
    samples, _ = synths.row([synths.tone(440, 0.4), synths.tone(660, 0.4)])
    with wave.open(str(tmp_path / "clip.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((np.asarray(samples) * 32767).astype("<i2").tobytes())
    return str(tmp_path / "clip.wav")


def run(*argv):
    parser = argparse.ArgumentParser()
    ground.add_arguments(parser)
    return ground.run(parser.parse_args(list(argv)))


def test_command(clip, capsys, monkeypatch):
    chain = "The first note is A4. The second note is lower than the first. So the answer is first."
    assert run(clip, chain, "--answer", "second", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [c["outcome"] for c in record["claims"]] == ["verified", "refuted"]
    assert record["surrogate"]["is_surrogate"] is False
    assert [f["kind"] for f in record["faults"]] == ["conclusion"]
    monkeypatch.setattr("sys.stdin", io.StringIO(chain))
    assert run(clip, "-") == 0
    out = capsys.readouterr().out
    assert "refuted" in out and "1 verified, 1 refuted, 0 uncheckable" in out


def test_command_without_a_chain(clip):
    with pytest.raises(ValueError, match="no chain"):
        run(clip, "  ")
