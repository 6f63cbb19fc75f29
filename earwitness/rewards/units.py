"""Units that answers are given in: their dimension and their size, exact."""

from __future__ import annotations

from fractions import Fraction

_TABLE: tuple[tuple[str, str, str], ...] = (
    # dimension, factor to its base unit, spellings
    ("time", "1", "s sec secs second seconds"),
    ("time", "1/1000", "ms msec millisecond milliseconds"),
    ("time", "60", "min mins minute minutes"),
    ("time", "3600", "h hr hrs hour hours"),
    ("time", "86400", "day days"),
    ("time", "604800", "week weeks"),
    ("frequency", "1", "hz hertz"),
    ("frequency", "1000", "khz kilohertz"),
    ("tempo", "1", "bpm"),
    ("level", "1", "db decibel decibels"),
    ("pitch", "1", "semitone semitones"),
    ("pitch", "12", "octave octaves"),
    ("length", "1", "m meter meters metre metres"),
    ("length", "1/100", "cm centimeter centimeters centimetre centimetres"),
    ("length", "1/1000", "mm millimeter millimeters millimetre millimetres"),
    ("length", "1000", "km kilometer kilometers kilometre kilometres"),
    ("length", "0.0254", "inch inches"),
    ("length", "0.3048", "ft foot feet"),
    ("length", "0.9144", "yd yard yards"),
    ("length", "1609.344", "mile miles"),
    ("mass", "1", "g gram grams"),
    ("mass", "1/1000", "mg milligram milligrams"),
    ("mass", "1000", "kg kilogram kilograms"),
    ("volume", "1", "l liter liters litre litres"),
    ("volume", "1/1000", "ml milliliter milliliters millilitre millilitres"),
    ("dollar", "1", "$ usd dollar dollars buck bucks"),
    ("dollar", "1/100", "cent cents"),
    ("euro", "1", "\u20ac eur euro euros"),
    ("pound", "1", "\u00a3 gbp"),
    ("yen", "1", "\u00a5 yen"),
)
UNITS: dict[str, tuple[str, Fraction]] = {
    word: (dimension, Fraction(factor)) for dimension, factor, words in _TABLE for word in words.split()
}
"""Spelling -> (dimension, factor to the dimension's base unit)."""
CURRENCY_SIGNS = "$\u20ac\u00a3\u00a5"
