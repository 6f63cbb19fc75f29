"""The published names of the control tokens and the pieces of the format that are made of them."""

from __future__ import annotations

from typing import NamedTuple

BOT, EOT = "<|BOT|>", "<|EOT|>"
AUDIO_START, AUDIO_PATCH, AUDIO_END = "<audio_start>", "<audio_patch>", "<audio_end>"
THINK, END_THINK = "<think>", "</think>"
TOOL_CALL, END_TOOL_CALL = "<tool_call>", "</tool_call>"
TTS_START, TTS_END = "<tts_start>", "<tts_end>"
SPECIAL_TOKENS = (
    *(BOT, EOT, AUDIO_START, AUDIO_PATCH, AUDIO_END, THINK, END_THINK),
    *(TOOL_CALL, END_TOOL_CALL, TTS_START, TTS_END),
)
OPEN_CHAIN = f"{THINK}\n"
"""Prefill that asks for reasoning; it is in the prompt and never echoed."""
CLOSE_CHAIN = f"\n{END_THINK}\n"
"""What closes a chain, written by the model or, at a think budget, by the engine."""
EMPTY_CHAIN = f"{THINK}\n\n{END_THINK}\n"
"""Prefill that asks for an answer without reasoning (report, sec. 3.1)."""


class Segment(NamedTuple):
    """A piece of a prompt. Special tokens count only in control segments."""

    text: str
    is_control: bool
