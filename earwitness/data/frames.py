"""Dense truth for encoder pre-training: labelled spans -> a target distribution per 40 ms encoder frame.

Tags ``group=value`` of one group compete in a softmax with an extra class "none"; where several values sound at
once (two events overlapping), they share the probability.
"""

from __future__ import annotations

import numpy as np

FRAME_SECONDS = 0.04


class FrameTargets:
    """The classes of all tags and the targets that spans give."""

    def __init__(self, tags: list[str]) -> None:
        self.groups: dict[str, slice] = {}
        self.column: dict[str, int] = {}
        start = 0
        for group in dict.fromkeys(tag.split("=")[0] for tag in tags):
            values = sorted({tag for tag in tags if tag.split("=")[0] == group})
            for offset, tag in enumerate(values):
                self.column[tag] = start + 1 + offset  # the first column of a group is "none"
            self.groups[group] = slice(start, start + 1 + len(values))
            start += 1 + len(values)
        self.num_classes = start

    def encode(self, spans: list[tuple[float, float, str]]) -> np.ndarray:
        """Return (K, 3) int16 rows of first frame, end frame, class: a compact form to keep in memory."""
        rows = []
        for start, end, tag in spans:
            first = int(start / FRAME_SECONDS)
            rows.append((first, max(first + 1, round(end / FRAME_SECONDS)), self.column[tag]))
        return np.array(rows, dtype=np.int16).reshape(-1, 3)

    def targets(self, encoded: list[np.ndarray], num_frames: int) -> np.ndarray:
        """Return (B, num_frames, classes) float32 distributions, each group of columns summing to 1."""
        out = np.zeros((len(encoded), num_frames, self.num_classes), dtype=np.float32)
        for row, marks in zip(out, encoded):
            for first, end, column in marks:
                row[first:end, column] = 1.0
        for columns in self.groups.values():
            part = out[..., columns]
            total = part[..., 1:].sum(-1)
            part[..., 0] = total == 0
            part /= np.maximum(total, 1.0)[..., None]
        return out
