"""One measured thing: a value, the interval in which it surely lies, its unit, and the time that it belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Quantity:
    """A measurement. ``value`` is None where it could not be made, and then ``note`` says why in a few words.

    ``low`` and ``high`` bound the true value with about 95 % certainty. A text value (``rising``) has none; it is None
    where the sound lies too near the border between two texts.
    """

    name: str
    value: float | str | None
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    start: float = 0.0
    """Seconds from the beginning of the clip, like ``end``."""
    end: float = 0.0
    note: str = ""

    @property
    def uncertainty(self) -> float:
        """Half of the interval, in the unit; NaN for a text."""
        return (self.high - self.low) / 2

    @property
    def number(self) -> float:
        """The value as a float; NaN where there is none."""
        return float(self.value) if isinstance(self.value, (int, float)) else math.nan

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not measurable ({self.note})"
        if isinstance(self.value, str):
            shown = self.value
        else:
            shown = f"{_short(self.value)} (+-{_short(self.uncertainty)})" if self.uncertainty else _short(self.value)
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: {shown}{unit}" + (f", {self.note}" if self.note else "")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them; NaN becomes None."""
        fields = {"name": self.name, "value": self.value, "low": self.low, "high": self.high, "unit": self.unit}
        fields |= {"start": round(self.start, 3), "end": round(self.end, 3), "note": self.note}
        return {k: _plain(v) for k, v in fields.items()}


def about(name: str, value: float, uncertainty: float, unit: str = "", **more: Any) -> Quantity:
    """Return a quantity with a symmetric interval."""
    return Quantity(name, value, value - uncertainty, value + uncertainty, unit, **more)


def unknown(name: str, why: str, unit: str = "", **more: Any) -> Quantity:
    """Return a quantity that could not be measured."""
    return Quantity(name, None, unit=unit, note=why, **more)


def semitones(hz: float, reference: float) -> float:
    """Return how many semitones ``hz`` lies above ``reference``."""
    return 12 * math.log2(hz / reference)


def note_name(hz: float) -> str:
    """Return the nearest note of equal temperament at A4 = 440 Hz, such as ``C#4``."""
    midi = round(69 + semitones(hz, 440))
    return f"{NAMES[midi % 12]}{midi // 12 - 1}"


def _short(x: float) -> str:
    if abs(x) >= 1000:
        return f"{x:.0f}"
    return f"{x:.3g}"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
