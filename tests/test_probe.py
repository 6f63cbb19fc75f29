"""The probe: each condition does to the sound what it says, and models that listen, read or guess are told apart."""

import dataclasses
import json
import random

import numpy as np
import pytest

from earwitness import cli, soundworld
from earwitness.commands import probe as probe_command
from earwitness.engines.protocol import Engine
from earwitness.evaluate import probe, tasks
from earwitness.evaluate.probe import chains, conditions, edits, measures
from earwitness.evaluate.runner import Settings, load_clip, run_task
from earwitness.evaluate.task import Dataset
from earwitness.grounding import Claim, Verdict
from earwitness.records import Reply, Sample

TASK = tasks.get("soundworld")


def items(suite, count):
    return [soundworld.sample(suite, "test", number) for number in range(count)]


def clip_of(messages):
    parts = [part for part in messages[-1]["content"] if part["type"] == "audio"]
    return load_clip(parts[0]["audio"]) if parts else None


# What is asked


def test_conditions_do_to_the_sound_what_they_say():
    samples = items("speech", 12)
    asked, sample = conditions.Conditions(TASK, samples), samples[0]
    real = clip_of(asked.messages("real", sample))
    heard = {
        name: clip_of(asked.messages(name, sample)) for name in conditions.CONDITIONS if asked.applies(name, sample)
    }
    assert heard["no_audio"] is None and not heard["silence"].any() and len(heard["silence"]) == len(real)
    assert np.std(heard["noise"]) == pytest.approx(np.std(real), rel=0.05)
    assert 0.4 < np.mean(heard["mask"] == 0) < 0.6 and np.isin(heard["mask"], [*real, 0]).all()
    assert np.allclose(heard["gain"], real * 10 ** (-3 / 20)) and len(heard["pad"]) == len(real) + 3200
    assert np.corrcoef(heard["codec"], real)[0, 1] > 0.7 and not np.array_equal(heard["codec"], real)
    again = clip_of(conditions.Conditions(TASK, samples).messages("mask", sample))
    assert np.array_equal(again, heard["mask"])  # an interrupted probe goes on with the same sounds
    told = asked.messages("transcript", sample)[-1]["content"]
    assert sample.transcript in told[0]["text"] and told[1]["text"].startswith(sample.question)


def test_another_sound_is_of_the_same_kind_of_question_and_another_answer():
    samples = items("music", 80)
    asked = conditions.Conditions(TASK, samples)
    paired = [s for s in samples if asked.applies("other", s)]
    assert len(paired) > 40
    for sample in paired:
        (clip,) = [p["audio"] for p in asked.messages("other", sample)[-1]["content"] if p["type"] == "audio"]
        donor = next(s for s in samples if np.array_equal(soundworld.waveform(s), clip))
        assert donor.task == sample.task and donor.answer != sample.answer


@pytest.mark.parametrize("suite", ["music", "sound", "speech"])
def test_an_edit_changes_the_sound_and_its_answer(suite):
    made = [(s, new) for s in items(suite, 60) for name in edits.EDITS if (new := edits.edited(s, name))]
    assert len(made) > 10
    for old, new in made[:12]:
        assert new.answer != old.answer and new.answer in new.choices and new.id == old.id
        assert new.extra["caption"] != old.extra["caption"]
        assert not np.array_equal(soundworld.waveform(new), soundworld.waveform(old))
    assert old.facts == soundworld.sample(suite, "test", int(old.id.split("-")[-1])).facts  # it is as it was


def test_a_mirrored_melody_is_measured_as_one():
    from earwitness.acoustics import Measurements
    from earwitness.grounding import verify_chain

    found = 0
    for sample in items("music", 200):
        new = edits.edited(sample, "pitch")
        if new is not None and sample.task == "contour":
            outcomes = {v.outcome for v in verify_chain(new.extra["caption"], Measurements(soundworld.waveform(new)))}
            assert "refuted" not in outcomes and "verified" in outcomes
            found += 1
    assert found


@pytest.mark.parametrize(
    ("claim", "turned"),
    [
        ("the second note is higher", "the second note is lower"),
        ("Note 1 is A3", "Note 1 is A6"),
        ("note 2 is E5", "note 2 is E2"),
        ("there are 3 notes", "there are 7 notes"),
        ("note 2 lasts 0.5 s", "note 2 lasts 2 s"),
        ("a flute plays", None),
    ],
)
def test_claims_are_turned_into_their_contrary(claim, turned):
    assert chains.contrary(claim) == turned


def test_the_last_true_claim_is_corrupted_and_the_chain_goes_on_from_it():
    chain = "The first is low. The second is high. So it is the second."
    verdicts = [
        Verdict(Claim("level", text, chain.index(text), chain.index(text) + len(text)), outcome, "")
        for text, outcome in (("first is low", "verified"), ("second is high", "refuted"))
    ]
    assert chains.corrupted(chain, verdicts) == "The first is high"
    assert chains.corrupted(chain, []) is None
    (last,) = chains.messages("corrupted", [], "The first is high")
    assert last == {"role": "assistant", "content": "<think>\nThe first is high", "eot": False}
    (half,) = chains.messages("early_50", [], "a b c d")
    assert half["content"] == "<think>\na b\n</think>\n"
    assert chains.messages("early_0", [], "a b c d")[0]["content"] == "<think>\n\n</think>\n"
    assert chains.messages("filler", [], "a b")[0]["content"] == "<think>\n... ...\n</think>\n"


# Who is found out


class Mock(Engine):
    """Answers from the sound (by looking up what was played), from words, or by chance; thinks what it heard."""

    def __init__(self, kind, samples):
        self.kind, self.name = kind, kind
        self._by_question = {TASK.text(s): s for s in samples}
        self._heard = {}
        for sample in samples:
            made = [new for name in edits.EDITS if (new := edits.edited(sample, name))]
            for each in (sample, *made):
                self._heard[soundworld.waveform(each).tobytes()] = each.facts
                self._heard[conditions._gain(soundworld.waveform(each), None).tobytes()] = each.facts

    def generate(self, requests, sampling=None, on_event=None):
        for request in requests:
            yield self.answer(request)

    def answer(self, request):
        turn = next(m for m in request.messages if m["role"] != "assistant")
        text = " ".join(part["text"] for part in turn["content"] if part["type"] == "text")
        sample = next(s for question, s in self._by_question.items() if text.endswith(question))
        guess = random.Random(text + str(request.seed)).choice(sample.choices)
        said = None
        if self.kind == "reader" and sample.domain == "spoken_math":
            said = sample.answer
        if self.kind == "listener" and (wave := clip_of([turn])) is not None:
            facts = self._heard.get(np.asarray(wave, np.float32).tobytes())
            kind = soundworld.suite(sample.domain).type(sample.task)
            said = kind.answer(facts, sample.extra["params"]) if facts else None
        chain = "" if request.think is False or self.kind != "listener" else "Note 1 is loud."
        return Reply(chain, said or guess, thinking_tokens=4)


def probed(kind, suite, folder, count=60, **more):
    samples, seen = [], set()
    for sample in items(suite, 3 * count):
        if TASK.text(sample) not in seen and len(samples) < count:
            seen.add(TASK.text(sample))
            samples.append(sample)
    data = Dataset(tuple(samples), "1", "0" * 64)
    return probe.probe(TASK, data, Mock(kind, samples), Settings(), folder, **more)["groups"][suite]


def test_a_listener_listens_and_a_guesser_guesses(tmp_path):
    found = probed("listener", "music", tmp_path / "a")
    assert found["verdict"] == measures.LISTENS
    assert found["real"]["accuracy"] == 1 and found["sensitivity"]["value"] == 1 and found["gain"]["value"] == 1
    assert found["silence"]["p"] < 1e-6 and found["silence"]["retention"] < 0.4
    assert found["silence"]["dependence"] > 0.4 and found["other"]["harm"] > 0.3 and found["other"]["help"] == 0
    assert {"early_0", "filler"} <= found["chains"].keys() and found["claims"]["chains"] == 60
    assert json.loads((tmp_path / "a" / "probe.json").read_text())["groups"]["music"] == found
    assert probed("guesser", "music", tmp_path / "b")["verdict"] == measures.GUESSES


def test_words_that_answer_accuse_nobody(tmp_path):
    found = probed("reader", "spoken_math", tmp_path, count=40)
    assert found["verdict"] == measures.WORDS and found["transcript"]["retention"] >= 0.9


def test_a_model_that_answers_without_the_sound_is_found_out():
    real = {str(i): {"robust": i % 4 != 0, "answer": "a"} for i in range(200)}
    samples = [Sample(str(i), question="?", choices=("a", "b"), domain="x", task="t") for i in range(200)]
    found = measures.measure({"real": real, "silence": real, "other": real}, samples)
    assert found["verdict"] == measures.DEAF and found["silence"]["retention"] == 1
    assert measures.measure({"real": real}, samples)["verdict"] == measures.OPEN


def test_what_the_answers_follow_where_voice_and_words_disagree():
    samples = items("crossed", 60)
    rows = {s.id: {"answer": s.facts["events"][0]["voice"]} for s in samples}
    found = measures.conflict(rows, samples)
    for counts in found.values():
        assert counts["voice"] == counts["n"] > 0 and counts["words"] == 0
    assert set(found) == {"asked for the voice", "asked for the words"}


def test_an_interrupted_probe_goes_on(tmp_path):
    asked = []

    def stop(row):
        asked.append(row["id"])
        if len(asked) == 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probed("listener", "music", tmp_path / "a", count=30, on_row=stop)
    more = []
    found = probed("listener", "music", tmp_path / "a", count=30, on_row=lambda row: more.append(row["id"]))
    whole = []
    assert found == probed("listener", "music", tmp_path / "b", count=30, on_row=lambda row: whole.append(row["id"]))
    assert len(more) == len(whole) - 70


def test_all_items_are_asked_what_the_verdict_rests_on_and_some_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "SOME", 20)
    found = probed("listener", "music", tmp_path, count=30)
    counts = {name: found[name]["n"] for name in ("real", "silence", "noise", "caption", "mask", "codec")}
    assert counts["real"] == counts["silence"] == 30
    assert {counts[name] for name in ("noise", "caption", "mask", "codec")} == {20}


class Nods(Engine):
    """Says yes."""

    name = "nods"

    def generate(self, requests, sampling=None, on_event=None):
        yield from (Reply("", "yes") for _ in requests)


def test_items_without_a_clip_on_purpose_are_asked(tmp_path):
    samples = items("hearing", 40)
    assert any(not s.audio for s in samples) and not any(edits.edited(s, name) for s in samples for name in edits.EDITS)
    data = Dataset(tuple(samples), "1", "0" * 64)
    summary = run_task(TASK, data, Nods(), Settings(), tmp_path)
    assert summary["counts"]["error"] == 0 and summary["n"] == 40


class Fails(Mock):
    """Refuses some questions, or to continue a turn."""

    def __init__(self, samples, refuses):
        super().__init__("listener", samples)
        self.refuses = refuses

    def answer(self, request):
        if self.refuses(request):
            raise OSError("the server refuses")
        return super().answer(request)


def test_an_error_is_no_wrong_answer(tmp_path, capsys):
    samples = [s for s in {TASK.text(s): s for s in items("music", 60)}.values()][:30]
    data, settings = Dataset(tuple(samples), "1", "0" * 64), Settings()
    bad = TASK.text(samples[3])

    def silent(request):
        wave = clip_of(request.messages)
        text = request.messages[0]["content"][0].get("text", "")
        return text.endswith(bad) and wave is not None and not np.any(wave)

    whole = probe.probe(TASK, data, Mock("listener", samples), settings, tmp_path / "a", think_tests=False)
    found = probe.probe(TASK, data, Fails(samples, silent), settings, tmp_path / "b", think_tests=False)
    assert whole["errors"] == {} and found["errors"] == {"silence": 1}
    assert found["groups"]["music"]["silence"]["n"] == whole["groups"]["music"]["silence"]["n"] - 1
    assert found["groups"]["music"]["noise"] == whole["groups"]["music"]["noise"]
    assert "1 items ended in an error under 'silence'; they count nowhere" in probe_command.remarks(found)[0]
    with pytest.raises(OSError, match="items failed in a row, the last because the server refuses"):
        probe.probe(TASK, data, Fails(samples, lambda request: True), settings, tmp_path / "c")
    few = Dataset(tuple(samples[:12]), "1", "0" * 64)
    with pytest.raises(OSError, match="no item was answered, the first because the server refuses"):
        probe.probe(TASK, few, Fails(samples, lambda request: True), settings, tmp_path / "d")


def test_a_server_that_continues_no_turn_is_probed_without_that(tmp_path):
    samples = [s for s in {TASK.text(s): s for s in items("music", 60)}.values()][:30]
    engine = Fails(samples, lambda request: request.continue_final)
    found = probe.probe(TASK, Dataset(tuple(samples), "1", "0" * 64), engine, Settings(), tmp_path)
    assert found["groups"]["music"]["verdict"] == measures.LISTENS and "chains" not in found["groups"]["music"]
    assert found["chain_tests"].startswith("left out: 20 items failed in a row")
    assert probe_command.remarks(found)[0].startswith("the tests of chains were left out")


def test_items_with_one_id_are_paired_with_themselves(tmp_path):
    samples = [s for s in {TASK.text(s): s for s in items("music", 60)}.values()][:20]
    twins = tuple(dataclasses.replace(s, id="same") for s in samples)
    found = probe.probe(TASK, Dataset(twins, "1", "0" * 64), Mock("listener", samples), Settings(), tmp_path)
    assert found["groups"]["music"]["n"] == 20 and found["groups"]["music"]["real"]["accuracy"] == 1


def test_the_command_needs_a_folder(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["probe", "--task", "soundworld"])
    assert left.value.code == 2 and "--out is missing" in capsys.readouterr().err
