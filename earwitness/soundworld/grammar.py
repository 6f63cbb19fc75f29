"""Phrasings of a question from a small grammar: ``[a|b]`` chooses, ``{name}`` is a parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str) -> list[str]:
    """Return every string that the template stands for; brackets may nest, ``[a|]`` makes a word optional."""
    match = _CHOICE.search(template)
    if not match:
        return [" ".join(template.split())]
    head, tail = template[: match.start()], template[match.end() :]
    return [text for option in match.group(1).split("|") for text in expand(head + option + tail)]


@dataclass(frozen=True)
class Phrasings:
    """The ways to ask one question type: ``train`` templates (also for validation and test) and ``heldout`` ones."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]

    @cached_property
    def _expanded(self) -> dict[bool, list[str]]:
        return {
            False: sorted({text for template in self.train for text in expand(template)}),
            True: sorted({text for template in self.heldout for text in expand(template)}),
        }

    def all(self, split: str) -> list[str]:
        """Return all phrasings of a split, with parameters still as ``{name}``."""
        return self._expanded[split == "heldout"]

    def draw(self, rng: np.random.Generator, split: str, params: dict[str, Any]) -> str:
        """Return one phrasing with its parameters filled in."""
        options = self.all(split)
        text = options[int(rng.integers(len(options)))].format(**params)
        return text[0].upper() + text[1:]
