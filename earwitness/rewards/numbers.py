"""Numeric answers: which number was said, and whether it is the right one."""

from __future__ import annotations

import re
from fractions import Fraction

from earwitness.records import Sample
from earwitness.rewards.extraction import Place, first_sentence, negated, search
from earwitness.rewards.quantities import Quantity, prepared, quantities
from earwitness.rewards.units import UNITS
from earwitness.rewards.verdict import Verdict

_NONE = ("none", "nothing")
_BOUND = re.compile(
    r"\b(?:(?:more|less|fewer|greater|larger|smaller|higher|lower)\s+than|at\s+(?:least|most)|over|under)\b"
)


def verify_number(sample: Sample, answer: str) -> Verdict:
    """Whether the answer states the number of the key, or of one of ``sample.acceptable``.

    Which number was said, in each place of ``extraction.places``:

    * ``number``: the place is one number, with a unit or not ("none" is 0);
    * ``equals``: what follows its last ``=`` is one number;
    * ``sentence``: its first sentence is one number, or, after "the answer is", holds only one;
    * ``only``: it holds one number, however often, no word negates, and none makes it a bound ("more than 12"). The
      word "one" does not count beside digits.

    Several numbers are ``ambiguous``: the last one is not picked.

    Equal are (``same_quantity``): the same value, exactly; values within ``extra["tolerance"]`` (absolute) or
    ``extra["relative_tolerance"]`` of the key; and a rounding, see there.

    Raises:
        ValueError: the key is not one number, or a tolerance is not a number >= 0.
    """
    keys = [_key(sample, text) for text in (sample.answer or "", *sample.acceptable)]
    absolute, relative = (_tolerance(sample, name) for name in ("tolerance", "relative_tolerance"))
    rule, said = search(answer, lambda place: _stated(place))
    if not said:
        return Verdict(False, rule, said)
    number = _one(prepared(said))
    assert number is not None
    return Verdict(any(same_quantity(number, key, absolute, relative) for key in keys), rule, said)


def same_quantity(said: Quantity, key: Quantity, absolute: Fraction, relative: Fraction) -> bool:
    """Whether two quantities are the same.

    Units are compared where both have a known one: of one dimension they are converted ("1500 ms" is "1.5 s"), of
    two they differ. A unit that one side lacks is ignored. "50%" is 50 and 1/2, unless both sides are percent.

    A rounding is right where the key is no whole number: to at least two decimals and within 1 % of the key ("0.33"
    for "1/3"), or an answer with more digits that rounds to the key as it is written ("3.14159" for "3.14").
    """
    factor = Fraction(1)
    if said.unit and key.unit:
        (dimension, size), (key_dimension, key_size) = UNITS[said.unit], UNITS[key.unit]
        if dimension != key_dimension:
            return False
        factor = size / key_size
    percents = {said.percent, key.percent}
    for value in {said.value, said.value / 100} if said.percent and len(percents) == 2 else {said.value}:
        for goal in {key.value, key.value / 100} if key.percent and len(percents) == 2 else {key.value}:
            gap = abs(value * factor - goal)
            if gap <= max(absolute, relative * abs(goal)):
                return True
            rounded = factor == 1 and value == said.value and goal == key.value and goal.denominator != 1
            coarse = said.decimals >= 2 and 2 * gap <= Fraction(1, 10**said.decimals) and 100 * gap <= abs(goal)
            fine = 0 < key.decimals < said.decimals and 2 * gap <= Fraction(1, 10**key.decimals)
            if rounded and (coarse or fine):
                return True
    return False


def _key(sample: Sample, text: str) -> Quantity:
    quantity = _one(prepared(text))
    if quantity is None:
        raise ValueError(f"sample {sample.id}: the answer {text!r} is not one number; correct it or its answer_type")
    return quantity


def _tolerance(sample: Sample, name: str) -> Fraction:
    value = sample.extra.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"sample {sample.id}: extra.{name} is {value!r}; give a number of at least 0")
    return Fraction(str(value))


def _one(text: str) -> Quantity | None:
    """Return the value of a text that states one number, however often."""
    if text.strip(" .!") in _NONE:
        return Quantity(Fraction(0))
    found = quantities(text)
    if any(not quantity.spelled for quantity in found):
        found = [quantity for quantity in found if not (quantity.spelled and quantity.value == 1)]
    values = {(quantity.value, quantity.percent) for quantity in found}
    units = {quantity.unit for quantity in found if quantity.unit}
    if len(values) != 1 or len(units) > 1:
        return None
    return next((quantity for quantity in found if quantity.unit), found[0])


def _bare(text: str) -> bool:
    """Whether the text is one number and nothing that is not its unit."""
    found = quantities(text)
    if len(found) != 1:
        return text.strip(" .!") in _NONE
    rest = text[: found[0].start] + text[found[0].end :]
    return not re.sub(r"\b(?:about|approximately|exactly|roughly|x|n)\b|[^\w]", "", rest)


def _stated(place: Place) -> tuple[str, str] | None:
    text = prepared(place.text)
    if _bare(text):
        return "number", place.text
    tail = place.text.rpartition("=")[2]
    if "=" in place.text and _bare(prepared(first_sentence(tail))):
        return "equals", first_sentence(tail)
    first = first_sentence(place.text)
    if _bare(prepared(first)):
        return "sentence", first
    if place.name == "answer_is" and _one(prepared(first)) and not (negated(first) or _BOUND.search(prepared(first))):
        return "sentence", first
    if negated(text) or _BOUND.search(text):
        return None
    if _one(text):
        return "only", place.text
    return ("ambiguous", "") if quantities(text) and not place.name == "answer_is" else None
