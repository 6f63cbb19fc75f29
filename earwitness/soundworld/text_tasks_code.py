"""Small programming tasks with tests: filter a list of numbers, change each, and combine what is left."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from earwitness.soundworld.core import Facts, Rng, rng_of, split_of
from earwitness.soundworld.sequence import phrasings, pick

# Name -> (in words, in Python); {k} is a small number.
_KEEP = {
    "all": ("every number", ""),
    "even": ("the even numbers", "x % 2 == 0"),
    "odd": ("the odd numbers", "x % 2 == 1"),
    "above": ("the numbers above {k}", "x > {k}"),
    "below": ("the numbers below {k}", "x < {k}"),
    "divisible": ("the multiples of {k}", "x % {k} == 0"),
}
_CHANGE = {
    "none": ("", "x"),
    "add": ("plus {m}", "x + {m}"),
    "subtract": ("minus {m}", "x - {m}"),
    "multiply": ("times {m}", "x * {m}"),
    "square": ("squared", "x * x"),
    "negate": ("with its sign changed", "-x"),
}
_COMBINE = {
    "list": ("a list of", "{items}"),
    "sum": ("the sum of", "sum({items})"),
    "count": ("the number of", "len({items})"),
    "largest": ("the largest, or 0 if there is none, of", "max({items}, default=0)"),
    "sorted": ("a sorted list of", "sorted({items})"),
}
_NAMES = ("solve", "answer", "compute", "result", "process", "run")
WORDS = phrasings(
    (
        "^write a Python function {name}(numbers) that [returns|gives] {task}.",
        "^in Python, define {name}(numbers) to [return|give] {task}.",
        "[please |]write [the code|Python code] of {name}(numbers), which returns {task}.",
    ),
    (
        "[implement|code|program] {name}(numbers) in Python[, so that it yields|, yielding|; its value is] {task}.",
        "[I need|we need] a Python function {name}(numbers)[, yielding|; its value is|, computing] {task}.",
        "[supply|provide|hand me|draft|produce] {name}(numbers) in Python, [yielding|computing|outputting] {task}.",
    ),
)
_TEST_LISTS = 5


def _drawn(rng: Rng) -> Facts:
    return {
        "name": pick(rng, _NAMES),
        "keep": pick(rng, tuple(_KEEP)),
        "change": pick(rng, tuple(_CHANGE)),
        "combine": pick(rng, tuple(_COMBINE)),
        "k": int(rng.integers(2, 10)),
        "m": int(rng.integers(2, 10)),
    }


def drawn(rng: Rng, split: str) -> tuple[Facts, str]:
    """Return (facts of a task that the split owns, their hash)."""
    while True:
        facts = _drawn(rng)
        digest = hashlib.sha256(json.dumps(["text_tasks", "code", source(facts)]).encode()).hexdigest()
        if split_of(digest) == split:
            return facts, digest


def _parts(facts: Facts) -> tuple[str, str]:
    """Return (condition, expression) in Python."""
    return _KEEP[facts["keep"]][1].format(**facts), _CHANGE[facts["change"]][1].format(**facts)


def source(facts: Facts) -> str:
    """Return the program."""
    condition, value = _parts(facts)
    items = f"[{value} for x in numbers{' if ' + condition if condition else ''}]"
    return f"def {facts['name']}(numbers):\n    return {_COMBINE[facts['combine']][1].format(items=items)}"


def task(facts: Facts) -> str:
    """Return what the function gives, in words."""
    kept, changed = _KEEP[facts["keep"]][0].format(**facts), _CHANGE[facts["change"]][0].format(**facts)
    return f"{_COMBINE[facts['combine']][0]} {kept}{', each ' + changed if changed else ''}"


def chain(facts: Facts) -> str:
    """Return the steps to the program."""
    condition, value = _parts(facts)
    kept = f"I keep x if {condition}" if condition else "I keep every x"
    changed = f"each x becomes {value}" if value != "x" else "each x stays as it is"
    items = _COMBINE[facts["combine"]][1].format(items="them")
    return f"I look for {task(facts)}. First {kept}. Then {changed}. At the end I return {items}."


def expected(facts: Facts, numbers: list[int]) -> Any:
    """Return what the function gives for a list, computed without the program."""
    k, m = facts["k"], facts["m"]
    keep = {
        "all": lambda x: True,
        "even": lambda x: x % 2 == 0,
        "odd": lambda x: x % 2 == 1,
        "above": lambda x: x > k,
        "below": lambda x: x < k,
        "divisible": lambda x: x % k == 0,
    }[facts["keep"]]
    change = {
        "none": lambda x: x,
        "add": lambda x: x + m,
        "subtract": lambda x: x - m,
        "multiply": lambda x: x * m,
        "square": lambda x: x * x,
        "negate": lambda x: -x,
    }[facts["change"]]
    items = [change(x) for x in numbers if keep(x)]
    combine: dict[str, Any] = {"list": list, "sum": sum, "count": len, "sorted": sorted}
    return max(items, default=0) if facts["combine"] == "largest" else combine[facts["combine"]](items)


def tests(facts: Facts) -> tuple[str, ...]:
    """Return assertions on lists that depend on the task only; the first list is empty."""
    rng = rng_of("tests", source(facts))
    lists: list[list[int]] = [[]]
    while len(lists) < _TEST_LISTS:
        lists.append([int(x) for x in rng.integers(0, 20, size=int(rng.integers(3, 8)))])
    return tuple(f"assert {facts['name']}({numbers}) == {expected(facts, numbers)}" for numbers in lists)
