"""Choosing tokens: penalty, temperature, top-k, top-p, and random numbers that belong to a request, not to a batch.

Letters: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from earwitness.engines.protocol import Sampling

_MASK = (1 << 64) - 1


def _mix(x: np.ndarray) -> np.ndarray:
    """Return the finaliser of splitmix64 (Steele et al. 2014): every input bit reaches every output bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds: Sequence[int], positions: Sequence[int]) -> np.ndarray:
    """Return one float64 in [0, 1) for each (seed, position), the same in any batch and on any machine."""
    seed = np.array([s & _MASK for s in seeds], dtype=np.uint64)
    position = np.array(positions, dtype=np.uint64)
    return (_mix(_mix(seed) + position) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def combine_seeds(seed: int, index: int) -> int:
    """Return the seed of request ``index`` of a call."""
    base = _mix(np.array([seed & _MASK], dtype=np.uint64))
    return int(_mix(base + np.array([index & _MASK], dtype=np.uint64))[0])


@dataclass
class Chooser:
    """The sampling settings of the rows of a batch as tensors; built again when the batch changes."""

    temperature: torch.Tensor
    """(B,); 1 for greedy rows."""
    greedy: torch.Tensor
    """(B,) bool."""
    top_k: torch.Tensor | None
    top_p: torch.Tensor | None
    penalty: torch.Tensor | None
    all_greedy: bool
    wants_logprobs: bool

    @classmethod
    def build(cls, settings: Sequence[Sampling], device: torch.device) -> Chooser:
        """Gather the settings of a batch; parts that no row uses are left out."""

        def column(values: Sequence[float], is_used: bool, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
            return torch.tensor(values, dtype=dtype, device=device)[:, None] if is_used else None

        random = [s for s in settings if s.temperature > 0]
        return cls(
            temperature=torch.tensor([s.temperature or 1.0 for s in settings], device=device),
            greedy=torch.tensor([s.temperature == 0 for s in settings], device=device),
            top_k=column([s.top_k for s in settings], any(s.top_k for s in random), torch.long),
            top_p=column([s.top_p for s in settings], any(s.top_p < 1 for s in random)),
            penalty=column([s.repetition_penalty for s in settings], any(s.repetition_penalty != 1 for s in settings)),
            all_greedy=not random,
            wants_logprobs=any(s.logprobs for s in settings),
        )

    def choose(self, logits_BV: torch.Tensor, uniform: np.ndarray | None, seen_BV: torch.Tensor | None) -> torch.Tensor:
        """Return the next token of each row, (B,).

        Args:
            logits_BV: scores; suppressed ids are at minus infinity.
            uniform: (B,) numbers in [0, 1); may be None if every row is greedy.
            seen_BV: which ids each row has seen, where a repetition penalty is used.
        """
        if self.penalty is not None and seen_BV is not None:
            penalised = torch.where(logits_BV > 0, logits_BV / self.penalty, logits_BV * self.penalty)
            logits_BV = torch.where(seen_BV, penalised, logits_BV)
        tokens = logits_BV.argmax(-1)
        if not self.all_greedy:
            assert uniform is not None
            tokens = torch.where(self.greedy, tokens, self._draw(logits_BV.float(), uniform))
        return tokens

    def logprobs(self, logits_BV: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """Return (B,) log-probabilities under the model's own logits; None if no row wants them."""
        if not self.wants_logprobs:
            return None
        return torch.log_softmax(logits_BV.float(), -1).gather(-1, tokens[:, None])[:, 0]

    def _draw(self, logits_BV: torch.Tensor, uniform: np.ndarray) -> torch.Tensor:
        scaled_BV = logits_BV / self.temperature[:, None]
        if self.top_k is not None:
            limit = int(self.top_k.max())
            best = scaled_BV.topk(min(limit, scaled_BV.shape[-1])).values
            floor = best.gather(-1, (self.top_k - 1).clamp(0, best.shape[-1] - 1))
            scaled_BV = scaled_BV.masked_fill((scaled_BV < floor) & (self.top_k > 0), -torch.inf)
        if self.top_p is not None:
            ordered, order = scaled_BV.softmax(-1).sort(dim=-1, descending=True, stable=True)
            drop = ordered.cumsum(-1) - ordered >= self.top_p  # the first token always stays
            drop &= self.top_p < 1
            scaled_BV = scaled_BV.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)
        # float64: the sums of 158,720 probabilities must not depend on the order in which a device adds them.
        cumulative = scaled_BV.double().softmax(-1).cumsum(-1)
        u = torch.from_numpy(uniform).to(cumulative.device)[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, u, right=True)[:, 0].clamp(max=cumulative.shape[-1] - 1)
