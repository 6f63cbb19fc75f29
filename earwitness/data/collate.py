"""Examples of a step -> the tensors of one forward pass.

Letters: B rows, T tokens, E encoder frames, D encoder width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from earwitness.data import packing
from earwitness.data.dialogue import Example
from earwitness.model.adaptor import audio_tokens


@dataclass(frozen=True)
class Batch:
    """One forward pass."""

    ids: torch.Tensor
    """(B, T) long."""
    learned: torch.Tensor
    """(B, T) bool: tokens with a loss; never the first of a sequence."""
    states: tuple[torch.Tensor, ...]
    """Encoder states (E, D) of every clip, in the order of their placeholders, row by row."""
    position_ids: torch.Tensor | None = None
    """(B, T) long; None counts from 0 in every row."""
    sequence_ids: torch.Tensor | None = None
    """(B, T) long; None where a row is one sequence, padded on the right: causal attention then needs no mask."""
    fans: tuple[tuple[int, ...], ...] = ()
    """Where the only row is fans (``packing.fan``): the tokens of the prompt and of each reply, of every fan."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(
            self.ids.to(device),
            self.learned.to(device),
            tuple(chunk.to(device) for chunk in self.states),
            None if self.position_ids is None else self.position_ids.to(device),
            None if self.sequence_ids is None else self.sequence_ids.to(device),
            self.fans,
        )

    @property
    def num_learned(self) -> int:
        """Tokens with a loss."""
        return int(self.learned.sum())


def collate(examples: Sequence[Example], pad_id: int, patch_id: int) -> Batch:
    """Return examples as rows, padded on the right.

    Args:
        examples: at least one.
        pad_id: id of padding; nothing looks at it.
        patch_id: id of the audio placeholder, to check that the sound fits its places.

    Raises:
        ValueError: if placeholders and audio tokens differ, naming the example.
    """
    T = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), T), pad_id, dtype=np.int64)
    learned = np.zeros((len(examples), T), dtype=bool)
    for row, example in enumerate(examples):
        check_places(example, patch_id)
        ids[row, : len(example.ids)] = example.ids
        learned[row, : len(example.ids)] = example.learned
    learned[:, 0] = False
    return Batch(torch.from_numpy(ids), torch.from_numpy(learned), _heard([c for e in examples for c in e.states]))


def nothing() -> Batch:
    """Return a batch without learned tokens, for a rank that has none left while others still compute."""
    ids = torch.zeros(1, 2, dtype=torch.long)
    return Batch(ids, torch.zeros_like(ids, dtype=torch.bool), ())


def collate_packed(groups: Sequence[Sequence[Example]], pad_id: int, patch_id: int) -> Batch:
    """Return groups of examples as one row each; no token sees another example, and positions begin anew with each.

    Groups are cut by ``packing.groups``; the other arguments, and what is raised, are as in ``collate``.
    """
    for example in (example for group in groups for example in group):
        check_places(example, patch_id)
    rows = [packing.join(group) for group in groups]
    stacked = {name: torch.from_numpy(array) for name, array in packing.stack(rows, pad_id).items()}
    return Batch(
        ids=stacked["ids"].long(),
        learned=stacked["learned"],
        states=_heard([state for row in rows for state in row.states]),
        position_ids=stacked["position_ids"].long(),
        sequence_ids=stacked["sequence_ids"].long(),
    )


def collate_fans(groups: Sequence[Sequence[Example]], pad_id: int, patch_id: int) -> Batch:
    """Return groups of replies to one prompt each, with the prompt once, one after another in one row.

    The arguments, and what is raised, are as in ``collate``; there is no padding.
    """
    del pad_id
    for example in (example for group in groups for example in group):
        check_places(example, patch_id)
    rows = [packing.fan(group) for group in groups]

    def joined(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([getattr(row, name) for row in rows]))[None]

    return Batch(
        ids=joined("ids").long(),
        learned=joined("learned"),
        states=_heard([state for row in rows for state in row.states]),
        position_ids=joined("position_ids").long(),
        fans=tuple(tuple(np.diff(row.cu_seqlens).tolist()) for row in rows),
    )


def _heard(chunks: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.as_tensor(chunk).float() for chunk in chunks)


def check_places(example: Example, patch_id: int) -> None:
    """Raise ``ValueError`` unless an example has one placeholder for each audio token of its states."""
    places, heard = int((example.ids == patch_id).sum()), sum(audio_tokens(len(s)) for s in example.states)
    if places != heard:
        raise ValueError(
            f"sample {example.name}: {places} audio placeholders and {heard} audio tokens; count them with the rule "
            "of the encoder's features"
        )
