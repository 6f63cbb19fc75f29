"""Whose turn is it? A state machine over speech probabilities; its only clock is the sound it was given.

A turn begins with speech. A short silence is its soft end: work on an answer may start, unheard. If speech goes on the
turn is revised and that work is void. A longer silence is the hard end: the answer may be heard. Speech while an
answer plays first holds the answer; it resumes after a backchannel ("mm-hm") and is interrupted by anything longer.
With ``turn_detection`` null (push-to-talk) there is no such machine: the client commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FRAME_MS = 32
FRAME_SAMPLES = FRAME_MS * 16  # 512, what Silero decides on
_EAGERNESS_MS = {"low": 1200, "medium": 640, "auto": 640, "high": 320}  # ours: a longer silence for less eagerness


@dataclass(frozen=True)
class TurnConfig:
    """All thresholds. Times are milliseconds of sound and act in steps of one 32 ms frame, rounded up."""

    threshold: float = 0.5
    """Probability from which a frame is speech; once speech goes on, 0.15 less keeps it going."""
    start_ms: int = 64
    """Speech that begins a turn while nothing plays."""
    prefix_ms: int = 300
    """Sound before the first speech that belongs to the turn (``prefix_padding_ms``)."""
    soft_ms: int = 96
    """Silence after which work on the answer starts."""
    hard_ms: int = 320
    """Silence after which the turn has ended (``silence_duration_ms``)."""
    revise_ms: int = 64
    """Speech after a soft end that makes the work void; a shorter sound only makes the silence count anew."""
    hold_ms: int = 64
    """Speech that holds an answer while it plays."""
    interrupt_ms: int = 384
    """Speech that interrupts it; anything shorter was a backchannel."""
    backchannel_gap_ms: int = 192
    """Silence after which a shorter sound counts as over, and the answer resumes."""
    longest_ms: int = 120_000
    """A turn ends after this even if speech goes on."""
    idle_ms: int | None = None
    """Silence after an answer has been heard that asks for a timeout (``idle_timeout_ms``)."""

    def __post_init__(self) -> None:
        for name in ("start_ms", "soft_ms", "hard_ms", "revise_ms", "hold_ms", "backchannel_gap_ms", "longest_ms"):
            if getattr(self, name) < FRAME_MS:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {FRAME_MS} (one frame) or more")
        if self.interrupt_ms < self.hold_ms:
            raise ValueError(f"interrupt_ms is {self.interrupt_ms}; it must be hold_ms ({self.hold_ms}) or more")

    @classmethod
    def of(cls, detection: dict[str, Any], **ours: Any) -> TurnConfig:
        """Return the thresholds for a session's ``turn_detection``, with ``ours`` for what the protocol cannot say."""
        if detection["type"] == "semantic_vad":
            hard, rest = _EAGERNESS_MS[detection["eagerness"]], {}
        else:
            hard = detection["silence_duration_ms"]
            rest = {"threshold": detection["threshold"], "prefix_ms": detection["prefix_padding_ms"]}
            rest["idle_ms"] = detection["idle_timeout_ms"]
        soft = min(ours.pop("soft_ms", cls.soft_ms), hard)
        return cls(**{**rest, "hard_ms": hard, "soft_ms": soft, **ours})


@dataclass(frozen=True)
class Turn:
    """Something that a frame brought about."""

    kind: str
    """``started``, ``soft``, ``revised``, ``stopped``, ``hold``, ``resume`` or ``idle``."""
    sample: int
    """Where: the first sample of the turn with its prefix for ``started``, else the end of the frame."""


class Turns:
    """The machine. ``playing`` says whether an answer can be heard that speech may interrupt."""

    def __init__(self, config: TurnConfig, sample: int = 0) -> None:
        self.config = config
        self.sample = sample
        """Number of the first sample of the next frame."""
        self.reset()

    def reset(self) -> None:
        """Go back to silence, as after a commit or a clear; ``sample`` goes on."""
        self.state = "quiet"
        self.voiced_ms = self.gap_ms = self.turn_ms = self.idle_ms = 0
        self.onset = self.sample
        self.soft_sent = False

    def step(self, probability: float, playing: bool = False, waiting: bool = False) -> list[Turn]:
        """Return what the next frame of 512 samples brought about, in order.

        ``waiting`` is true while the user is expected to speak: an answer was heard to its end. Idle time counts then.
        """
        bar = self.config.threshold - (0.15 if self.state != "quiet" or self.voiced_ms else 0.0)
        voiced = probability >= max(bar, 0.01)
        begin, self.sample = self.sample, self.sample + FRAME_SAMPLES
        if self.state == "speaking":
            return self._speaking(voiced)
        return self._silent(voiced, begin, playing, waiting)

    def _silent(self, voiced: bool, begin: int, playing: bool, waiting: bool) -> list[Turn]:
        config = self.config
        if not voiced:
            return self._nothing_said(waiting)
        if not self.voiced_ms:
            self.onset = begin
        self.voiced_ms += FRAME_MS
        self.gap_ms = self.idle_ms = 0
        if self.voiced_ms >= (config.interrupt_ms if playing else config.start_ms):
            length = (self.sample - self.onset) // 16
            self.state, self.voiced_ms, self.soft_sent, self.turn_ms = "speaking", 0, False, length
            return [Turn("started", max(0, self.onset - config.prefix_ms * 16))]
        if playing and self.state == "quiet" and self.voiced_ms >= config.hold_ms:
            self.state = "held"
            return [Turn("hold", self.sample)]
        return []

    def _nothing_said(self, waiting: bool) -> list[Turn]:
        config = self.config
        if self.state == "held":
            self.gap_ms += FRAME_MS
            if self.gap_ms < config.backchannel_gap_ms:
                return []
            self.reset()
            return [Turn("resume", self.sample)]
        self.voiced_ms = 0
        self.idle_ms = self.idle_ms + FRAME_MS if waiting else 0
        if config.idle_ms is None or self.idle_ms < config.idle_ms:
            return []
        self.idle_ms = 0
        return [Turn("idle", self.sample)]

    def _speaking(self, voiced: bool) -> list[Turn]:
        config, found = self.config, []
        self.turn_ms += FRAME_MS
        if voiced:
            self.gap_ms, self.voiced_ms = 0, self.voiced_ms + FRAME_MS
            if self.soft_sent and self.voiced_ms >= config.revise_ms:
                self.soft_sent = False
                found.append(Turn("revised", self.sample))
        else:
            self.gap_ms, self.voiced_ms = self.gap_ms + FRAME_MS, 0
            if not self.soft_sent and self.gap_ms >= config.soft_ms:
                self.soft_sent = True
                found.append(Turn("soft", self.sample))
        if self.gap_ms >= config.hard_ms or self.turn_ms >= config.longest_ms:
            self.reset()
            found.append(Turn("stopped", self.sample))
        return found
