"""Earwitness: audio language models that reason about what they hear.

    import earwitness as ew
    reply = ew.load().ask("clip.wav", "Which note is higher, the first or the second?")

Importing the package loads nothing heavy; each name below brings its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earwitness import soundworld
    from earwitness.audio import audio_token_count, load_audio, log_mel
    from earwitness.engines import load
    from earwitness.model import AudioReasoner
    from earwitness.prompt import parse
    from earwitness.records import Reply, Sample

__version__ = "0.1.0"
__all__ = [
    "AudioReasoner",
    "Reply",
    "Sample",
    "audio_token_count",
    "load",
    "load_audio",
    "log_mel",
    "parse",
    "soundworld",
]

_HOMES = {
    "AudioReasoner": "earwitness.model",
    "Reply": "earwitness.records",
    "Sample": "earwitness.records",
    "audio_token_count": "earwitness.audio",
    "load": "earwitness.engines",
    "load_audio": "earwitness.audio",
    "log_mel": "earwitness.audio",
    "parse": "earwitness.prompt",
}


def __getattr__(name: str) -> Any:
    if name == "soundworld":
        return importlib.import_module("earwitness.soundworld")
    if name not in _HOMES:
        raise AttributeError(f"module 'earwitness' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
