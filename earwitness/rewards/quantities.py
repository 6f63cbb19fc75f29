"""The numbers that a text states: digits, words, fractions, percent, units; exact."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from earwitness.rewards.extraction import plain
from earwitness.rewards.units import CURRENCY_SIGNS, UNITS

_MAX_DIGITS = 50
_MAX_EXPONENT = 300

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {word: n for n, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourths": 4, "fifths": 5}
_WORD = r"(?:" + "|".join((*_VALUES, "hundred", *_SCALES, *_PARTS, "minus", "negative", "point")) + r")"
_RUN = re.compile(
    rf"(?<![\w\-])(?:a\s+(?=hundred|thousand|million|half|third|quarter))?{_WORD}(?:(?:\s+and\s+a\s+|\s+and\s+|[\s-]+){_WORD})*(?!\w)"
)
_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMERAL = re.compile(
    r"(?P<sign>(?<![\w.)])[-+]\s?)?(?P<currency>[" + CURRENCY_SIGNS + r"]\s?)?(?<![\w:])(?<!\d[.,])"
    rf"(?:(?P<mixed>\d+)\s+(?=\d+\s?/\s?\d))?(?P<number>{_INTEGER}(?:\.\d+)?|\.\d+)"
    r"(?:\s?/\s?(?P<under>\d+(?!\d|\.\d|\s?/)))?"
    r"(?:e(?P<exponent>[-+]?\d{1,4})|\s?[x*\u00d7]\s?10\s?\^\s?\{?(?P<power>[-+]?\d{1,4})\}?)?"
    r"(?:\s(?P<scale>" + "|".join(_SCALES) + r")\b)?"
)
_AFTER = re.compile(
    r"\s?(?P<percent>%|percent\b|per\s+cent\b)|[\s-]?(?P<unit>beats\s+per\s+minute|[a-z]+)\b|(?P<bad>[.,:]\d|\w)"
)


@dataclass(frozen=True)
class Quantity:
    """A number as it was stated."""

    value: Fraction
    unit: str = ""
    """A key of ``UNITS``, or empty where none or an unknown one was given."""
    percent: bool = False
    decimals: int = 0
    """Digits after the point; -1 where the value was given as a fraction or in words, and is exact."""
    start: int = 0
    end: int = 0
    """Where it stands in ``prepared(text)``."""
    spelled: bool = False


def prepared(text: str) -> str:
    r"""Return the text in the form that ``quantities`` reads: ``plain``, fractions as ``a/b``, thin spaces gone."""
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f_](?=\d{3}(?!\d))", "", text)
    text = "".join(_vulgar(char) for char in text)
    text = re.sub(r"\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", r" \1/\2", text)
    text = re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}", r"\1", text).replace("\\times", "x")
    return plain(text.replace("\\%", "%").replace("\\$", "$").replace("{,}", ","))


def quantities(text: str) -> list[Quantity]:
    """Return the numbers of a ``prepared`` text in order.

    Read are: thousands commas ("1,200", never "1,20"), signs, decimals, "3/4", "1 3/4", "1.5e3", "1.5 x 10^3", words to
    trillions ("12 thousand", "two hundred and five", "minus three point five", "two and a half", "three quarters"),
    percent, a currency sign before, one of ``UNITS`` after. Not numbers: ordinals ("2nd"), names ("B3", "3d"), times
    of day.
    """
    numerals = list(_NUMERAL.finditer(text))
    inside = {end for match in numerals if match["scale"] for end in range(match.start(), match.end())}  # "12 thousand"
    runs = [match for match in _RUN.finditer(text) if match.start() not in inside]
    read = [*(_spelled(text, match) for match in runs), *(_numeral(text, match) for match in numerals)]
    found = [quantity for quantity in read if quantity]
    return sorted(found, key=lambda quantity: quantity.start)


def _numeral(text: str, match: re.Match[str]) -> Quantity | None:
    number = match["number"].replace(",", "")
    exponent = int(match["exponent"] or match["power"] or 0)
    if len(match[0]) > _MAX_DIGITS or abs(exponent) > _MAX_EXPONENT or match["under"] and not int(match["under"]):
        return None
    value = Fraction(number) / int(match["under"] or 1) + int(match["mixed"] or 0)
    value *= Fraction(10) ** exponent * _SCALES.get(match["scale"], 1)
    if match["sign"] and "-" in match["sign"]:
        value = -value
    exact = bool(match["under"] or exponent or match["scale"])
    decimals = -1 if exact else len(number.partition(".")[2])
    return _with_unit(
        text, Quantity(value, (match["currency"] or "").strip(), False, decimals, match.start(), match.end())
    )


def _with_unit(text: str, quantity: Quantity) -> Quantity | None:
    """Add what follows the number; None where it shows that this is no number."""
    after = _AFTER.match(text, quantity.end)
    if not after:
        return quantity
    percent, unit, end = bool(after["percent"]), quantity.unit, after.end()
    if after["bad"]:
        return None
    if word := after["unit"]:
        word = "bpm" if word.startswith("beats") and word != "beats" else word
        attached = text[quantity.end].isalpha()
        if word in UNITS:
            unit = unit or word
        elif attached:
            return None  # "2nd", "3d"
        else:
            end = quantity.end
    return Quantity(quantity.value, unit, percent, quantity.decimals, quantity.start, end, quantity.spelled)


def _spelled(text: str, match: re.Match[str]) -> Quantity | None:
    words = re.findall(r"[a-z]+", match[0])
    value = _value_of_words(words)
    if value is None:
        return None
    return _with_unit(text, Quantity(value, "", False, -1, match.start(), match.end(), spelled=True))


def _value_of_words(words: list[str]) -> Fraction | None:
    """Return the value of number words; None where they are not one number."""
    sign = 1
    if words[0] in ("minus", "negative"):
        sign, words = -1, words[1:]
    if words and words[-1] in _PARTS:
        return _with_part(sign, words)
    words = [word for word in words if word not in ("and", "a")]
    if not words:
        return None
    if "point" in words:
        split = words.index("point")
        digits = [str(_VALUES.get(word, 10)) for word in words[split + 1 :]]
        whole = _cardinal(words[:split]) if split else 0
        if whole is None or not digits or any(len(digit) > 1 for digit in digits):
            return None
        return sign * (whole + Fraction(f"0.{''.join(digits)}"))
    cardinal = _cardinal(words)
    return None if cardinal is None else Fraction(sign * cardinal)


def _with_part(sign: int, words: list[str]) -> Fraction | None:
    """Return the value of words that end in a part: "a half", "three quarters", "two and a half"."""
    part = Fraction(1, _PARTS[words[-1]])
    before = [word for word in words[:-1] if word not in ("and", "a")]
    if not before:
        return None if words == ["third"] else sign * part  # "the third note"
    many = _cardinal(before)
    if many is None:
        return None
    if "and" in words[-3:]:
        return sign * (many + part)
    return sign * many * part if many == 1 or words[-1].endswith(("s", "halves")) else None  # "twenty-third"


def _cardinal(words: list[str]) -> int | None:
    """Return the value of a cardinal; None for "two three" or "thousand million"."""
    total, group, last = 0, 0, 10**15
    free = 1000  # what may still be added to the group: less than this
    for word in words:
        if word in _VALUES and _VALUES[word] < free and (_VALUES[word] or group == 0):
            group += _VALUES[word]
            free = 10 if word in _TENS else 0
        elif word == "hundred" and 0 <= group < 100 and free != 100:
            group, free = max(group, 1) * 100, 100
        elif word in _SCALES and _SCALES[word] < last:
            last = _SCALES[word]
            total, group, free = total + max(group, 1) * last, 0, 1000
        else:
            return None
    return total + group


def _vulgar(char: str) -> str:
    if unicodedata.category(char) != "No" or not unicodedata.decomposition(char).startswith("<fraction>"):
        return char
    value = Fraction(unicodedata.numeric(char)).limit_denominator(10)
    return f" {value.numerator}/{value.denominator}"
