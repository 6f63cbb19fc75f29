"""Which questions are worth asking: those that need the sound (report, section 4.2), and for RL the hard ones (4.3).

A question does not need the sound if a text-only model answers it from the transcript or a caption, or if it is
answered right with silence in place of the clip. The text-only model is that of the round before, without its ears.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import pathlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness import audio, soundworld
from earwitness.data import dialogue
from earwitness.data.cache import UnusableAudio
from earwitness.records import Sample
from earwitness.stages.answers import Answered, AskConfig, Respondent, answered, is_right, write_manifest
from earwitness.stages.start import say

KEEP = ("moderate", "failed", "all")
_GIVEN = {
    "transcript": 'This is the transcript of a clip. "{}"',
    "caption": "A recording is described as follows. {}",
}


@dataclass(frozen=True)
class QuestionsConfig:
    """How questions that need no sound are found out. Ours: the report says what is wanted and not how."""

    tries: int = 4
    """Answers to each question from each text, and to silence."""
    right: int = 4
    """A question is dropped where at least so many of them are right; fewer drop more that are guessed right."""
    max_new_tokens: int = 320


@dataclass(frozen=True)
class CurateConfig:
    """Which questions RL sees."""

    samples: int = 8
    """Paper: pass@8."""
    low: int = 3
    """Paper."""
    high: int = 6
    """Paper."""
    keep: str = "moderate"
    """``moderate``: between low and high. For the report's figure 5 also ``failed`` (pass@8 of 0) and ``all``."""
    most: int = 0
    """Questions at the most; 0 for no limit."""
    temperature: float = 1.0
    max_new_tokens: int = 320

    def __post_init__(self) -> None:
        if self.keep not in KEEP or not 0 <= self.low <= self.high <= self.samples:
            raise ValueError(
                f"curate: keep {self.keep!r} must be one of {', '.join(KEEP)}, and low {self.low} and high "
                f"{self.high} lie in this order between 0 and {self.samples}"
            )

    @property
    def ask(self) -> AskConfig:
        """How the questions are asked."""
        return AskConfig(self.samples, self.temperature, self.max_new_tokens)


# Questions that need the sound


def written(sample: Sample, kind: str) -> Sample | None:
    """Return a question with a text in place of its sound, or None where there is no such text."""
    words = sample.transcript if kind == "transcript" else sample.extra.get("caption")
    if not words:
        return None
    return dataclasses.replace(sample, audio=(), question=f"{_GIVEN[kind].format(words)} {sample.question}")


def silenced(sample: Sample) -> Sample:
    """Return a question whose clips are digital silence, each as long as the clip to the next half second.

    Raises:
        UnusableAudio: a clip that cannot be read.
    """
    return dataclasses.replace(sample, audio=tuple(_silence(_half_seconds(clip, sample)) for clip in sample.audio))


@functools.lru_cache(maxsize=512)
def _silence(half_seconds: int) -> bytes:
    import soundfile  # late, as nothing else here needs it

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(half_seconds * audio.SAMPLE_RATE // 2, np.int16), audio.SAMPLE_RATE, format="WAV")
    return buffer.getvalue()


def _half_seconds(clip: str | bytes, sample: Sample) -> int:
    seconds = len(waveform(clip, sample)) / audio.SAMPLE_RATE
    return max(1, int(np.ceil(2 * seconds)))


def waveform(clip: str | bytes, sample: Sample) -> np.ndarray:
    """Return a clip of a sample (16 kHz, mono); raises ``UnusableAudio`` naming both."""
    try:
        is_world = isinstance(clip, str) and clip.startswith("soundworld:")
        return soundworld.waveform(str(clip)) if is_world else audio.load_audio(clip)
    except (OSError, ValueError) as error:
        name = "audio bytes" if isinstance(clip, bytes) else clip
        raise UnusableAudio(f"sample {sample.id}: {name} cannot be used ({error}); take the sample out") from error


def select_questions(
    respondent: Respondent, samples: Sequence[Sample], config: QuestionsConfig, folder: pathlib.Path
) -> dict[str, int]:
    """Write ``questions.jsonl``, the questions that need their sound; return how many were dropped and why.

    Each is asked in the order transcript, caption, silence until one of them is enough; ``replies-*.jsonl`` hold what
    was answered. A question without a key cannot be found out and is kept.
    """
    counts = collections.Counter(asked=len(samples))
    left = []
    for sample in samples:
        reason = "without sound" if not sample.audio else "a conversation" if sample.messages else ""
        counts[reason] += 1
        left += [] if reason else [sample]
    del counts[""]
    for kind in ("transcript", "caption", "silence"):
        before = len(left)
        left = _withstands(respondent, left, kind, config, folder / f"replies-{kind}.jsonl")
        counts[f"answered from {kind}"] = before - len(left)
    counts["without a key"] = sum(s.answer is None for s in left)
    counts["kept"] = write_manifest(folder / "questions.jsonl", left)
    return dict(counts)


def _withstands(
    respondent: Respondent, samples: list[Sample], kind: str, config: QuestionsConfig, path: pathlib.Path
) -> list[Sample]:
    """Return the samples that are not answered from a text, or with silence."""
    asked: dict[str, Sample] = {}
    for sample in samples:
        try:
            other = silenced(sample) if kind == "silence" else written(sample, kind)
        except UnusableAudio as error:
            say(str(error))
            continue
        if other is not None and sample.answer is not None:
            asked[sample.id] = other
    # A cold-started model thinks about texts, and answers sounds directly.
    how = AskConfig(config.tries, max_new_tokens=config.max_new_tokens, think=kind != "silence")
    known = {
        sample.id
        for sample, replies in answered(respondent, list(asked.values()), how, path)
        if sum(is_right(sample, reply) for reply in replies) >= config.right
    }
    return [sample for sample in samples if sample.id not in known]


# Questions that are hard enough


def curate(found: Iterable[Answered], config: CurateConfig, folder: pathlib.Path) -> dict[str, int]:
    """Write ``curated.jsonl``, the questions that RL will see, and return how many had 0, 1, 2 ... right replies.

    A question without replies, as its sound cannot be read, and an open one are left out of every variant.
    """
    counts: collections.Counter[str] = collections.Counter()
    kept: list[Sample] = []
    for sample, replies in found:
        if not replies or sample.answer is None or sample.answer_type == "open":
            counts["not verifiable"] += 1
            continue
        right = sum(is_right(sample, reply) for reply in replies)
        counts[f"{right} of {config.samples} right"] += 1
        if is_wanted(right, config):
            extra = {k: v for k, v in sample.extra.items() if k == "condition"} | {"right": right}
            kept.append(dataclasses.replace(sample, reasoning=None, facts=None, extra=extra))
    kept = kept[: config.most or None]
    counts["with sound"] = sum(bool(dialogue.clips(s)) for s in kept)
    counts["kept"] = write_manifest(folder / "curated.jsonl", kept)
    return dict(sorted(counts.items()))


def is_wanted(right: int, config: CurateConfig) -> bool:
    """Return whether a question with so many right replies is kept."""
    return {"moderate": config.low <= right <= config.high, "failed": right == 0, "all": True}[config.keep]
