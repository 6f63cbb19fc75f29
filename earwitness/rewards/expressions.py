"""Answers that are expressions: equal where their values are equal, whatever their form."""

from __future__ import annotations

import ast
import re
from fractions import Fraction

from earwitness.records import Sample
from earwitness.rewards.algebra import NotAlgebra, Tree, Value, evaluate, parse_expression, variables
from earwitness.rewards.extraction import Place, first_sentence, search
from earwitness.rewards.verdict import Verdict

# Where expressions with variables are compared; unrelated fractions, so that equality by chance is out of reach.
_POINTS = tuple(Fraction(n, d) for n, d in ((3, 7), (11, 5), (17, 3), (5, 13), (29, 11), (2, 19), (41, 9), (7, 2)))
_MIN_POINTS = 3
_MATH = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


def verify_expression(sample: Sample, answer: str) -> Verdict:
    r"""Whether the answer is an expression equal to the key, or to one of ``sample.acceptable``.

    What is read, in each place of ``extraction.places``: the whole of it, its only ``$...$`` or ``\(...\)``, then its
    first sentence (``expression``, ``math``, ``sentence``). ``name =`` before an expression is dropped. The language is
    that of ``algebra.parse_expression``.

    Equal are: constants with the same exact value (floats, from roots and functions, to a part in 10^9); expressions
    with variables that have the same names and the same values at eight fixed points, at least three of which are
    defined for both; tuples element by element, ``{...}`` in any order. No form is asked for: "2/4" is right for
    "1/2", an unfactored product for a factored one. A key outside of the language is compared as text, spaces aside.

    Raises:
        ValueError: the sample has no answer.
    """
    if sample.answer is None:
        raise ValueError(f"sample {sample.id} has no answer to compare with; add one or make it answer_type 'open'")
    keys = [sample.answer, *sample.acceptable]
    squeezed = {_squeeze(key) for key in keys}
    rule, said = search(answer, lambda place: _stated(place, squeezed))
    right = bool(said) and (_squeeze(said) in squeezed or any(same_expression(said, key) for key in keys))
    return Verdict(right, rule, said)


def same_expression(first: str, second: str) -> bool:
    """Whether two texts are expressions with equal values; False where either cannot be read."""
    try:
        left, right = _read(first), _read(second)
    except NotAlgebra:
        return False
    unordered = all(text.strip(" $.").lstrip("\\").startswith("{") for text in (_side(first), _side(second)))
    return _same(left, right, unordered)


def _stated(place: Place, keys: set[str]) -> tuple[str, str] | None:
    found = [next(group for group in groups if group) for groups in _MATH.findall(place.text)]
    tries = [("expression", place.text), ("math", found[0] if len(found) == 1 else "")]
    tries.append(("sentence", first_sentence(place.text)))
    for how, text in tries:
        text = text.strip().strip("$").rstrip(".").strip()
        if text and (_squeeze(text) in keys or _readable(text)):
            return how, text
    return None


def _readable(text: str) -> bool:
    try:
        _read(text)
    except NotAlgebra:
        return False
    return True


def _read(text: str) -> Tree:
    text = _side(text)
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        text = text.replace(",", "")
    return parse_expression(text)


def _side(text: str) -> str:
    """Return the text without outer dollar signs and without ``name =`` before it."""
    text = text.strip().strip("$").rstrip(".").strip()
    return re.sub(r"\A[A-Za-z](?:\([a-z]\))?\s*=(?!=)", "", text).replace("\\{", "{").replace("\\}", "}").strip()


def _squeeze(text: str) -> str:
    return re.sub(r"\s|\\[,;! ]", "", text.strip().strip("$").rstrip("."))


def _same(left: Tree, right: Tree, unordered: bool) -> bool:
    if isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple):
        if len(left.elts) != len(right.elts) or len(left.elts) > 20:
            return False
        if not unordered:
            return all(_same(a, b, False) for a, b in zip(left.elts, right.elts))
        rest = list(right.elts)
        for element in left.elts:
            match = next((other for other in rest if _same(element, other, False)), None)
            if match is None:
                return False
            rest.remove(match)
        return True
    if isinstance(left, ast.Tuple) or isinstance(right, ast.Tuple) or variables(left) != variables(right):
        return False
    names, agreed = sorted(variables(left)), 0
    for number in range(len(_POINTS) if names else 1):
        at = {name: _POINTS[(number + 3 * i) % len(_POINTS)] + i for i, name in enumerate(names)}
        values = [_try(tree, at) for tree in (left, right)]
        if values[0] is None or values[1] is None:
            if values[0] is not values[1]:
                return False
            continue
        if not _close(values[0], values[1]):
            return False
        agreed += 1
    return agreed >= (_MIN_POINTS if names else 1)


def _try(tree: Tree, at: dict[str, Fraction]) -> Value | None:
    try:
        return evaluate(tree, at)
    except NotAlgebra:
        return None


def _close(left: Value, right: Value) -> bool:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    return abs(float(left) - float(right)) <= 1e-9 * max(abs(float(left)), abs(float(right)), 1e-3)
