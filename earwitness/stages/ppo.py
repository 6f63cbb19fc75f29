"""The update of PPO with a critic that hears: rollouts in, two trained modules and numbers out (eq. 3, 8; section 4.3).

Letters: B rows, T tokens, R tokens of a reply.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from earwitness.data import packing
from earwitness.data.collate import Batch, collate, collate_fans, nothing
from earwitness.data.dialogue import Example
from earwitness.data.stream import micro_batches
from earwitness.losses import (
    Mismatch,
    gae,
    mean_and_variance,
    moments,
    policy_loss,
    rollout_mismatch,
    terminal_rewards,
    value_loss,
    whiten,
)
from earwitness.train.learner import Learner
from earwitness.train.rollouts import Rollout
from earwitness.train.world import World


@dataclass(frozen=True)
class UpdateConfig:
    """How an iteration's rollouts are learned from."""

    clip: float = 0.2
    """Paper."""
    value_clip: float | None = 0.2
    """Prior: Open-Reasoner-Zero."""
    gamma: float = 1.0
    """Paper."""
    lam: float = 1.0
    """Paper."""
    actor_updates: int = 1
    """Updates an iteration, each on its part of the rollouts; 1 is strictly on-policy. Paper: on-policy."""
    critic_updates: int = 12
    """Prior."""
    critic_warmup: int = 0
    """Iterations at the start in which only the critic learns. Ours."""
    drop_truncated: bool = False
    """Leave replies out that hit the limit; else they are kept with reward 0. Prior: kept."""
    max_tokens: int = 32_768
    """Tokens of one forward pass, padding included."""
    share_prompts: bool = False
    """Compute a prompt once for all its replies, in one row and without padding: the faster, the longer prompts with
    their sound are beside the replies. Updates are then cut between prompts and not between replies."""


@dataclass
class Turn:
    """A rollout and what was computed of it, R values each: one for every token of the reply."""

    rollout: Rollout
    values: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    old: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    advantages: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    returns: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def size(self) -> int:
        """R."""
        return len(self.rollout.log_probs)


class Row(NamedTuple):
    """What stands in one row of a batch: replies that share their prompt, or one."""

    turns: list[Turn]
    length: int

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.turns[0].rollout.example.name

    @property
    def examples(self) -> list[Example]:
        """Prompt and reply of every turn."""
        return [turn.rollout.example for turn in self.turns]


def rows_of(turns: Sequence[Turn], share: bool, max_tokens: int) -> list[Row]:
    """Return turns as rows of at most ``max_tokens``, where a turn fits in one; with ``share`` by prompt."""
    if not share:
        return [Row([turn], turn.rollout.example.length) for turn in turns]
    rows: list[Row] = []
    for _, group in itertools.groupby(turns, lambda turn: turn.rollout.number):
        row = Row([], 0)
        for turn in group:
            longer = [*row.turns, turn]
            length = packing.fan_length([t.rollout.example for t in longer])
            if row.turns and length > max_tokens:
                rows.append(row)
                longer, length = [turn], turn.rollout.example.length
            row = Row(longer, length)
        rows.append(row)
    return rows


class Trainer:
    """Actor and critic and how they learn from rollouts."""

    def __init__(
        self, actor: Learner, critic: Learner, config: UpdateConfig, world: World, ids: tuple[int, int]
    ) -> None:
        """Join the two.

        Args:
            actor: of a ``Policy`` with the sampler's mask and temperature.
            critic: of a ``Critic``.
            config: of the update.
            world: where the run computes.
            ids: of padding and of the audio placeholder.
        """
        self.actor, self.critic, self.config, self.world, self._ids = actor, critic, config, world, ids

    def update(self, rollouts: Sequence[Rollout], step: int) -> dict[str, float]:
        """Learn from this rank's rollouts of an iteration; return numbers over all ranks."""
        numbers = self._describe(rollouts)
        turns = [Turn(r) for r in rollouts if not (self.config.drop_truncated and r.reply.status == "truncated")]
        is_actor_learning = step >= self.config.critic_warmup
        # The one update of an actor on fresh data computes its log-probabilities itself.
        self._score(turns, with_actor=not is_actor_learning or self.config.actor_updates > 1)
        self._advantages(turns)
        numbers |= self._explained(turns)
        if is_actor_learning:
            numbers |= self._learn(self.actor, turns, self.config.actor_updates, self._actor_loss, "actor", _ACTOR)
        numbers |= self._mismatch(turns)
        return numbers | self._learn(
            self.critic, turns, self.config.critic_updates, self._critic_loss, "critic", _CRITIC
        )

    def _passes(self, turns: Sequence[Turn]) -> Iterator[tuple[list[Turn], Batch]]:
        """Yield (turns, their batch) of every pass; as many on every rank, the surplus without turns.

        The learned tokens of a batch, row by row, are the tokens of its turns' replies, one after another.
        """
        share, max_tokens = self.config.share_prompts, self.config.max_tokens
        groups = micro_batches(rows_of(turns, share, max_tokens), max_tokens)
        for number in range(int(self.world.max(torch.tensor(len(groups))))):
            rows = groups[number] if number < len(groups) else []
            if share and rows:
                batch = collate_fans([row.examples for row in rows], *self._ids)
            else:
                batch = collate([row.examples[0] for row in rows], *self._ids) if rows else nothing()
            yield [turn for row in rows for turn in row.turns], batch.to(self.world.device)

    @torch.no_grad()
    def _score(self, turns: Sequence[Turn], with_actor: bool) -> None:
        """Fill in values and, where asked for, the trainer's log-probabilities."""
        for group, batch in self._passes(turns):
            with self.critic.autocast():
                _fill(group, "values", self.critic.module(batch), batch)
            if with_actor:
                with self.actor.autocast():
                    _fill(group, "old", self.actor.module(batch).log_probs_BT, batch)

    def _advantages(self, turns: Sequence[Turn]) -> None:
        """Fill in advantages, whitened over all ranks, and returns."""
        total = torch.zeros(3, dtype=torch.float64)
        for turn in turns:
            mask = torch.ones(1, turn.size, dtype=torch.bool)
            rewards = terminal_rewards(torch.tensor([turn.rollout.reward.total]), mask)
            found = gae(rewards, turn.values[None], mask, self.config.gamma, self.config.lam)
            turn.advantages, turn.returns = found.advantages_BT[0], found.returns_BT[0]
            total += moments(found.advantages_BT, mask)
        mean, variance = mean_and_variance(self.world.sum(total))
        for turn in turns:
            mask = torch.ones(1, turn.size, dtype=torch.bool)
            turn.advantages = whiten(turn.advantages[None], mask, mean, variance)[0]

    def _learn(
        self,
        learner: Learner,
        turns: Sequence[Turn],
        updates: int,
        loss_of: Callable[[list[Turn], Batch], tuple[torch.Tensor, torch.Tensor]],
        name: str,
        names: tuple[str, ...],
    ) -> dict[str, float]:
        """Make ``updates`` updates, each on its part of the turns; return means over tokens and updates."""
        sums, norms = torch.zeros(len(names), dtype=torch.float64), []
        for number in range(updates):
            mine = self._share(turns, number, updates)
            tokens = self.world.sum(torch.tensor(sum(turn.size for turn in mine)))
            for group, batch in self._passes(mine):
                loss, parts = loss_of(group, batch)
                learner.backward(loss / tokens.clamp(min=1))
                sums += parts.detach().double().cpu() / float(tokens.clamp(min=1))
            norms.append(learner.update())
        means = (self.world.sum(sums) / updates).tolist()
        return {f"{name}_{key}": value for key, value in zip(names, means)} | {
            f"{name}_grad_norm": float(np.mean(norms))
        }

    def _share(self, turns: Sequence[Turn], number: int, updates: int) -> list[Turn]:
        """Return the turns of update ``number``: every ``updates``-th, counting prompts where these are shared.

        They are counted over all ranks, so that an update learns the same on any number of them.
        """
        share = self.config.share_prompts
        return [t for t in turns if (t.rollout.number if share else t.rollout.index) % updates == number]

    def _actor_loss(self, group: list[Turn], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        with self.actor.autocast():
            scores = self.actor.module(batch, entropy=True)
        # On fresh data the policy is its own past: the ratio is exactly 1, whatever the batch's shape did to rounding.
        if self.config.actor_updates == 1:
            _fill(group, "old", scores.log_probs_BT.detach(), batch)
        old_BT, advantages_BT = (_spread(group, name, batch) for name in ("old", "advantages"))
        out = policy_loss(scores.log_probs_BT, old_BT, advantages_BT, batch.learned, self.config.clip)
        assert scores.entropy_BT is not None
        parts = (out.loss.detach(), out.clipped, out.kl, scores.entropy_BT.detach().sum())
        return out.loss, torch.stack([p.double() for p in parts])

    def _critic_loss(self, group: list[Turn], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        with self.critic.autocast():
            values_BT = self.critic.module(batch)
        old_BT, returns_BT = (_spread(group, name, batch) for name in ("values", "returns"))
        out = value_loss(values_BT, old_BT, returns_BT, batch.learned, self.config.value_clip)
        return out.loss, torch.stack([out.loss.detach().double(), out.clipped.double()])

    def _describe(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        rows = [
            (
                1.0,
                r.reward.total,
                r.reward.accuracy,
                r.reward.format,
                float(r.reply.thinking_tokens),
                float(r.reply.status == "truncated"),
                float(r.example.learned.sum()),
                float(len(r.example.ids)),
            )
            for r in rollouts
        ]
        sums = torch.tensor(rows, dtype=torch.float64).reshape(-1, 8).sum(0)
        n, reward, accuracy, form, thinking, truncated, said, tokens = self.world.sum(sums).tolist()
        names = {"reward": reward, "accuracy": accuracy, "format": form, "thinking_tokens": thinking}
        names |= {"truncated": truncated, "reply_tokens": said}
        return {key: value / max(n, 1.0) for key, value in names.items()} | {"tokens": tokens}

    def _mismatch(self, turns: Sequence[Turn]) -> dict[str, float]:
        """Return how far the engine's log-probabilities are from the trainer's."""
        sums, maxima = torch.zeros(7, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for turn in turns:
            said = torch.from_numpy(turn.rollout.log_probs)[None]
            found = rollout_mismatch(said, turn.old[None], torch.ones_like(said, dtype=torch.bool))
            sums, maxima = sums + found.sums, torch.maximum(maxima, found.maxima)
        whole = Mismatch(self.world.sum(sums), self.world.max(maxima)).metrics()
        return {f"mismatch_{key}": whole[key] for key in ("logp_diff_mean", "logp_diff_max", "kl")}

    def _explained(self, turns: Sequence[Turn]) -> dict[str, float]:
        """Return the share of the returns' variance that the values explain."""
        total = torch.zeros(2, 3, dtype=torch.float64)
        for turn in turns:
            mask = torch.ones(1, turn.size, dtype=torch.bool)
            total += torch.stack([moments((turn.returns - turn.values)[None], mask), moments(turn.returns[None], mask)])
        whole = self.world.sum(total)
        (_, left), (_, variance) = mean_and_variance(whole[0]), mean_and_variance(whole[1])
        return {"explained_variance": float(1 - left / variance) if variance > 0 else 0.0}


_ACTOR = ("loss", "clip_fraction", "kl", "entropy")
_CRITIC = ("loss", "clip_fraction")


def _spread(group: list[Turn], name: str, batch: Batch) -> torch.Tensor:
    """Return a quantity of turns at the learned tokens (B, T) of their batch."""
    out = torch.zeros(batch.ids.shape, device=batch.ids.device)
    if group:
        out[batch.learned] = torch.cat([getattr(turn, name) for turn in group]).to(out)
    return out


def _fill(group: list[Turn], name: str, values_BT: torch.Tensor, batch: Batch) -> None:
    """Give each turn its part of a quantity at the learned tokens (B, T) of their batch."""
    if group:
        for turn, values in zip(group, values_BT[batch.learned].cpu().split([turn.size for turn in group])):
            setattr(turn, name, values)
