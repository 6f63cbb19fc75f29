"""The two records that everything exchanges: a ``Sample`` of data and a model's ``Reply``.

A manifest is JSON lines, one ``Sample`` a line. Times are in seconds. An unknown or a missing field is an error
that names the line, because a misspelt field that is dropped in silence costs a training run.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

STATUSES = (
    "complete",
    "truncated",
    "empty_thinking",
    "no_answer",
    "degenerate",
    "foreign",
    "tool_call",
    "cancelled",
)
REASONING_TYPES = ("factual", "procedural", "normative", "contextual", "causal")
ANSWER_TYPES = ("choice", "number", "expression", "yes_no", "text", "code", "open")


@dataclass(frozen=True)
class Sample:
    """One item of data: what is heard, what is asked, what is right, and where it comes from."""

    id: str
    audio: tuple[str | bytes, ...] = ()
    """Clips in order: a path, encoded bytes, or an address such as ``soundworld:music/test/7@1``."""
    question: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    """A conversation instead of a single question; content parts as in ``prompt.render``."""
    choices: tuple[str, ...] = ()
    answer: str | None = None
    acceptable: tuple[str, ...] = ()
    """Further answers that count as right."""
    answer_type: str = "text"
    domain: str = ""
    task: str = ""
    reasoning_type: str = ""
    tags: tuple[str, ...] = ()
    transcript: str | None = None
    facts: dict[str, Any] | None = None
    reasoning: str | None = None
    """A chain to train on; ``""`` asks for the empty chain, ``None`` says that there is none."""
    chosen: str | None = None
    rejected: str | None = None
    rubric: str | None = None
    tests: tuple[str, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    """Benchmark, version and hash."""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a sample needs an id")
        if self.answer_type not in ANSWER_TYPES:
            raise ValueError(f"answer_type {self.answer_type!r} is not one of {', '.join(ANSWER_TYPES)}")
        if self.reasoning_type and self.reasoning_type not in REASONING_TYPES:
            raise ValueError(f"reasoning_type {self.reasoning_type!r} is not one of {', '.join(REASONING_TYPES)}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, ready for ``json.dumps``; refuses raw bytes."""
        if any(isinstance(clip, bytes) for clip in self.audio):
            raise ValueError(f"sample {self.id}: audio bytes cannot go into a manifest; write them to a file first")
        default = Sample(id="x")
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k == "id" or v != getattr(default, k)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Sample:
        """Build a sample from a parsed JSON object; raises ``ValueError`` on an unknown or missing field."""
        known = {f.name: f for f in dataclasses.fields(cls)}
        for name in fields:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ValueError(f"unknown field {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        if "id" not in fields:
            raise ValueError("field 'id' is missing")
        if not fields.get("question") and not fields.get("messages"):
            raise ValueError("field 'question' (or 'messages') is missing")
        tuples = {"audio", "messages", "choices", "acceptable", "tags", "tests", "tools"}
        values: dict[str, Any] = {k: tuple(v) if k in tuples else v for k, v in fields.items()}
        return cls(**values)


def read_manifest(path: str | pathlib.Path) -> Iterator[Sample]:
    """Yield the samples of a JSON-lines file as a stream; raises ``ValueError`` naming file and line."""
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError("the line is not a JSON object")
                yield Sample.from_json(fields)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error


def append_line(path: str | pathlib.Path, line: str) -> None:
    """Append one line to a file, all of it or nothing; ``OSError`` with one sentence when the disk does not take it."""
    data = line.encode("utf-8")
    with open(path, "ab", buffering=0) as file:  # unbuffered: one system call a line
        end = file.seek(0, os.SEEK_END)
        try:
            written = file.write(data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            file.truncate(end)
            raise OSError(f"{path} cannot be written ({error.strerror}); free space and run again") from error


@dataclass
class Reply:
    """What a model said: the chain, the answer, and how it ended."""

    thinking: str
    answer: str
    status: str = "complete"
    """One of ``STATUSES``; ``empty_thinking`` never applies where no thinking was asked for."""
    thinking_tokens: int = 0
    answer_tokens: int = 0
    audio_seconds: float = 0.0
    audio_tokens: int = 0
    seconds: float = 0.0
    """Wall time from submission to the last token."""
    first_token_seconds: float = 0.0
    tool_calls: tuple[dict[str, Any], ...] = ()
    token_ids: tuple[int, ...] = ()
    """The generated ids; empty from engines that return text only."""
    logprobs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status!r} is not one of {', '.join(STATUSES)}")
