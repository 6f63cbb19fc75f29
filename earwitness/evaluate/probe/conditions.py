"""What a probe asks instead of the real question: the same words with another sound, with none, or with text for it.

Conditions that take the sound away say how much of a score was the sound's; those that must not matter (a codec, a
small gain, a pause before) say how steady the answers are. ``edits`` has those that must change the answer.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from earwitness import audio
from earwitness.data import codecs
from earwitness.evaluate.runner import load_clip
from earwitness.evaluate.task import Task
from earwitness.prompt import Message
from earwitness.prompt.content import AUDIO_PARTS
from earwitness.records import Sample

AWAY = ("no_audio", "silence", "noise", "other")
"""The sound is taken away: no clip; zeros; noise as loud as the clip; the clip of another item of the same kind."""
TOLD = ("transcript", "caption")
"""Text stands for the sound."""
PARTLY = ("mask",)
"""Half of the clip is silenced, in pieces of 0.2 s."""
HARMLESS = ("codec", "gain", "pad")
"""The answer stays: telephone coding (mu-law), 3 dB softer, 0.2 s of silence before."""
CONDITIONS = ("real", *AWAY, *TOLD, *PARTLY, *HARMLESS)

_CACHE_BYTES = 512 << 20
"""Of clips kept for all conditions: half an hour of sound at 16 kHz is 115 MB."""
_MASK_SECONDS, _PAD_SECONDS, _GAIN_DB = 0.2, 0.2, -3.0
_WORDS = {
    "transcript": 'The recording cannot be played; this is said in it: "{}"',
    "caption": "The recording cannot be played; it is described as follows: {}",
}

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Conditions:
    """The conversations of the items of a task under every condition."""

    def __init__(self, task: Task, samples: Sequence[Sample], prompt: str = "report") -> None:
        """Pair the items with those whose sound they get in ``other``."""
        self._task, self._prompt = task, prompt
        self._donor = _donors(samples)
        self._clips: dict[Any, np.ndarray] = {}
        self._cached_bytes = 0

    def applies(self, name: str, sample: Sample) -> bool:
        """Return whether an item can be asked under a condition."""
        if name == "real":
            return True
        if name in TOLD:
            return bool(sample.audio) and bool(_text(name, sample))
        return bool(sample.audio) and (name != "other" or sample.id in self._donor)

    def messages(self, name: str, sample: Sample) -> list[Message]:
        """Return the conversation with its clips loaded; under ``real`` they are as they were.

        Raises:
            OSError: a clip that cannot be read.
        """
        plain = self._task.messages(sample, self._prompt)
        if name == "real":
            return _with_clips(plain, lambda part: {"type": "audio", "audio": self.clip(part[part["type"]])})
        if name == "other":
            clips = iter(self._donor[sample.id].audio)
            return _with_clips(plain, lambda part: {"type": "audio", "audio": self.clip(next(clips))})
        if name in ("no_audio", *TOLD):
            bare = _with_clips(plain, lambda part: None)
            return _with_words(bare, _WORDS[name].format(_text(name, sample))) if name in TOLD else bare
        change, rng = _CHANGES[name], _generator(sample.id, name)
        return _with_clips(plain, lambda part: {"type": "audio", "audio": change(self.clip(part[part["type"]]), rng)})

    def clip(self, clip: Any) -> np.ndarray:
        """Return a clip as a waveform; as many as there is room for are kept, since every condition asks for them.

        The first ones stay: conditions go through all items in turn, so that of the latest none would be met again.
        """
        if not isinstance(clip, (str, bytes)):
            return np.asarray(load_clip(clip))
        if clip in self._clips:
            return self._clips[clip]
        wave = np.asarray(load_clip(clip))
        if self._cached_bytes + wave.nbytes <= _CACHE_BYTES:
            self._clips[clip] = wave
            self._cached_bytes += wave.nbytes
        return wave


def _donors(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Return for each item the next one of the same task and number of clips that has another answer, if there is."""
    groups: dict[tuple[str, str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.domain, sample.task, len(sample.audio)].append(sample)
    found = {}
    for group in groups.values():
        for place, sample in enumerate(group):
            following = group[place + 1 :] + group[:place]
            donor = next((other for other in following if other.answer != sample.answer), None)
            if sample.audio and donor is not None:
                found[sample.id] = donor
    return found


def _text(name: str, sample: Sample) -> str:
    return str((sample.transcript if name == "transcript" else sample.extra.get("caption")) or "")


def _with_clips(messages: Sequence[Message], change: Callable[[Any], Any]) -> list[Message]:
    """Return messages with every audio part replaced by what ``change`` gives; None leaves it out."""
    out = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            parts = [change(p) if isinstance(p, dict) and p.get("type") in AUDIO_PARTS else p for p in content]
            message = {**message, "content": [part for part in parts if part is not None]}
        out.append(message)
    return out


def _with_words(messages: Sequence[Message], words: str) -> list[Message]:
    """Return messages with a sentence before the last turn's text."""
    *earlier, last = messages
    content = last["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return [*earlier, {**last, "content": [{"type": "text", "text": f"{words}\n"}, *parts]}]


def _generator(name: str, condition: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{condition}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _silence(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(wave)


def _noise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rms = float(np.sqrt(np.mean(np.square(wave)))) if len(wave) else 0.0
    return (rms * rng.standard_normal(len(wave))).clip(-1, 1).astype(np.float32)


def _mask(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = round(_MASK_SECONDS * audio.SAMPLE_RATE)
    pieces = -(-len(wave) // size)
    silenced = rng.permutation(np.arange(pieces) < pieces // 2)
    return wave * ~np.repeat(silenced, size)[: len(wave)]


def _codec(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return codecs.mu_law(wave, rng)


def _gain(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (wave * 10 ** (_GAIN_DB / 20)).astype(np.float32)


def _pad(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([np.zeros(round(_PAD_SECONDS * audio.SAMPLE_RATE), np.float32), wave])


_CHANGES: dict[str, Change] = {
    "silence": _silence,
    "noise": _noise,
    "mask": _mask,
    "codec": _codec,
    "gain": _gain,
    "pad": _pad,
}
