"""The steps of the recipe: what each reads, does and writes, how much it is, and how long it should take.

A step has a folder in the run and is done when ``done.json`` is there. What it reads are files of earlier steps, so
each can be looked at, and done again, alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from earwitness.data import cold_start, self_cognition
from earwitness.records import Sample
from earwitness.stages import mgrd_report, round_metrics
from earwitness.stages.answers import Respondent, answered, is_right, write_manifest
from earwitness.stages.curate import curate, select_questions
from earwitness.stages.distill import distill
from earwitness.stages.mgrd_config import MgrdConfig
from earwitness.stages.mgrd_start import copy_folder, count, learn_tokenizer, model_folder, samples, take_encoder

Counts = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of the plan."""

    name: str
    """Its folder in the run."""
    plan: str
    """How much there is to do, in words; an upper bound where filters come before."""
    seconds: float
    """Estimated."""
    work: Callable[[pathlib.Path, float | None], Counts | None]
    """(folder, minutes left) -> what came of it, or None where the time was not enough."""


class Recipe:
    """The steps of a configuration, in their order."""

    def __init__(self, config: MgrdConfig) -> None:
        """Check the configurations of all stages; nothing is read or written."""
        self.config, self.run = config, pathlib.Path(config.run).expanduser().resolve()
        self.steps = [*self._cold(), *itertools.chain(*map(self._round, range(1, config.rounds + 1))), *self._dpo()]

    # The model that a step starts from

    def _model(self, name: str) -> str:
        return str(self.run / name / "model")

    def _after(self, number: int) -> str:
        """Return the model after a round; round 0 is the cold start."""
        return self._model(f"round-{number}/rlvr" if number else "cold/rlvr")

    def last_model(self) -> pathlib.Path:
        """Return the model that the recipe ends in."""
        path = pathlib.Path(self._model("dpo/train"))
        return path if path.exists() else pathlib.Path(self._after(self.config.rounds))

    def _respondent(self, model: str, seed: int) -> Respondent:
        return Respondent(model, self.config.cache, self.config.device, seed)

    # Cold start

    def _cold(self) -> Iterator[Step]:
        cold = self.config.cold
        start = dataclasses.asdict(self.config.start)
        start["model"] = model_folder(start["model"])
        if not start["model"]:
            start["encoder"] = str(self.run / "cold" / "data" / "encoder.pt")
        sources = {
            "audio": (str(self.run / "cold/data/audio.jsonl"), cold.audio_weight),
            "text": (str(self.run / "cold/data/text.jsonl"), cold.text_weight),
        }
        clips = cold.items * len(cold.suites) + count(cold.manifests)
        texts = cold.texts + count(cold.text_manifests)
        said = f"{clips:,} samples with sound, {texts:,} of text, {cold.seeds} seeds"
        yield Step("cold/data", said, self.config.seconds["item"] * (clips + texts), self._cold_data)
        yield self._sft("cold/sft", self.config.cold_sft, start, sources, clips)
        questions = str(self.run / "cold/data/text-rl.jsonl")
        yield self._rlvr("cold/rlvr", self.config.text_rlvr, self._model("cold/sft"), questions)
        yield self._measured("cold/metrics", lambda: self._after(0))

    def _cold_data(self, folder: pathlib.Path, minutes: float | None) -> Counts:
        cold = self.config.cold
        items = cold_start.world(cold.suites, 0, cold.items)
        sound = itertools.chain(items, samples(cold.manifests))
        seeds = cold_start.seeds(cold.suites, cold.items, cold.seeds)
        planted = cold_start.planted(cold.suites, 0, cold.planted)
        audio = itertools.chain(cold_start.heard(sound), planted, seeds)
        texts = itertools.chain(cold_start.text(0, cold.texts), samples(cold.text_manifests))
        counts = {
            "audio": write_manifest(folder / "audio.jsonl", audio),
            "text": write_manifest(folder / "text.jsonl", texts),
            "seed chains": len(seeds),
        }
        later = cold_start.text(cold.texts, self.config.pool.texts)
        questions = itertools.chain(later, samples(cold.text_manifests))
        counts["text for RL"] = write_manifest(folder / "text-rl.jsonl", _verifiable(questions))
        if not self.config.start.model:
            take_encoder(self.config.start.encoder, folder / "encoder.pt")
            vocabulary = self.config.start.vocab_size
            learn_tokenizer([folder / "audio.jsonl", folder / "text.jsonl"], vocabulary, folder / "tokenizer")
        return counts

    # A round

    def _round(self, number: int) -> Iterator[Step]:
        config, pool, name = self.config, self.config.pool, f"round-{number}"
        before, here = self._after(number - 1), self.run / name
        asked = pool.questions * len(pool.suites) + count(pool.manifests)
        more = pool.rl_questions * len(pool.rl_suites) + pool.texts + count(pool.text_manifests)
        said = f"{asked:,} questions, {pool.queries:,} queries, {more:,} more for RL"
        yield Step(f"{name}/pool", said, config.seconds["item"] * (asked + more), lambda f, m: self._pool(f, number))

        tries = config.questions.tries
        said = f"{asked:,} questions x {tries} answers to transcript, caption, silence"
        yield Step(f"{name}/questions", said, self._asking(asked, 3 * tries), lambda f, m: self._questions(f, before))
        said = f"at most {asked + pool.queries:,} questions x {config.distill.samples} chains, {config.distill.variant}"
        seconds = self._asking(asked + pool.queries, config.distill.samples)
        yield Step(f"{name}/chains", said, seconds, lambda f, m: self._chains(f, before, number))
        cold = self.run / "cold" / "data"
        paths = {"chains": here / "chains/chains.jsonl", "text": cold / "text.jsonl", "audio": cold / "audio.jsonl"}
        sources = {key: (str(path), config.weights.get(key, 0.0)) for key, path in paths.items()}
        start = {**config.round_sft.get("start", {}), "model": before}
        yield self._sft(f"{name}/sft", config.round_sft, start, sources)
        said = f"at most {asked + more:,} questions x {config.curate.samples} replies, {config.curate.keep}"
        seconds = self._asking(asked + more, config.curate.samples)
        model = self._model(f"{name}/sft")
        yield Step(f"{name}/curate", said, seconds, lambda f, m: self._curate(f, model, number))
        yield self._rlvr(f"{name}/rlvr", config.round_rlvr, model, str(here / "curate/curated.jsonl"))
        yield self._measured(f"{name}/metrics", lambda: self._after(number))

    def _pool(self, folder: pathlib.Path, number: int) -> Counts:
        """Write what the round may ask about; SoundWorld's items come after those of cold start and earlier rounds."""
        pool, cold = self.config.pool, self.config.cold

        def fresh(suites: Iterable[str], wanted: int) -> Iterator[Sample]:
            return cold_start.world(tuple(suites), cold.items + cold.seeds + (number - 1) * wanted, wanted)

        def asked(samples: Iterable[Sample]) -> Iterator[Sample]:  # readable: the text that is known, and no chain
            for sample in samples:
                told: Counts = {k: sample.extra[k] for k in ("caption", "condition") if k in sample.extra}
                yield dataclasses.replace(sample, reasoning=None, facts=None, extra=told)

        questions = itertools.chain(map(cold_start.gist, fresh(pool.suites, pool.questions)), samples(pool.manifests))
        # Text tasks after those of the cold start and of its RL.
        texts = cold_start.text(cold.texts + number * pool.texts, pool.texts)
        more = itertools.chain(fresh(pool.rl_suites, pool.rl_questions), texts, samples(pool.text_manifests))
        return {
            "questions": write_manifest(folder / "questions.jsonl", asked(questions)),
            "queries": write_manifest(folder / "queries.jsonl", asked(fresh(("hearing",), pool.queries))),
            "more for RL": write_manifest(folder / "more.jsonl", asked(_verifiable(more))),
        }

    def _questions(self, folder: pathlib.Path, model: str) -> Counts:
        pool = list(samples([folder.parent / "pool" / "questions.jsonl"]))
        return select_questions(self._respondent(model, self.config.seed), pool, self.config.questions, folder)

    def _chains(self, folder: pathlib.Path, model: str, number: int) -> Counts:
        paths = [folder.parent / "questions" / "questions.jsonl", folder.parent / "pool" / "queries.jsonl"]
        asked, config = list(samples(paths)), self.config.distill
        respondent = self._respondent(model, self.config.seed + number)
        found = answered(respondent, asked, config.ask, folder / "replies.jsonl")
        return distill(found, config, folder, self.config.seed)

    def _curate(self, folder: pathlib.Path, model: str, number: int) -> Counts:
        paths = [folder.parent / "questions" / "questions.jsonl", folder.parent / "pool" / "more.jsonl"]
        config = self.config.curate
        respondent = self._respondent(model, self.config.seed + 1000 + number)
        found = answered(respondent, list(samples(paths)), config.ask, folder / "replies.jsonl")
        counts = curate(found, config, folder)
        if not counts["kept"]:
            raise ValueError(
                f"no question in {folder} is as hard as curate.keep wants; widen curate.low and curate.high"
            )
        return counts

    # Preferences

    def _dpo(self) -> Iterator[Step]:
        config, before = self.config, self._after(self.config.rounds)
        queries, replies = config.pairs.queries, config.pairs.samples
        said = f"{queries:,} queries x {replies} replies, with a chain and without, plain and tempted"
        yield Step("dpo/pairs", said, self._asking(queries, 4 * replies), lambda f, m: self._pairs(f, before))
        manifest = self.run / "dpo" / "pairs" / "pairs.jsonl"
        values = config.preference(self.run / "dpo" / "train", before, str(manifest))
        steps, batch = values["loop"]["steps"], values.get("batch", 32)

        def train(folder: pathlib.Path, minutes: float | None) -> Counts | None:
            if manifest.stat().st_size == 0:
                return {"skipped": "the model gave no pair of a good reply and one that errs"}
            return _train("dpo", folder, values, minutes)

        said = f"{steps:,} steps of {batch} pairs"
        yield Step("dpo/train", said, steps * batch * config.seconds["pair"], train)
        yield self._measured("dpo/metrics", lambda: str(self.last_model()))

    def _pairs(self, folder: pathlib.Path, model: str) -> Counts:
        config, pairs = self.config.pairs, []
        first = self.config.cold.items + self.config.cold.seeds + self.config.rounds * self.config.pool.queries
        queries = [*cold_start.world(("hearing",), first, config.queries)]
        respondent = self._respondent(model, self.config.seed + 2000)
        for think in (True, False):
            plain, tempted = (
                answered(respondent, queries, config.ask(think, lured), folder / f"replies-{think:d}{lured:d}.jsonl")
                for lured in (False, True)
            )
            for (query, replies), (_, more) in zip(plain, tempted):
                right = [is_right(query, reply) for reply in replies]
                pairs.append(self_cognition.pair(query, replies, right, think, more))
        kept = [p for p in pairs if p is not None][: config.most]
        of_sound = sum(bool(p.audio) and p.extra["condition"] == "sound" for p in kept)
        return {
            "queries": len(queries), "pairs": write_manifest(folder / "pairs.jsonl", kept), "of sound": of_sound,
        }  # fmt: skip

    # Kinds of steps

    def _asking(self, questions: int, replies: int) -> float:
        return questions * (self.config.seconds["clip"] + replies * self.config.seconds["reply"])

    def _sft(
        self,
        name: str,
        given: dict[str, Any],
        start: dict[str, Any],
        sources: dict[str, tuple[str, float]],
        clips: int = 0,
    ) -> Step:
        """Return a step of SFT; so many clips are not encoded yet."""
        values = self.config.sft(self.run / name, given, start, sources)
        steps, batch = values["loop"]["steps"], values.get("batch", 64)

        def work(folder: pathlib.Path, minutes: float | None) -> Counts | None:
            if not start.get("model"):  # the stage would learn a tokenizer from SoundWorld's shards
                copy_folder(self.run / "cold" / "data" / "tokenizer", folder / "tokenizer")
            return _train("sft", folder, values, minutes)

        seconds = steps * batch * self.config.seconds["example"] + clips * self.config.seconds["clip"]
        return Step(name, f"{steps:,} steps of {batch}", seconds, work)

    def _rlvr(self, name: str, given: dict[str, Any], model: str, manifest: str) -> Step:
        values = self.config.rlvr(self.run / name, given, model, manifest)
        rollout, steps = {"prompts": 128, "samples": 16, **values.get("rollout", {})}, values["loop"]["steps"]
        replies = steps * rollout["prompts"] * rollout["samples"]
        said = f"{steps:,} iterations of {rollout['prompts']} questions x {rollout['samples']} replies"
        return Step(name, said, replies * self.config.seconds["rollout"], lambda f, m: _train("rlvr", f, values, m))

    def _measured(self, name: str, model: Callable[[], str]) -> Step:
        config = self.config.measure
        asked_in_all = config.items * len(config.suites) + count([config.manifest])

        def work(folder: pathlib.Path, minutes: float | None) -> Counts:
            asked = [*cold_start.world(config.suites, 0, config.items, "validation"), *samples([config.manifest])]
            respondent = self._respondent(model(), self.config.seed)
            numbers = round_metrics.measure(respondent, asked, self.config.distill, config.max_new_tokens, folder)
            mgrd_report.write(self.run, asked)
            return numbers

        said = f"{asked_in_all:,} questions, with a chain and without"
        return Step(name, said, self._asking(asked_in_all, 2), work)


def _train(stage: str, folder: pathlib.Path, values: dict[str, Any], minutes: float | None) -> Counts | None:
    """Run a stage from a configuration that is written down; its own checkpoints continue it."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    step = importlib.import_module(f"earwitness.stages.{stage}").main(str(path), minutes=minutes)
    return {"steps": step} if step >= values["loop"]["steps"] else None


def _verifiable(samples: Iterable[Sample]) -> Iterator[Sample]:
    return (s for s in samples if s.answer is not None and s.answer_type != "open")
