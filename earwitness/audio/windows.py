"""A recording of any length, in windows: two passes over the file, and never all of it in memory.

The first pass keeps one level for every 20 ms. From these come the pauses, where windows begin and end, and the
stretches in which something stands out from the background. The second pass gives the sound of the windows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from earwitness.audio.decoding import Source, stream_audio
from earwitness.audio.front_end import SAMPLE_RATE

LEVEL_HOP = 320  # samples: 20 ms
_FRAMES = SAMPLE_RATE // LEVEL_HOP  # of a second
_SILENCE_DB = -100.0
_BLOCK = 2 * _FRAMES  # a background of wind or birds has had its peak within 2 s
_AROUND = 30  # blocks, a minute, on either side, whose quiet tenth is the background
_BACKGROUND_ABOVE_DB = 15.0  # what is further above the quietest moments is no background, however steady
_ABOVE_DB = 4.0
_LEAST_FRAMES = 3  # a click of 40 ms is not an event
_MARGIN_SECONDS = 0.2
_PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class Span:
    """A stretch of a recording, in seconds from its beginning."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        """Return whether they share some time."""
        return self.start < other.end and other.start < self.end


class Recording:
    """A recording that is read in pieces, as often as it is needed."""

    def __init__(self, source: Source):
        """Decode it once, for its length and its levels; takes and raises what ``load_audio`` does, of any length.

        An open file that cannot seek is read into memory as it is.
        """
        file: Any = source
        self._source = file.read() if hasattr(file, "read") and not file.seekable() else file
        self.levels, length = _levels(self.pieces())
        self.seconds = length / SAMPLE_RATE

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield its waveform at 16 kHz in pieces."""
        if hasattr(self._source, "seek"):
            self._source.seek(0)
        return stream_audio(self._source, math.inf)

    @cached_property
    def events(self) -> list[Span]:
        """Stretches that stand out from the background around them, with a margin; see ``_standing_out``."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], _standing_out(self.levels), [0]]).astype(np.int8)))
        runs = [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist()) if b - a >= _LEAST_FRAMES]
        spans: list[Span] = []
        for first, last in runs:
            start, end = (
                max(0.0, first / _FRAMES - _MARGIN_SECONDS),
                min(self.seconds, last / _FRAMES + _MARGIN_SECONDS),
            )
            if spans and start - spans[-1].end < _PAUSE_SECONDS - 2 * _MARGIN_SECONDS:
                start = spans.pop().start
            elif spans:
                start = max(start, spans[-1].end)
            spans.append(Span(start, end))
        return spans

    def windows(self, seconds: float, events_only: bool = False) -> list[Span]:
        """Return windows of at most ``seconds``, in order, that end in pauses as far as there are any.

        Args:
            seconds: the longest window.
            events_only: leave out what is background only; else the windows cover the recording.

        Where no pause is near, a window begins a tenth before the one before has ended, so that what is cut in two in
        one of them is whole in the other.
        """
        spans = self.events if events_only else [Span(0.0, self.seconds)]
        return [window for span in spans for window in self.cut(span, seconds)]

    def cut(self, span: Span, seconds: float) -> list[Span]:
        """Return a stretch in windows of at most ``seconds``; see ``windows``."""
        out, start = [], span.start
        while span.end - start > seconds:
            # A remainder is shared, so that no window of a moment is left at the end.
            room = min(seconds, max((span.end - start + 0.1 * seconds) / 2, 0.6 * seconds))
            end, is_pause = self._quietest(start + 0.7 * room, start + room)
            out.append(Span(start, end))
            start = end if is_pause else max(start + 0.1 * seconds, end - 0.1 * seconds)
        return [*out, Span(start, span.end)]

    def _quietest(self, start: float, end: float) -> tuple[float, bool]:
        """Return (the middle of the quietest 0.3 s between two times, whether that is a pause)."""
        first, last = round(start * _FRAMES), max(round(end * _FRAMES), round(start * _FRAMES) + 1)
        wide = round(_PAUSE_SECONDS * _FRAMES)
        levels = self.levels[first:last]
        if len(levels) <= wide:
            return end, False
        loudest = np.lib.stride_tricks.sliding_window_view(levels, wide).max(axis=1)
        # Of equally quiet places the last: windows stay long.
        at = len(loudest) - 1 - int(np.argmin(loudest[::-1]))
        around = self.levels[max(0, first - 10 * _FRAMES) : last + 10 * _FRAMES]
        is_pause = loudest[at] < np.percentile(around, 95) - _BACKGROUND_ABOVE_DB
        return (first + at + wide / 2) / _FRAMES, bool(is_pause)

    def sounds(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        """Yield the waveform (L,) of each span; spans come in the order of their starts."""
        pieces, have = self.pieces(), 0
        kept: deque[tuple[int, np.ndarray]] = deque()
        for span in spans:
            first, last = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
            while have < last and (piece := next(pieces, None)) is not None:
                kept.append((have, piece))
                have += len(piece)
                while kept[0][0] + len(kept[0][1]) <= first and len(kept) > 1:
                    kept.popleft()
            yield np.concatenate([piece[max(0, first - at) : max(0, last - at)] for at, piece in kept])


def _levels(pieces: Iterator[np.ndarray]) -> tuple[np.ndarray, int]:
    """Return (the RMS level of every 20 ms in dB below full scale, float32; the number of samples)."""
    levels: list[np.ndarray] = []
    length, rest = 0, np.empty(0, np.float32)
    for piece in pieces:
        length += len(piece)
        rest = np.concatenate([rest, piece])
        whole = len(rest) // LEVEL_HOP * LEVEL_HOP
        levels.append(_level_db(rest[:whole]))
        rest = rest[whole:]
    if len(rest):
        levels.append(_level_db(np.pad(rest, (0, LEVEL_HOP - len(rest)))))
    return np.concatenate(levels), length


def _level_db(samples: np.ndarray) -> np.ndarray:
    power = np.square(samples.reshape(-1, LEVEL_HOP)).mean(axis=1)
    return (10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))).astype(np.float32)


def _standing_out(levels: np.ndarray) -> np.ndarray:
    """Return which frames (T,) lie 4 dB above the background.

    The background is as loud as the peaks of the quietest tenth of the 2 s blocks in the minute before or after,
    whichever is louder, so that a change of background is no event; but at most 15 dB above the quietest moments
    there, because speech without a pause is no background.
    """
    blocks = max(1, math.ceil(len(levels) / _BLOCK))
    padded = np.pad(levels, (0, blocks * _BLOCK - len(levels)), mode="edge").reshape(blocks, _BLOCK)
    peaks, floors = np.percentile(padded, 98, axis=1), np.percentile(padded, 5, axis=1)

    def background(first: int, last: int) -> float:
        return min(np.percentile(peaks[first:last], 10), np.percentile(floors[first:last], 10) + _BACKGROUND_ABOVE_DB)

    found = np.empty(blocks)
    for i in range(blocks):
        sides = [(max(0, i - _AROUND), i + 1), (i, min(blocks, i + _AROUND + 1))]
        long = [side for side in sides if side[1] - side[0] > _AROUND // 2]
        found[i] = max(background(*side) for side in long or [(sides[0][0], sides[1][1])])
    return levels > np.repeat(found, _BLOCK)[: len(levels)] + _ABOVE_DB
