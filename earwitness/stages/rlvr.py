"""PPO on questions with answers that can be verified: text (report, eq. 2, 3, 6) and audio (eq. 7, 8).

    earwitness train rlvr --config my.yaml

Actor and critic both hear the audio. Each value of ``RlvrConfig`` says where it is from: the paper, a prior
(Open-Reasoner-Zero, which has the same discount, lambda and missing KL), or ours.
"""

from __future__ import annotations

import copy
import json
import pathlib
from dataclasses import dataclass, field
from typing import Any

from earwitness import soundworld
from earwitness.data import dialogue
from earwitness.data.cache import FeatureCache
from earwitness.data.manifest import Manifest
from earwitness.data.mixture import Mixture, Shuffle
from earwitness.data.stream import Samples
from earwitness.engines.local import LocalEngine
from earwitness.engines.protocol import Sampling
from earwitness.records import Reply, Sample, append_line
from earwitness.rewards import FORMAT_WEIGHT, Reward, audio_reward, text_reward
from earwitness.stages.ppo import Trainer, UpdateConfig
from earwitness.stages.sft import ManifestConfig
from earwitness.stages.start import (
    ComputeConfig,
    StartConfig,
    adapt,
    export,
    guard,
    named_weights,
    place,
    published,
    say,
)
from earwitness.train import config as configs
from earwitness.train import loop
from earwitness.train.learner import Learner, OptimiserConfig
from earwitness.train.modules import Critic, Policy
from earwitness.train.rollouts import Prompt, collect
from earwitness.train.world import start as join


@dataclass(frozen=True)
class RolloutConfig:
    """What is sampled in an iteration."""

    prompts: int = 128
    """Prior: Open-Reasoner-Zero."""
    samples: int = 16
    """Of each prompt. Paper."""
    max_new_tokens: int = 10_240
    """Paper, for prompt and reply together."""
    temperature: float = 1.0
    """Prior."""
    log: int = 16
    """Replies an iteration written to ``rollouts.jsonl``."""


@dataclass(frozen=True)
class WorldConfig:
    """Questions from SoundWorld."""

    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    """Question types to keep; empty keeps all."""
    items: int = 2_000
    """Of each suite, from the beginning of the training split."""


@dataclass(frozen=True)
class RlvrConfig:
    """The whole configuration of the stage."""

    run: str
    loop: loop.LoopConfig
    start: StartConfig
    actor: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(lr=1e-6, schedule="constant", muon=False, weight_decay=0.0)
    )
    """Prior: rate and warm-up."""
    critic: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(lr=5e-6, schedule="constant", muon=False, weight_decay=0.0)
    )
    """Prior: rate and warm-up."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    soundworld: WorldConfig = field(default_factory=WorldConfig)
    manifests: dict[str, ManifestConfig] = field(default_factory=dict)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    format_weight: float = FORMAT_WEIGHT
    """Of eq. 7; accuracy has the rest. Paper: 0.2."""
    cache: str = "~/.cache/earwitness/features"


class Prompts:
    """The questions of every iteration, as a pure function of its number."""

    def __init__(self, config: RlvrConfig, tokenizer: Any, cache: FeatureCache) -> None:
        sources: dict[str, Samples] = {}
        weights: dict[str, float] = {}
        for suite in config.soundworld.suites:
            drawn = (soundworld.sample(suite, "train", i) for i in range(config.soundworld.items))
            sources[suite] = [s for s in drawn if not config.soundworld.tasks or s.task in config.soundworld.tasks]
            weights[suite] = 1.0
        for name, given in config.manifests.items():
            sources[name], weights[name] = Manifest(given.path), given.weight
        if not sources:
            raise ValueError("the run has no questions; give soundworld.suites or manifests")
        self._sources, self._cache, self._tokenizer = sources, cache, tokenizer
        self._mixture = Mixture(weights, config.loop.seed)
        self._orders = {name: Shuffle(len(s), config.loop.seed, name) for name, s in sources.items()}

    def sample(self, number: int) -> Sample:
        """Return question ``number`` of the run."""
        name, count = self._mixture.at(number)
        return self._sources[name][self._orders[name].at(count)[1]]

    def prompt(self, number: int) -> Prompt:
        """Return question ``number`` of the run with its sound."""
        sample = self.sample(number)
        states = self._cache.states(sample) if dialogue.clips(sample) else []
        return Prompt(number, sample, dialogue.question(self._tokenizer, sample, states), states)


def main(config_path: str, overrides: tuple[str, ...] = (), minutes: float | None = None, dry_run: bool = False) -> int:
    """Run or continue the stage; returns the step reached."""
    config = configs.load(RlvrConfig, config_path, overrides)
    if not config.start.model:
        raise ValueError("rlvr starts from a trained model; give its folder as start.model")
    if dry_run:
        say(f"{config}")
        return 0
    world = join(config.compute.device, config.compute.tensor_parallel)
    folder = pathlib.Path(config.run).expanduser()
    if world.is_first:
        configs.record(config, folder)
    tokenizer, model = published(config.start)
    check = guard(model)
    prompts = Prompts(config, tokenizer, FeatureCache(config.cache, model))
    twin: Any = copy.deepcopy(model)
    engine = LocalEngine(twin.to(world.device), tokenizer, name=config.start.model, repeatable=True)
    critic = place(Critic(model, config.loop.seed), world, config.compute, config.critic.bf16)
    adapt(model, config.start)
    silent = engine.markers.suppressed
    policy = place(Policy(model, silent, config.rollout.temperature), world, config.compute, config.actor.bf16)
    learners = {
        "actor": Learner(policy, config.actor, world, config.loop.steps),
        "critic": Learner(critic, config.critic, world, config.loop.steps),
    }
    ids = (model.config.pad_token_id, model.config.audio_patch_token_id)
    trainer = Trainer(learners["actor"], learners["critic"], config.update, world, ids)
    sampling = Sampling(
        temperature=config.rollout.temperature, max_new_tokens=config.rollout.max_new_tokens, logprobs=True
    )

    def step_at(step: int) -> dict[str, float]:
        engine.update_weights(named_weights(policy), version=step)
        first = step * config.rollout.prompts
        numbers = range(first + world.data_rank, first + config.rollout.prompts, world.data_size)
        asked = [prompts.prompt(number) for number in numbers]
        replies = collect(engine, asked, config.rollout.samples, sampling, config.loop.seed, reward)
        records = world.gather([r.record for r in replies[: config.rollout.log]])
        if world.is_first:
            for record in sum(records, [])[: config.rollout.log]:
                append_line(folder / "rollouts.jsonl", json.dumps({"step": step, **record}) + "\n")
        return trainer.update(replies, step)

    def reward(reply: Reply, sample: Sample) -> Reward:
        if not dialogue.clips(sample):
            return text_reward(reply, sample)
        return audio_reward(reply, sample, None, 1 - config.format_weight, config.format_weight)

    step = loop.run(config.loop, world, learners, step_at, folder, guard=check, minutes=minutes)
    export(policy, model, tokenizer, folder / "model", world)
    world.close()
    return step
