r"""Messages -> prompt text with audio placeholders; generated text -> ``Reply``. Needs no torch.

The published format, with no newline after ``<|EOT|>``::

    <|BOT|>system\n{system}<|EOT|><|BOT|>human\n{content}<|EOT|><|BOT|>assistant\n<think>\n

A prompt is a list of ``Segment``: control text that this file wrote, and plain text from users, files and tools.
``encode`` turns special tokens in control text into their ids and breaks them apart in plain text, so that nobody
can close a turn, open a role or fake a chain by typing ``<|EOT|>``. Deviations from the published chat template, all
repairs: earlier assistant turns are closed, their reasoning is dropped, tools work without a system message.
"""

from __future__ import annotations

from earwitness.prompt.content import (
    TASKS,
    Message,
    clips,
    count_clips,
    question_text,
    report_choices,
    sample_messages,
    translate,
    user_message,
)
from earwitness.prompt.encoding import encode
from earwitness.prompt.parsing import is_degenerate, parse
from earwitness.prompt.rendering import audio_block, completion, render, segments
from earwitness.prompt.tokens import (
    AUDIO_END,
    AUDIO_PATCH,
    AUDIO_START,
    BOT,
    CLOSE_CHAIN,
    EMPTY_CHAIN,
    END_THINK,
    END_TOOL_CALL,
    EOT,
    OPEN_CHAIN,
    SPECIAL_TOKENS,
    THINK,
    TOOL_CALL,
    TTS_END,
    TTS_START,
    Segment,
)

__all__ = [
    "AUDIO_END",
    "AUDIO_PATCH",
    "AUDIO_START",
    "BOT",
    "CLOSE_CHAIN",
    "EMPTY_CHAIN",
    "END_THINK",
    "END_TOOL_CALL",
    "EOT",
    "OPEN_CHAIN",
    "SPECIAL_TOKENS",
    "TASKS",
    "THINK",
    "TOOL_CALL",
    "TTS_END",
    "TTS_START",
    "Message",
    "Segment",
    "audio_block",
    "clips",
    "completion",
    "count_clips",
    "encode",
    "is_degenerate",
    "parse",
    "question_text",
    "render",
    "report_choices",
    "sample_messages",
    "segments",
    "translate",
    "user_message",
]
