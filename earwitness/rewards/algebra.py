"""Arithmetic and algebra as written by people or in LaTeX: a small parser and exact evaluation, without ``eval``.

The text is cut into tokens, and only tokens known here go on; Python's ``ast`` parses them, and a list of allowed
nodes evaluates the tree with ``fractions.Fraction``. Roots and functions that are not rational become floats. Length,
depth, exponents and the size of numbers are bounded, so no text takes long.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

Value = Fraction | float
Tree = ast.expr

MAX_CHARACTERS = 400
_MAX_DEPTH = 40
_MAX_BITS = 8_192
_MAX_EXPONENT = 1_000
_MAX_FACTORIAL = 200

_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log10,
}
_CALLED = (*_FUNCTIONS, "sqrt", "abs", "factorial")
_NAMES = (*_CALLED, "pi", "tau")
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z]+)|(\*\*|[-+*/^()\[\]{},!%|]))")
_OPERATORS: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class NotAlgebra(ValueError):
    """The text is no expression that is understood here, or is too large."""


def parse_expression(text: str) -> Tree:
    r"""Return the tree of an expression; raises ``NotAlgebra``.

    Read are ``+ - * / ^ **``, brackets, ``2x`` and ``2(x+1)`` as products, ``xy`` as x times y, percent, ``n!``, the
    functions and constants named in this file (``log`` is to base 10), tuples, ``\frac``, ``\sqrt``, ``\cdot``. As in
    Python, ``1/2x`` is (1/2) x and ``-2^2`` is -4. Names of more than three letters are words and not read.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotAlgebra(f"an expression of {len(text)} characters is longer than {MAX_CHARACTERS}")
    source = _python(_tokens(_from_latex(text)))
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotAlgebra(f"not an expression ({type(error).__name__})") from None
    _check(tree, 0)
    return tree


def variables(tree: Tree) -> set[str]:
    """Return the names that a tree leaves open."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return names - set(_CONSTANTS)


def evaluate(tree: Tree, at: Mapping[str, Fraction]) -> Value:
    """Return the value of a tree (not a tuple) with its variables at given values.

    Raises:
        NotAlgebra: undefined there (division by zero, a root of a negative number), or too large.
    """
    try:
        value = _value(tree, at)
    except (ArithmeticError, ValueError, KeyError) as error:
        raise NotAlgebra(f"no value ({type(error).__name__})") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise NotAlgebra("no finite value")
    return value


def _from_latex(text: str) -> str:
    text = text.replace("\u2212", "-").replace("\u00d7", "*").replace("\u00b7", "*").replace("\u00f7", "/")
    text = text.replace("\u03c0", " pi ").replace("\u221a", " sqrt ").replace("\u00b2", "^2").replace("\u00b3", "^3")
    text = re.sub(r"\\(?:left|right|displaystyle|[,;:! ])", "", text)
    text = re.sub(r"\\(?:text|mathrm|operatorname)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\[dt]?frac\s*(\d)\s*(\d)", r"((\1)/(\2))", text)
    fraction = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
    root = re.compile(r"\\sqrt\s*(?:\[(\d+)\])?\s*\{([^{}]*)\}")
    for _ in range(_MAX_DEPTH):  # the innermost first
        changed = fraction.sub(r"((\1)/(\2))", text)
        changed = root.sub(lambda m: f"(({m[2]})^(1/{m[1]}))" if m[1] else f" sqrt({m[2]})", changed)
        changed = re.sub(r"\^\s*\{([^{}]*)\}", r"^(\1)", changed)
        if changed == text:
            break
        text = changed
    text = text.replace("\\cdot", "*").replace("\\times", "*").replace("\\div", "/").replace("\\%", "%")
    return re.sub(r"\\(?=[a-z]+)", " ", text)


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise NotAlgebra(f"{text[position]!r} is not part of an expression")
        position = match.end()
        number, word, sign = match.groups()
        if word:
            found += _split_word(word)
        else:
            found.append(number or {"^": "**", "[": "(", "]": ")", "{": "(", "}": ")"}.get(sign, sign))
    if not found or "|" in found:
        raise NotAlgebra("no expression")
    return found


def _split_word(word: str) -> list[str]:
    if word.lower() in _NAMES:
        return [word.lower()]
    for name in _NAMES:
        if word.lower().startswith(name) and len(word) <= len(name) + 1:
            return [name, word[len(name) :]]
    if len(word) > 3:
        raise NotAlgebra(f"{word!r} is a word")
    return list(word)


def _python(tokens: list[str]) -> str:
    """Return the tokens as Python: products written out, percent and factorial as calls."""
    out: list[str] = []
    for token in tokens:
        if token in "!%":
            start = _operand_start(out)
            operand = "".join(out[start:])
            out[start:] = [f"factorial({operand})" if token == "!" else f"(({operand})/100)"]
            continue
        ends = bool(out) and (out[-1][-1].isalnum() or out[-1][-1] in ").") and out[-1] not in _CALLED
        begins = token[0].isalnum() or token[0] in "(."
        if ends and begins:
            out.append("*")
        if out and out[-1] in _CALLED and token != "(":
            token = f"({_number(token)})"  # "sin x", "sqrt 2"
        out.append(_number(token))
    return "".join(out)


def _operand_start(out: list[str]) -> int:
    if out and out[-1] == ")":
        depth = 0
        for position in range(len(out) - 1, -1, -1):
            depth += (out[position] == ")") - (out[position] == "(")
            if not depth:
                named = position and out[position - 1] in _CALLED
                return position - 1 if named else position
    if not out or not (out[-1][-1].isalnum() or out[-1][-1] == ")"):
        raise NotAlgebra("a postfix sign without an operand")
    return len(out) - 1


def _number(token: str) -> str:
    """Return a numeral as Python would read it: "007" and "2." are numbers here."""
    if not (token[0].isdigit() or token[0] == "."):
        return token
    whole, point, digits = token.partition(".")
    number = int((whole + digits) or "0")
    return f"({number}/{10 ** len(digits)})" if point and digits else str(number)


def _check(node: ast.expr, depth: int) -> None:
    """Refuse every node that is not on the list, and a tree that is too deep."""
    if depth > _MAX_DEPTH:
        raise NotAlgebra("nested too deeply")
    children: list[ast.expr]
    if isinstance(node, ast.BinOp) and (type(node.op) in _OPERATORS or isinstance(node.op, ast.Pow)):
        children = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        children = [node.operand]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id not in _CALLED:
            raise NotAlgebra(f"{node.func.id} is no function")
        children = list(node.args)
    elif isinstance(node, ast.Tuple):
        children = list(node.elts)
    elif isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) is int):
        children = []
    else:
        raise NotAlgebra(f"{type(node).__name__} is not arithmetic")
    for child in children:
        _check(child, depth + 1)


def _value(node: ast.expr, at: Mapping[str, Fraction]) -> Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return _bounded(Fraction(node.value))
    if isinstance(node, ast.Name):
        return at[node.id] if node.id in at else _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, at)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, at), _value(node.right, at)
        return _bounded(_power(left, right) if isinstance(node.op, ast.Pow) else _OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, _value(node.args[0], at))
    raise NotAlgebra(f"{type(node).__name__} has no single value")


def _call(name: str, value: Value) -> Value:
    if name == "abs":
        return value if value >= 0 else -value
    if name == "sqrt":
        return _power(value, Fraction(1, 2))
    if name == "factorial":
        if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= _MAX_FACTORIAL:
            raise NotAlgebra("a factorial of what is no small whole number")
        return Fraction(math.factorial(int(value)))
    return _FUNCTIONS[name](float(value))


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and abs(exponent) > _MAX_EXPONENT:
        raise NotAlgebra("an exponent that is too large")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator == 1:
            if bits * abs(exponent) > _MAX_BITS and abs(base) != 1:
                raise NotAlgebra("a power that is too large")
            return Fraction(base ** int(exponent))
        roots = [_root(part, exponent.denominator) for part in (base.numerator, base.denominator)]
        if base >= 0 and None not in roots:
            return _power(Fraction(roots[0] or 0, roots[1] or 1), Fraction(exponent.numerator))
    result: float | complex = pow(float(base), float(exponent))
    if isinstance(result, complex):
        raise NotAlgebra("no real value")
    return result


def _root(number: int, degree: int) -> int | None:
    """Return the exact root of a whole number, or None."""
    if number < 0 or number.bit_length() > 512 or degree > 64:
        return None
    guess = math.isqrt(number) if degree == 2 else round(number ** (1 / degree))
    return guess if guess**degree == number else None


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise NotAlgebra("a number that is too large")
    return value
