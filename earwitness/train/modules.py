"""What learns: the model behind its frozen encoder, as a policy that scores tokens or a critic that values them.

Both start from the encoder's states, so both hear, and the encoder is no part of what is sharded and updated.
Letters: B rows, T tokens, H decoder width, V vocabulary, E encoder frames, D encoder width.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from earwitness.data.collate import Batch
from earwitness.losses import TokenScores, token_log_probs
from earwitness.model.adaptor import audio_tokens
from earwitness.model.reasoner import AudioReasoner


class Listener(nn.Module):
    """Adaptor and decoder: a batch of ids and encoder states -> hidden states."""

    def __init__(self, model: AudioReasoner) -> None:
        super().__init__()
        self.adapter, self.decoder = model.adapter, model.model
        self.decoder.config._attn_implementation = _FANS
        self.patch_id = model.config.audio_patch_token_id

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, the units of sharding."""
        return self.decoder.layers

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Return the last hidden states (B, T, H)."""
        embeds_BTH = self._embed(batch)
        mask: Any = None if batch.sequence_ids is None else _packed_mask(batch.sequence_ids)
        if batch.fans:  # a dict is handed to the layers, and by them to ``_attend``, as it is
            mask = {"full_attention": batch.fans}
        out = self.decoder(
            inputs_embeds=embeds_BTH, attention_mask=mask, position_ids=batch.position_ids, use_cache=False
        )
        return out.last_hidden_state

    def _embed(self, batch: Batch) -> torch.Tensor:
        embeds_BTH = self.decoder.embed_tokens(batch.ids)
        states = [s for s in batch.states if audio_tokens(len(s))]
        if not states:
            # A rank without sound still takes part in reducing the adaptor's gradient: one silent frame, times zero.
            silence_1ED = embeds_BTH.new_zeros(1, 4, self.adapter.conv.in_channels, dtype=self._dtype())
            return embeds_BTH + 0.0 * self.adapter(silence_1ED).sum().to(embeds_BTH)
        counts = torch.tensor([audio_tokens(len(s)) for s in states], device=embeds_BTH.device)
        padded_NED = nn.utils.rnn.pad_sequence(list(states), batch_first=True).to(embeds_BTH.device, self._dtype())
        heard_NAH = self.adapter(padded_NED)
        used_NA = torch.arange(heard_NAH.shape[1], device=counts.device)[None] < counts[:, None]
        places_BT1 = (batch.ids == self.patch_id)[..., None]
        return embeds_BTH.masked_scatter(places_BT1, heard_NAH[used_NA].to(embeds_BTH))

    def _dtype(self) -> torch.dtype:
        return self.adapter.conv.weight.dtype


class Policy(Listener):
    """Scores the learned tokens of a batch."""

    def __init__(self, model: AudioReasoner, suppressed: Sequence[int] = (), temperature: float = 1.0) -> None:
        """Wrap a model, whose parameters are used where they are.

        Args:
            model: the whole model; its encoder is left out.
            suppressed: ids that the sampler never chooses; empty for supervised stages.
            temperature: of the sampler.
        """
        super().__init__(model)
        self.lm_head = model.lm_head
        self.suppressed, self.temperature = tuple(suppressed), temperature

    def forward(self, batch: Batch, entropy: bool = False) -> TokenScores:
        """Return log pi(token t | tokens before t), (B, T), at learned tokens, 0 elsewhere; and entropies."""
        hidden_BTH = self.hidden(batch)
        scores = token_log_probs(
            hidden_BTH[:, :-1], self.lm_head.weight, batch.ids[:, 1:], batch.learned[:, 1:],
            suppressed=self.suppressed, temperature=self.temperature, entropy=entropy,
        )  # fmt: skip
        entropy_BT = scores.entropy_BT
        return TokenScores(
            nn.functional.pad(scores.log_probs_BT, (1, 0)),
            None if entropy_BT is None else nn.functional.pad(entropy_BT, (1, 0)),
        )


class Critic(Listener):
    """Values the states of a conversation: the expected reward before each learned token is chosen.

    A copy of the policy with a linear head of its own, without bias, drawn from N(0, 1 / (H + 1)) as in
    Open-Reasoner-Zero. It hears the audio through its own adaptor.
    """

    def __init__(self, model: AudioReasoner, seed: int = 0) -> None:
        super().__init__(model)
        self.adapter, self.decoder = copy.deepcopy(model.adapter), copy.deepcopy(model.model)
        width = model.config.hidden_size
        self.value_head = nn.Linear(width, 1, bias=False)
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(1, width, generator=generator) * (width + 1) ** -0.5
        self.value_head.weight.data.copy_(weight)
        self.value_head.to(model.device)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return V(tokens before t), (B, T) float32, at learned tokens, 0 elsewhere."""
        hidden_BTH = self.hidden(batch)[:, :-1]
        values_BT = nn.functional.pad(self.value_head(hidden_BTH)[..., 0].float(), (1, 0))
        return values_BT.masked_fill(~batch.learned, 0.0)


def _packed_mask(sequence_ids_BT: torch.Tensor) -> torch.Tensor:
    """Return which token may see which, (B, 1, T, T) bool: its own sequence up to itself."""
    T = sequence_ids_BT.shape[1]
    same_BTT = sequence_ids_BT[:, :, None] == sequence_ids_BT[:, None, :]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=sequence_ids_BT.device).tril()
    return (same_BTT & causal_TT)[:, None]


def _attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """Return what a decoder layer's attention hears, (B, T, heads, width); arguments are (B, heads, T, width).

    In place of a mask it takes the fans of a batch. Then each reply is computed by itself, with its prompt's keys and
    values before its own: over the whole row nearly all products would be of tokens that do not see each other.
    """
    if not isinstance(attention_mask, tuple):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    lengths = list(itertools.chain(*attention_mask))
    # Autocast leaves queries and keys in float32 behind the rotation, values not; a CPU is faster in float32.
    dtype = torch.promote_types(value.dtype, torch.float32) if value.device.type == "cpu" else value.dtype
    parts = zip(*(x.to(dtype).split(lengths, 2) for x in (query, key, value)))
    heard = []
    for fan in attention_mask:
        asked, *prompt = next(parts)
        heard.append(_heard(asked, prompt[0], prompt[1], module.scaling))
        for asked, *own in itertools.islice(parts, len(fan) - 1):
            keys, values = (torch.cat(pair, 2) for pair in zip(prompt, own))
            heard.append(_heard(asked, keys, values, module.scaling))
    return torch.cat(heard, 2).transpose(1, 2), None


def _heard(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Return causal attention of queries that stand at the end of the keys."""
    bias = causal_lower_right(query.shape[2], key.shape[2])
    with torch.autocast(query.device.type, enabled=False):
        return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale, enable_gqa=True)


_FANS = "earwitness_fans"
AttentionInterface.register(_FANS, _attend)
AttentionMaskInterface.register(_FANS, sdpa_mask)
