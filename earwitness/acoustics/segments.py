"""Where something is heard: stretches of sound between stretches of background, and onsets.

Each segmentation runs at several sensitivities. Where they disagree, a count has an interval and not one value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.acoustics.frames import FRAME_SECONDS, Frames

# (gap in seconds that parts two events, dB above the background at which one begins)
_EVENT_SETTINGS = ((0.05, 6.0), (0.10, 8.0), (0.16, 10.0))
# (rise in dB that makes an onset, share of the strongest rise that it must have)
ONSET_SETTINGS = ((1.2, 0.07), (2.0, 0.12), (3.5, 0.2))
_LEAST_EVENT = 0.03
_LEAST_SPACING = 0.06
_CONTINUOUS_DB = 10.0


@dataclass(frozen=True)
class Event:
    """A stretch of sound: times in seconds and its level in dB below full scale."""

    start: float
    end: float
    level_db: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def active_runs(frames: Frames, gap_seconds: float, above_db: float) -> list[tuple[int, int]]:
    """Return (first, last + 1) of the runs of frames above the background, with shorter gaps closed.

    The threshold lies ``above_db`` over the background, or a third of the way to the loudest where that is higher:
    a decaying tail is not sound for ever. A clip without pauses is one run.
    """
    level = frames.level_db
    if frames.peak_db - frames.floor_db < _CONTINUOUS_DB:
        return [(0, len(level))] if frames.peak_db > -75 else []
    threshold = max(frames.floor_db + above_db, frames.floor_db + (frames.peak_db - frames.floor_db) / 3, -80)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], level > threshold, [0]]).astype(int)))
    runs: list[tuple[int, int]] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist()):
        if runs and (first - runs[-1][1]) * FRAME_SECONDS < gap_seconds:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return [run for run in runs if (run[1] - run[0]) * FRAME_SECONDS >= _LEAST_EVENT]


def events_of(frames: Frames) -> tuple[list[Event], list[int]]:
    """Return (events at the middle setting, their number at each setting)."""
    found = [active_runs(frames, gap, above) for gap, above in _EVENT_SETTINGS]
    events = [as_event(frames, first, last) for first, last in found[1]]
    return events, [len(runs) for runs in found]


def as_event(frames: Frames, first: int, last: int) -> Event:
    """Return the event of a run of frames; its level is that of its louder half, which silence does not dilute."""
    part = np.sort(frames.level_db[first : max(last, first + 1)])
    loud = part[len(part) // 2 :]
    level = 10 * np.log10(np.mean(10 ** (loud / 10)))
    return Event(first * FRAME_SECONDS, last * FRAME_SECONDS, float(level))


def onset_frames(frames: Frames, setting: int = 1) -> list[int]:
    """Return the frames where sounds begin, at one of ``ONSET_SETTINGS``."""
    least, share = ONSET_SETTINGS[setting]
    strength = frames.onset_strength
    if not len(strength):
        return []
    wide = round(0.15 / FRAME_SECONDS)
    mean = np.convolve(np.pad(strength, wide, mode="edge"), np.ones(2 * wide + 1) / (2 * wide + 1), "valid")
    wanted = np.maximum(np.maximum(least, share * np.percentile(strength, 99.5)), mean * 1.3)
    near = round(0.03 / FRAME_SECONDS)
    padded = np.pad(strength, near)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1).max(axis=1)
    peaks = np.flatnonzero((strength >= highest) & (strength > wanted))
    kept: list[int] = []
    for peak in sorted(peaks.tolist(), key=lambda p: -strength[p]):  # the end of a note clicks, but less than the next
        if all(abs(peak - other) * FRAME_SECONDS >= _LEAST_SPACING for other in kept):
            kept.append(peak)
    # A rise is measured over 20 ms, so its peak comes after the onset.
    return [max(peak - 2, 0) for peak in sorted(kept)]
