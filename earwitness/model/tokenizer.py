"""The small model's tokenizer: byte-level BPE with the published special-token names.

Digits stand alone, so that arithmetic and note names have one token a digit. The special names are those of the
published tokenizer; their ids are our own and travel in the model's config.
"""

from __future__ import annotations

from collections.abc import Iterable

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|BOT|>",
    "<|EOT|>",
    "<audio_start>",
    "<audio_end>",
    "<audio_patch>",
    "<tts_start>",
    "<tts_end>",
    "<tts_pad>",
)
# Ordinary added tokens: they survive ``skip_special_tokens`` because a reply is parsed by them.
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def train_tokenizer(texts: Iterable[str], vocab_size: int):
    """Return a transformers fast tokenizer with exactly ``vocab_size`` ids, learned from ``texts``."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    words = r"\d| ?[A-Za-z']+| ?[^\sA-Za-z\d]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(m, special=False, normalized=False) for m in MARKERS])
    # Too few texts leave merges unlearned; unused names keep the promised size.
    tokenizer.add_tokens([f"<unused_{i}>" for i in range(vocab_size - tokenizer.get_vocab_size())])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|EOT|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in ("<|EOT|>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
    )
