"""Prompts -> sampled replies with their rewards, through an ``Engine`` that follows the policy's weights.

The engine has weights of its own, which the stage replaces after every update: where a policy is sharded over ranks no
rank could generate with its part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.data.dialogue import Example, States
from earwitness.engines.protocol import Engine, Request, Sampling
from earwitness.engines.sampling import combine_seeds
from earwitness.records import Reply, Sample
from earwitness.rewards import Reward


@dataclass(frozen=True)
class Prompt:
    """A question as the policy reads it."""

    number: int
    """Which question of the run it is; its replies' random numbers follow from it, whatever rank samples them."""
    sample: Sample
    ids: list[int]
    states: States


@dataclass
class Rollout:
    """One sampled reply."""

    number: int
    """Of its prompt."""
    index: int
    """Of the reply, counted over all prompts of the run."""
    sample: Sample
    reply: Reply
    reward: Reward
    example: Example
    """Prompt and reply; the reply's tokens are learned."""
    log_probs: np.ndarray
    """(R,) of the reply's R tokens, as the engine had them."""

    @property
    def record(self) -> dict[str, Any]:
        """What is written down of it."""
        parts = {"reward": self.reward.total, "accuracy": self.reward.accuracy, "format": self.reward.format}
        said = {"thinking": self.reply.thinking, "answer": self.reply.answer, "status": self.reply.status}
        return {"id": self.sample.id, "question": self.sample.question, "key": self.sample.answer, **said, **parts}


def collect(
    engine: Engine,
    prompts: Sequence[Prompt],
    samples: int,
    sampling: Sampling,
    seed: int,
    reward: Callable[[Reply, Sample], Reward],
) -> list[Rollout]:
    """Return ``samples`` replies to each prompt, in order; the same for the same seed and weights.

    Raises:
        OSError: an engine that cannot be reached.
    """
    requests = []
    for prompt in prompts:
        features = engine.adapt(prompt.states)
        for k in range(samples):
            seed_k = combine_seeds(combine_seeds(seed, prompt.number), k)
            requests.append(Request(prompt_ids=prompt.ids, features=features, seed=seed_k))
    asked = ((prompt, prompt.number * samples + k) for prompt in prompts for k in range(samples))
    replies = engine.generate(requests, sampling)
    return [_rollout(prompt, index, reply, reward) for (prompt, index), reply in zip(asked, replies)]


def _rollout(prompt: Prompt, index: int, reply: Reply, reward: Callable[[Reply, Sample], Reward]) -> Rollout:
    ids = np.array([*prompt.ids, *reply.token_ids], dtype=np.int32)
    chunks = tuple(chunk for clip in prompt.states for chunk in clip)
    example = Example(prompt.sample.id, ids, np.arange(len(ids)) >= len(prompt.ids), chunks)
    log_probs = np.array(reply.logprobs, dtype=np.float32)
    return Rollout(prompt.number, index, prompt.sample, reply, reward(reply, prompt.sample), example, log_probs)
