"""Progress of long jobs in the user's units, with the time left; always on stderr, and only after two seconds."""

from __future__ import annotations

import sys
import time
from typing import Any

_QUIET_SECONDS = 2.0
_LINE_SECONDS = 10.0


class Progress:
    """Counts ``done`` of ``total``: a bar on a terminal, else a plain line every ten seconds.

    Example::

        with Progress(100, "clips") as progress:
            for clip in clips:
                ...
                progress.advance()
    """

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._begun = time.monotonic()
        self._last_line = self._begun + _QUIET_SECONDS - _LINE_SECONDS
        self._bar: Any = None
        self._is_terminal = sys.stderr.isatty()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add ``count``; ``note`` is shown behind the numbers."""
        self.done += count
        now = time.monotonic()
        if now - self._begun < _QUIET_SECONDS:
            return
        if self._is_terminal:
            self._show_bar(note)
        elif now - self._last_line >= _LINE_SECONDS or self.done == self.total:
            self._last_line = now
            left = (now - self._begun) / max(1, self.done) * (self.total - self.done)
            text = f"{self.done:,} of {self.total:,} {self.unit}, {_clock(left)} left" + (f", {note}" if note else "")
            print(text, file=sys.stderr, flush=True)

    def _show_bar(self, note: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            shown = TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}")
            extra = TextColumn("{task.fields[note]}")
            console = Console(stderr=True)
            self._bar = Bar(BarColumn(), shown, TimeRemainingColumn(), extra, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, unit=self.unit, note=note)
        self._bar.update(self._task, completed=self.done, note=note)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _clock(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
