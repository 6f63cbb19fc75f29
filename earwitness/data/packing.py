"""Sequences of any length -> rows of at most N tokens, in which no sequence sees another.

A row says where its sequences lie in two ways: ``cu_seqlens`` for kernels that take lengths, ``sequence_ids`` for
masks. Positions restart with each sequence, so a packed sequence is computed as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from earwitness.data.dialogue import Example

PADDING = -1
"""The sequence id of padding."""


@dataclass(frozen=True)
class Row:
    """Several sequences in one row; T tokens, S sequences, all of them whole."""

    ids: np.ndarray
    """(T,) int32."""
    position_ids: np.ndarray
    """(T,) int32, from 0 in each sequence."""
    sequence_ids: np.ndarray
    """(T,) int32, 0..S-1."""
    cu_seqlens: np.ndarray
    """(S + 1,) int32: sequence s is at cu_seqlens[s]..cu_seqlens[s + 1]."""
    learned: np.ndarray
    """(T,) bool: the tokens with a loss; never a sequence's first token, which nothing of its own predicts."""
    states: tuple[Any, ...]
    """Encoder states of all sequences, in the order of their placeholders."""


def pack_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return rows of indices such that each index is in one row and no row has more than ``max_tokens``.

    First-fit decreasing: the longest first, each in the first row with room; at most 11/9 of the fewest rows possible,
    and one more. Equal lengths keep their order, so the result is a pure function of the arguments.

    Raises:
        ValueError: an item that is empty or longer than a row, naming it.
    """
    for index, length in enumerate(lengths):
        if not 0 < length <= max_tokens:
            raise ValueError(
                f"item {index} has {length} tokens where a row holds 1 to {max_tokens}; cut it or raise max_tokens"
            )
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max_tokens)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def groups(examples: Sequence[Example], max_tokens: int) -> list[list[Example]]:
    """Return examples, whole and each once, as groups that fill rows of at most ``max_tokens``; see ``pack_lengths``.

    Raises:
        ValueError: an example that is longer than a row, naming it.
    """
    for example in examples:
        if len(example.ids) > max_tokens:
            raise ValueError(
                f"sample {example.name} has {len(example.ids)} tokens and a row holds {max_tokens}; cut it or raise "
                "max_tokens"
            )
    return [[examples[i] for i in row] for row in pack_lengths([len(e.ids) for e in examples], max_tokens)]


def join(examples: Sequence[Example]) -> Row:
    """Return one row of sequences in the given order."""
    lengths = [len(example.ids) for example in examples]
    positions = [np.arange(length, dtype=np.int32) for length in lengths]
    return Row(
        ids=np.concatenate([np.asarray(example.ids, dtype=np.int32) for example in examples]),
        position_ids=np.concatenate(positions),
        sequence_ids=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        cu_seqlens=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        learned=np.concatenate([e.learned & (at > 0) for at, e in zip(positions, examples)]),
        states=tuple(chunk for example in examples for chunk in example.states),
    )


def fan(examples: Sequence[Example]) -> Row:
    """Return replies to one prompt as one row whose first sequence is the prompt; all others continue it.

    A reply's first token is predicted at the prompt's last, so that one is repeated before each reply and not shared.
    """
    first = examples[0]
    start = int(np.argmax(first.learned)) - 1
    replies = [Example(e.name, e.ids[start:], e.learned[start:], ()) for e in examples]
    row = join([Example(first.name, first.ids[:start], first.learned[:start], first.states), *replies])
    return replace(row, position_ids=row.position_ids + np.int32(start) * (row.sequence_ids > 0))


def fan_length(examples: Sequence[Example]) -> int:
    """Return the tokens of ``fan(examples)``."""
    start = int(np.argmax(examples[0].learned)) - 1
    return start + sum(len(e.ids) - start for e in examples)


def stack(rows: Sequence[Row], pad_id: int, length: int | None = None) -> dict[str, np.ndarray]:
    """Return rows as arrays (B, T) under the names of their fields (but ``cu_seqlens``).

    Padding has ``pad_id``, position 0, sequence id ``PADDING`` and no loss. T is ``length`` or the longest row.
    """
    longest = max(len(row.ids) for row in rows)
    width = longest if length is None else length
    if longest > width:
        raise ValueError(f"a row of {longest} tokens does not fit in {width}; pack to fewer tokens")
    fills = {"ids": pad_id, "position_ids": 0, "sequence_ids": PADDING, "learned": False}
    return {
        name: np.stack([np.pad(getattr(row, name), (0, width - len(row.ids)), constant_values=fill) for row in rows])
        for name, fill in fills.items()
    }


def attention_mask(sequence_ids: np.ndarray) -> np.ndarray:
    """Return which token may attend to which: (..., T) ids -> (..., T, T) bool, query by key.

    Padding sees itself alone: a softmax over no keys is NaN.
    """
    length = sequence_ids.shape[-1]
    same = sequence_ids[..., :, None] == sequence_ids[..., None, :]
    real = sequence_ids[..., :, None] != PADDING
    return (same & real & np.tri(length, dtype=bool)) | np.eye(length, dtype=bool)
