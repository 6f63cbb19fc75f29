"""The benchmarks, one file each; imported when asked for by name."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.evaluate.task import Task

IDS = (
    "mmau",
    "mmau_pro",
    "mmsu",
    "big_bench_audio",
    "spoken_mqa",
    "wildspeech",
    "mmar",
    "air_bench",
    "uro_bench",
    "speech_ifeval",
    "voicebench",
    "trivia_qa",
    "web_questions",
    "lat_bench",
    "ceaeval",
    "speechr",
    "audiobench",
    "soundworld",
)
"""Each is a module of this package that holds its ``Task`` as ``TASK``."""


def get(name: str) -> Task:
    """Return the task of this id; ``ValueError`` with the nearest names where there is none."""
    if name not in IDS:
        near = difflib.get_close_matches(name, IDS, n=3) or IDS
        raise ValueError(f"there is no task {name!r}; did you mean {' or '.join(near)}?")
    task: Task = importlib.import_module(f"earwitness.evaluate.tasks.{name}").TASK
    return task
