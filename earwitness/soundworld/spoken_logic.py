"""The ``spoken_logic`` suite: counting objects, navigation, a web of lies and formal fallacies, all spoken.

These are the categories of Big Bench Audio; the written question only says what kind of answer is wanted.
"""

from __future__ import annotations

from earwitness.soundworld.spoken import suite
from earwitness.soundworld.spoken_logic_deduction import DEDUCTIONS
from earwitness.soundworld.spoken_logic_walks import WALKS
from earwitness.soundworld.spoken_logic_words import WORDS

SUITE = suite("spoken_logic", (*WALKS, *DEDUCTIONS), WORDS)
