"""The recipe: what its steps choose and drop, and a whole run that goes on where it was stopped."""

import dataclasses
import json
import pathlib
from typing import Any

import engine_fixture
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoTokenizer

from earwitness import audio, soundworld
from earwitness.data import cold_start, dialogue, self_cognition
from earwitness.data.features import weights_hash
from earwitness.data.manifest import Manifest
from earwitness.grounding import LLMJudge
from earwitness.model.reasoner import AudioReasoner
from earwitness.records import Reply, Sample
from earwitness.soundworld.listing import listing
from earwitness.stages import answers, curate, distill, mgrd, mgrd_start, mgrd_steps, round_metrics
from earwitness.stages.mgrd_config import MgrdConfig
from earwitness.stages.start import StartConfig, from_nothing

SHIPPED = str(pathlib.Path(__file__).parent.parent / "configs" / "tiny" / "mgrd.yaml")
BELL = Sample("q", ("soundworld:music/train/3@1",), "Which?", choices=("loud", "soft"), answer="soft", domain="music")


def reply(thinking="I hear it.", answer="soft", status="complete"):
    return Reply(thinking, answer, status, thinking_tokens=3)


def judged(number=0, **values):
    values = {"complete": True, "mentions": True, "grounded": True, "coherent": True, "correct": True, **values}
    return distill.Judged(BELL, reply(f"chain {number}"), **values)


class Parrot:
    """Answers as a function of (sample, how it is asked)."""

    def __init__(self, say):
        self.say, self.asked = say, []

    def answers(self, samples, config):
        self.asked += [s.id for s in samples]
        return [[self.say(s, k) for k in range(config.samples)] for s in samples]


# Cold start


def test_no_chain_stands_on_a_sound():
    items = list(cold_start.world(("music", "speech", "hearing"), 0, 8))
    assert any(s.reasoning for s in items)
    learned = list(cold_start.heard(items))
    assert not [s.id for s in learned if s.audio and s.reasoning]
    assert {s.task for s in learned} >= {"caption", "transcribe", "list"}
    asked = cold_start.heard([Sample("c", ("a.wav",), messages=(
        {"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]},
        {"role": "assistant", "content": "<think>The transcript says so.</think>A bell."},
    ))])  # fmt: skip
    said = next(asked)
    assert dialogue.dialogue(said, "as_is")[1:] == (None, "A bell.")


def test_texts_have_chains_and_seeds_are_few():
    told = list(cold_start.text(0, 21))
    assert not any(s.audio for s in told) and sum(bool(s.reasoning) for s in told) == 14
    seeds = cold_start.seeds(("music", "sound"), 5, 3)
    assert len(seeds) == 3 and all(s.reasoning and s.audio for s in seeds)
    with pytest.raises(ValueError, match="201 seed chains"):
        cold_start.seeds(("music",), 0, 201)


def test_chains_of_text_cite_in_the_words_that_the_question_gives():
    told = [s for s in cold_start.text(0, 240) if s.question.startswith(cold_start.CITE.split("{")[0])]
    words = [s.question.split(": ", 1)[1].split(".")[0] for s in told]
    assert len(set(words)) > 15 and not any("hear" in w for w in words)
    assert all(w in s.reasoning and "The caption says" not in s.reasoning for s, w in zip(told, words))


def test_a_planted_chain_argues_from_the_caption_that_it_is_given():
    told = list(cold_start.planted(("music", "sound"), 0, 10))
    assert len(told) == 20 and all(s.audio and s.facts is None for s in told)
    assert all("The caption says" in s.reasoning and "I hear" not in s.reasoning for s in told)
    assert all(s.question.startswith(cold_start.CAPTIONED) for s in told)


def test_a_list_is_asked_of_captions_too():
    listed = [s for s in cold_start.text(0, 120) if s.task == "list"]
    assert listed and not any(s.audio or s.reasoning for s in listed)
    assert all(s.answer.startswith("1 ") for s in listed)


def test_a_list_names_every_event_by_what_is_asked_for():
    for name in ("music", "sound", "speech"):
        item = soundworld.sample(name, "train", 2)
        asked, listed = listing(item, np.random.default_rng(0))
        events = item.facts["events"]
        parts = listed.removesuffix(".").split(", ")
        assert [p.split(" ")[0] for p in parts] == [str(i + 1) for i in range(len(events))]
        named = [a for a in ("loudness", "timbre", "note", "duration", "sound", "distance", "word") if a in asked]
        assert named and all(str(e[a]) in part for a in named for e, part in zip(events, parts))


def test_a_gist_names_sounds_and_nothing_of_how_they_are():
    told = cold_start.gist(soundworld.sample("music", "train", 1))
    names = {e["timbre"] for e in told.facts["events"]}
    assert told.extra["caption"] == f"There is {', '.join(sorted(names))}."


# Questions that need the sound


def test_questions_that_need_no_sound_are_dropped_and_counted(tmp_path):
    clip = tmp_path / "a.wav"
    audio.write_wav(clip, engine_fixture.tone(0.7))
    kinds = ("needs", "said", "told", "guessed", "open")
    pool = [Sample(k, (str(clip),), f"{k}?", answer="yes") for k in kinds]
    pool[1] = dataclasses.replace(pool[1], transcript="yes it is")
    pool[2] = dataclasses.replace(pool[2], extra={"caption": "a bell"})
    pool[4] = dataclasses.replace(pool[4], answer=None)
    pool += [Sample("text", question="text?", answer="yes")]

    def say(sample, k):
        knows = {"said": "yes it is" in sample.question, "told": "a bell" in sample.question, "guessed": True}
        if sample.audio:
            assert np.abs(audio.load_audio(sample.audio[0])).max() == 0
            assert len(audio.load_audio(sample.audio[0])) == 16_000  # 0.7 s to the next half second
        else:
            assert "transcript" in sample.question or "described" in sample.question
        return reply(answer="yes" if knows.get(sample.id) else "no")

    counts = curate.select_questions(Parrot(say), pool, curate.QuestionsConfig(), tmp_path)
    kept = Manifest(tmp_path / "questions.jsonl")
    assert [kept[i].id for i in range(len(kept))] == ["needs", "open"]
    assert counts == {
        "asked": 6, "without sound": 1, "answered from transcript": 1, "answered from caption": 1,
        "answered from silence": 1, "without a key": 1, "kept": 2,
    }  # fmt: skip


def test_a_guess_that_is_right_now_and_then_does_not_drop_a_question(tmp_path):
    asked = Sample("q", (BELL.audio[0],), "?", answer="yes", transcript="words")
    parrot = Parrot(lambda sample, k: reply(answer="yes" if k else "no"))
    assert curate.select_questions(parrot, [asked], curate.QuestionsConfig(), tmp_path)["kept"] == 1


# Filters


def test_every_filter_removes_what_it_is_for_and_says_how_much():
    chains = [judged(0), judged(1, grounded=False), judged(2, coherent=False), judged(3, correct=False)]
    chains += [judged(4, aware=False), judged(5, complete=False), judged(6, grounded=None), judged(7, mentions=False)]
    passed, counts = distill.sieve(chains, "verified")
    assert [j.reply.thinking for j in passed] == ["chain 0", "chain 7"]
    assert counts == {
        "sampled": 8, "not complete": 1, "not grounded": 2, "unjudged": 1, "not coherent": 1, "not correct": 1,
        "not aware": 1, "passed": 2,
    }  # fmt: skip
    sizes = {name: len(distill.sieve(chains, name)[0]) for name in distill.VARIANTS}
    assert sizes == {"random": 7, "correct": 6, "mentions": 3, "verified": 2}


def test_without_a_key_a_chain_may_pass_and_unjudged_it_may_not():
    assert judged(correct=None).passes("correct") and not judged(grounded=None).passes("grounded")
    assert not judged(coherent=None).passes("coherent")


def test_chains_are_different_and_no_more_than_asked_for():
    chains = [judged(n) for n in (0, 0, 1, 2)]
    assert len(distill.choose(chains, per_question=5, most=0, seed=0)) == 3
    one = distill.choose(chains, per_question=1, most=0, seed=0)
    assert len(one) == 1 and distill.choose(chains, 1, 0, seed=0) == one
    others = [dataclasses.replace(j, sample=dataclasses.replace(BELL, id=str(n))) for n, j in enumerate(chains)]
    assert len(distill.choose(others, 1, most=2, seed=0)) == 2


def test_chains_of_a_real_sound_are_judged_and_written(tmp_path):
    item = next(s for s in cold_start.world(("music",), 0, 20) if s.task.startswith("loudness") or s.answer == "soft")
    said = [
        reply(item.reasoning, item.answer),
        reply(item.reasoning, "purple"),
        reply("The transcript says that it is loud. The caption mentions a flute.", item.answer),
        reply("But I cannot hear the audio. So the answer is a guess.", item.answer),
        reply("", "", "truncated"),
    ]
    config = distill.DistillConfig(prompt="Listen well.", least_verified=1)
    found = list(distill.judge_replies([(item, said)], config, tmp_path / "kept"))
    assert [j.complete for j in found] == [True] * 4 + [False]
    assert [j.correct for j in found[:3]] == [True, False, True]
    assert found[0].grounded and not found[2].grounded and found[2].surrogate
    assert found[3].aware is False and "cannot hear" in " ".join(found[3].reasons + ("cannot hear",))
    counts = distill.distill([(item, said)], config, tmp_path, seed=0)
    assert counts["sampled"] == 5 and counts["chains"] == 1
    learned = Manifest(tmp_path / "chains.jsonl")[0]
    assert learned.question == item.question and learned.reasoning == item.reasoning and learned.facts is None
    assert len((tmp_path / "judged.jsonl").read_text().splitlines()) == 5
    with pytest.raises(ValueError, match="none of 1 chains passed"):
        distill.distill([(item, said[3:4])], config, tmp_path, seed=0)


def test_a_judge_that_is_down_loses_no_reply_and_lets_none_pass(tmp_path, monkeypatch):
    def quick(url, keep):
        return LLMJudge(url, "any", keep=keep, tries=1, timeout_seconds=1)

    monkeypatch.setattr(distill, "LLMJudge", quick)
    asked = Sample("q", question="?", answer="yes")
    config = distill.DistillConfig(judge="http://127.0.0.1:9/v1")
    with pytest.raises(OSError, match="did not judge 2 of 2 chains"):
        distill.distill(
            [(asked, [reply("I hear a bell.", "yes")] * 2 + [reply("", "", "truncated")])], config, tmp_path, 0
        )
    rows = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [row["grounded"] for row in rows] == [None] * 3 and not (tmp_path / "chains.jsonl").exists()


def test_a_chain_that_says_nothing_of_the_sound_is_not_grounded(tmp_path):
    item = next(s for s in cold_start.world(("sound",), 0, 1))
    said = [reply(item.reasoning, item.answer), reply("The options were compared one by one.", item.answer)]
    found = list(distill.judge_replies([(item, said)], distill.DistillConfig(), tmp_path / "kept"))
    assert [j.grounded for j in found] == [True, False]
    strict = distill.DistillConfig(only_refuted=())  # measurements verify nothing of everyday sounds
    assert next(distill.judge_replies([(item, said)], strict, tmp_path / "kept")).grounded is False


# Self-cognition


@pytest.mark.parametrize(
    "condition, thinking, wrong",
    [
        ("sound", "There is a clip, and I hear 1 loud flute.", False),
        ("sound", "I cannot hear audio, as I am a text model.", True),
        ("sound", "There is nothing to hear.", True),
        ("silent", "There is a clip, and it is silent. So there is nothing to hear.", False),
        ("silent", "There is a clip, and I hear 1 loud flute.", True),
        ("missing", "There is no clip in the message.", False),
        ("missing", "I can hear a bell.", True),
        ("missing", "I hear nothing.", False),
    ],
)
def test_errors_of_self_cognition(condition, thinking, wrong):
    clips = () if condition == "missing" else ("a.wav",)
    query = Sample("h", clips, "Can you hear?", answer="yes", extra={"condition": condition})
    assert self_cognition.errs(query, reply(thinking, "the answer")) is wrong


def test_pairs_need_a_good_reply_and_one_that_errs():
    query = Sample("h", ("a.wav",), "Can you hear?", answer="yes", extra={"condition": "sound", "params": 1})
    good, bad = reply("I hear a bell.", "yes"), reply("I cannot hear audio.", "no")
    made = self_cognition.pair(query, [bad, good], [False, True], think=True)
    assert made.chosen == "<think>I hear a bell.</think>yes" and "cannot hear" in made.rejected
    assert made.id == "h-think" and made.extra == {"condition": "sound"}
    assert self_cognition.pair(query, [good], [True], True) is None
    assert self_cognition.pair(query, [bad], [False], True, [good]) is None  # what was tempted is never chosen
    lured = self_cognition.pair(query, [reply("", "yes", "complete")], [True], False, [reply("", "I cannot hear it.")])
    assert (lured.chosen, lured.rejected) == ("yes", "I cannot hear it.")


# Curation


def test_moderately_hard_questions_and_the_alternatives(tmp_path):
    found = []
    for right in range(9):
        sample = Sample(f"q{right}", question="?", answer="yes", reasoning="", extra={"caption": "x"})
        found.append((sample, [reply(answer="yes" if k < right else "no") for k in range(8)]))
    found += [(Sample("open", question="?", answer="x", answer_type="open"), [reply()] * 8), (BELL, [])]

    def kept(**values):
        counts = curate.curate(found, curate.CurateConfig(**values), tmp_path)
        assert counts["not verifiable"] == 2 and counts["5 of 8 right"] == 1
        if not counts["kept"]:
            return []
        manifest = Manifest(tmp_path / "curated.jsonl")
        return [manifest[i].extra["right"] for i in range(len(manifest))]

    assert kept() == [3, 4, 5, 6]
    assert kept(keep="failed") == [0] and kept(keep="all") == list(range(9))
    assert kept(most=2) == [3, 4]
    with pytest.raises(ValueError, match="keep 'hard'"):
        curate.CurateConfig(keep="hard")


# Replies in files


def test_replies_are_asked_for_once_and_a_torn_line_again(tmp_path):
    samples = [Sample(f"s{i}", question="?", answer="yes") for i in range(70)]
    parrot, path = Parrot(lambda s, k: reply(answer=f"{s.id} {k}")), tmp_path / "replies.jsonl"
    config = answers.AskConfig(2)
    first = list(answers.answered(parrot, samples, config, path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:68]) + lines[68][:30])
    parrot.asked.clear()
    assert list(answers.answered(parrot, samples, config, path)) == first
    assert parrot.asked == ["s68", "s69"]
    assert len(path.read_text().splitlines()) == 70


def test_the_prompt_is_before_the_question_and_the_opening_in_the_chain():
    assert answers.prompted(BELL, "Listen.").question == "Listen. Which?"
    config = answers.AskConfig(opening="I hear")
    assert answers._opened(reply("1 bell."), config).thinking == "I hear 1 bell."
    assert answers._opened(reply(""), dataclasses.replace(config, think=False)).thinking == ""


def test_metrics_of_chains_claims_and_hearing():
    chains = [judged(claims={"verified": 2, "refuted": 1, "uncheckable": 1}), judged(grounded=None, surrogate=True)]
    chains += [distill.Judged(BELL, reply("", "soft", "empty_thinking"), False)]
    numbers = round_metrics.chain_numbers(chains)
    assert numbers["count"] == 3 and numbers["grounded"] == numbers["surrogate"] == numbers["empty"] == 1 / 3
    claims = round_metrics.claim_numbers(chains)
    assert (claims["precision"], claims["coverage"], claims["checkable_per_chain"]) == (2 / 3, 0.75, 1.5)
    assert round_metrics.claim_numbers([])["precision"] is None
    query = Sample("h", (), "?", answer="no", extra={"condition": "missing"})
    found = [(query, [reply("", "no")]), (dataclasses.replace(query, id="i"), [reply("I hear a bell.", "no")])]
    assert round_metrics.hearing_numbers(found)["nothing"] == {"errors": 1, "of": 2}


# The whole recipe


def small(folder):
    """Write a model with random weights, its manifests and a configuration of the recipe; return its path."""
    tokenizer = engine_fixture.build_tokenizer()
    engine_fixture.build_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for i in range(4):
        audio.write_wav(folder / f"{i}.wav", engine_fixture.tone(0.4 + 0.1 * i, 200 + 90 * i))
    heard = [
        Sample(f"a{i}", (f"{i}.wav",), "which is", answer="bell", domain="mine", extra={"caption": "a bell"})
        for i in range(4)
    ]
    told = [
        Sample(f"t{i}", question="which is", answer="bell", reasoning="the first note is loud higher") for i in range(2)
    ]
    told += [dataclasses.replace(told[0], id="t2", question="the first is a bell which is")]
    told += [dataclasses.replace(s, id=f"{s.id}-direct", reasoning=None) for s in told]
    answers.write_manifest(folder / "heard.jsonl", heard)
    answers.write_manifest(folder / "told.jsonl", told)
    adamw = {"bf16": False, "muon": False, "warmup_steps": 1, "lr": 1e-6, "schedule": "constant"}
    learn = {"bf16": False, "muon": False, "warmup_steps": 4, "lr": 4e-3}
    rlvr = {
        "loop": {"steps": 1, "log_every": 1}, "actor": adamw, "critic": adamw, "update": {"critic_updates": 1},
        "rollout": {"prompts": 2, "samples": 2, "max_new_tokens": 24},
    }  # fmt: skip
    values = {
        "run": str(folder / "run"), "cache": str(folder / "cache"), "device": "cpu", "rounds": 1,
        "start": {"model": str(folder / "model")},
        "cold": {"suites": [], "items": 0, "texts": 0, "audio_weight": 1, "seeds": 0},
        "pool": {"suites": [], "questions": 0, "queries": 2, "rl_suites": [], "rl_questions": 0, "texts": 0},
        "cold_sft": {"batch": 8, "loop": {"steps": 60, "checkpoint_seconds": 0.0}, "optimiser": learn},
        "round_sft": {"batch": 4, "loop": {"steps": 2}, "optimiser": {**learn, "lr": 1e-5}},
        "text_rlvr": rlvr, "round_rlvr": rlvr, "dpo": {"batch": 2, "loop": {"steps": 1}, "optimiser": adamw},
        "questions": {"tries": 1, "right": 2, "max_new_tokens": 16},
        "distill": {"samples": 4, "variant": "correct", "max_new_tokens": 24, "opening": "the first"},
        "curate": {"samples": 2, "low": 0, "high": 2, "max_new_tokens": 24},
        "pairs": {"queries": 2, "samples": 1, "max_new_tokens": 8},
        "measure": {"suites": [], "items": 0, "manifest": str(folder / "heard.jsonl"), "max_new_tokens": 24},
        "smoke": {"rounds": 0, "distill.samples": 1},
    }  # fmt: skip
    values["cold"] |= {"manifests": [str(folder / "heard.jsonl")], "text_manifests": [str(folder / "told.jsonl")]}
    values["pool"] |= {"manifests": [str(folder / "heard.jsonl")], "text_manifests": [str(folder / "told.jsonl")]}
    (folder / "mgrd.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "mgrd.yaml")


def test_the_recipe_from_cold_start_to_dpo_in_legs(tmp_path, monkeypatch, capfd):
    path, run = small(tmp_path), tmp_path / "run"
    assert mgrd.main(path, dry_run=True) == 0 and not run.exists()
    assert "round-1/chains" in capfd.readouterr().err
    assert mgrd.main(path, minutes=1e-9) == 0
    assert [mgrd.main(path, minutes=0.0005) for _ in range(2)] == [1, 1]
    assert (run / "cold/sft/checkpoints").exists()  # stopped in the middle of training

    def killed(*values):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mgrd_steps, "curate", killed)
        with pytest.raises(KeyboardInterrupt):
            mgrd.main(path)
    assert (run / "round-1/sft/done.json").exists() and not (run / "round-1/curate/done.json").exists()
    before = (run / "round-1/chains/chains.jsonl").stat().st_mtime_ns

    def paired(query, replies, right, think, tempted):
        assert len(replies) == len(right) == len(tempted) == 1
        return dataclasses.replace(
            cold_start.bare(query), id=f"{query.id}-{think}", chosen="a bell", rejected="a piano"
        )

    monkeypatch.setattr(self_cognition, "pair", paired)
    assert mgrd.main(path) == len(mgrd_steps.Recipe(mgrd.load(path)).steps)
    assert (run / "round-1/chains/chains.jsonl").stat().st_mtime_ns == before  # what is done is not done again
    steps = {row["step"]: row["result"] for row in json.loads((run / "rounds.json").read_text())}
    assert steps["cold/data"]["audio"] == 8 and steps["round-1/questions"]["kept"] == 4
    assert steps["round-1/chains"]["sampled"] == 24 and steps["round-1/chains"]["chains"] >= 1
    assert set(steps["round-1/metrics"]["accuracy"]) == {"think", "direct"}
    assert steps["dpo/pairs"]["pairs"] == 4 and steps["dpo/train"] == {"steps": 1}
    assert mgrd_steps.Recipe(mgrd.load(path)).last_model() == run / "dpo/train/model"
    assert (run / "model" / "config.json").exists() and not (run / "cold/sft/checkpoints").exists()
    assert "round-1/chains      done in" in (mgrd.main(path, dry_run=True), capfd.readouterr().err)[1]


def test_the_shipped_configuration_and_what_smoke_makes_of_it():
    whole, quick = mgrd.load(SHIPPED), mgrd.load(SHIPPED, smoke=True)
    assert whole.start.encoder == "tiny" and not whole.start.model and whole.cold.seeds == 0
    assert (quick.rounds, quick.run) == (1, f"{whole.run}.smoke") and quick.cold.items < whole.cold.items
    steps = mgrd_steps.Recipe(whole).steps
    assert len({step.name for step in steps}) == len(steps) == 4 + 7 * whole.rounds + 3
    assert sum(step.seconds for step in mgrd_steps.Recipe(quick).steps) < 300


def test_the_configuration_in_the_documentation_is_a_whole_plan(tmp_path):
    page = (pathlib.Path(SHIPPED).parents[2] / "docs" / "mgrd.md").read_text()
    (tmp_path / "my-mgrd.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    recipe = mgrd_steps.Recipe(mgrd.load(str(tmp_path / "my-mgrd.yaml")))
    assert len(recipe.steps) == 4 + 3 * 7 + 3


def test_a_preset_begins_with_an_encoder_and_a_tokenizer_of_its_own(tmp_path):
    values = {"rounds": 0, "run": str(tmp_path / "run"), "cold.items": 1, "cold.texts": 4, "cold.seeds": 2}
    config = mgrd.load(SHIPPED, tuple(f"{k}={v}" for k, v in values.items()))
    data, learn, *_ = mgrd_steps.Recipe(config).steps
    folder = tmp_path / "run" / "cold" / "data"
    folder.mkdir(parents=True)
    counts = data.work(folder, None)
    assert counts["seed chains"] == 2 and counts["text"] == 4 and counts["audio"] > 9
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    model = from_nothing(StartConfig(encoder=str(folder / "encoder.pt")), tokenizer, seed=0)
    shipped = AudioReasoner.from_pretrained(mgrd_start.model_folder("tiny"), dtype=torch.float32)
    assert weights_hash(model.encoder) == weights_hash(shipped.encoder) and len(tokenizer) == 2048
    assert not torch.equal(model.lm_head.weight, shipped.lm_head.weight)
    with pytest.raises(ValueError, match="no encoder.pt and no model"):
        mgrd_start.take_encoder(str(tmp_path / "nowhere"), folder / "encoder.pt")


def test_written_chains_cannot_come_in_by_the_stages_of_sft():
    names = ("cold_sft", "text_rlvr", "round_sft", "round_rlvr", "dpo")
    values: dict[str, Any] = dict.fromkeys(names, {"loop": {"steps": 1}})
    MgrdConfig("run", **values)
    with pytest.raises(ValueError, match="cold_sft: data and mixture"):
        MgrdConfig("run", **{**values, "cold_sft": {"data": {"suites": ["music"]}}})
    with pytest.raises(ValueError, match="unknown source 'chain'"):
        MgrdConfig("run", **values, weights={"chain": 1.0})
