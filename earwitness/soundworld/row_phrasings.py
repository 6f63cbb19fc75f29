"""The ways to ask the questions that any row of events shares; ``noun`` and words for attributes are filled in."""

from __future__ import annotations

from earwitness.soundworld.grammar import Phrasings
from earwitness.soundworld.sequence import phrasings


def row_phrasings(noun: str, what: str, level: str, verb: str) -> dict[str, Phrasings]:
    """Return phrasings by question.

    Args:
        noun: what an event is called, such as ``note``.
        what: how its kind is asked for, such as ``instrument``.
        level: how its level is asked for, such as ``loudness``.
        verb: what it does, such as ``plays``.
    """
    n, w, v = noun, what, verb
    return {
        "kth_kind": phrasings(
            (f"^[which|what] {w} {v} {{kth}}~?", f"^[which|what] {w} is {n} {{k}}~?"),
            (
                f"^[name|give|identify|find] the {w} of the {{kth}} {n}~.",
                f"^the {{kth}} {n}: what {w} is it?",
                f"[what {w} does one hear as {n} {{k}}|{n} {{k}} is which {w}]~?",
            ),
        ),
        "kth_level": phrasings(
            (f"^[what|which] {level} has the {{kth}} {n}~?", f"^how is the {{kth}} {n} in {level}~?"),
            (
                f"^[judge|describe|rate|give] the {level} of {n} {{k}}~.",
                f"^the {{kth}} {n}: what is its {level}?",
                f"[what about the {level} of the {{kth}} {n}|in {level}, how does {n} {{k}} come across]~?",
            ),
        ),
        "how_many": phrasings(
            (f"^how many {n}s [are there|do you hear]~?", f"^what is the number of {n}s~?"),
            (
                f"^[count|number|tally|add up] all the {n}s~.",
                f"^the {n}s amount to what number?",
                f"[what total of {n}s is there|how long is the row of {n}s]~?",
            ),
        ),
        "count_kind": phrasings(
            (f"^how many {{x}} {n}s [are there|do you hear]~?", "^how often does the {x} come~?"),
            (
                f"^[count|number|tally|add up] the {{x}} {n}s~.",
                "^the {x} occurs how many times?",
                "[what is the total for the {x}|the {x} comes how often]~?",
            ),
        ),
        "count_both": phrasings(
            (f"^how many {{level}} {{x}} {n}s [are there|do you hear]~?", f"^how many {n}s are {{x}} and {{level}}~?"),
            (
                f"^[count|number|tally|add up] the {{level}} {{x}} {n}s~.",
                f"^{{x}} {n}s that are {{level}}: how many?",
                f"[what is the total of {{level}} {{x}} {n}s|how often is the {{x}} {{level}}]~?",
            ),
        ),
        "more_of": phrasings(
            (f"^are there more {{x}} {n}s or more {{y}} {n}s~?", "^which is there more of, {x} or {y}~?"),
            (
                "^does the {x} or the {y} [win|lead|dominate] in number?",
                f"[compare|weigh] the numbers of {{x}} and {{y}} {n}s~.",
                "of {x} and {y}, which [is more frequent|comes more often|has the majority]~?",
            ),
        ),
        "more_of_levels": phrasings(
            (f"^are there more {{x}} {n}s or more {{y}} {n}s~?", "^which is there more of, {x} or {y}~?"),
            (
                "^does the {x} or the {y} [win|lead|dominate] in number?",
                f"[compare|weigh] the numbers of {{x}} and {{y}} {n}s~.",
                "of {x} and {y}, which [is more frequent|comes more often|has the majority]~?",
            ),
        ),
        "kth_by": phrasings(
            (f"^[which|what] {w} is the {{kth}} {{level}} {n}~?", f"^[which|what] {w} {v} the {{kth}} {{level}} {n}~?"),
            (
                f"^[name|give|identify|find] the {w} of the {{kth}} {n} that is {{level}}~.",
                f"^{{kth}} among the {{level}} {n}s: which {w}?",
                f"[counting {{level}} {n}s only, which {w} is number {{k}}|{{level}} {n} number {{k}} is which {w}]~?",
            ),
        ),
        "last_level": phrasings(
            (f"^[what|which] {level} has the last {{x}} {n}~?", f"^how is the last {{x}} {n} in {level}~?"),
            (
                f"^[judge|describe|rate|give] the {level} of the final {{x}}~.",
                "^the closing {x}: what is its " + level + "?",
                f"[what about the {level} of the final {{x}}|in {level}, how does the final {{x}} come across]~?",
            ),
        ),
        "kind_after": phrasings(
            (f"^[which|what] {w} comes right after the first {{x}}~?", f"^[which|what] {w} follows the first {{x}}~?"),
            (
                f"^[name|give|identify|find] the {w} next to come after the {{x}} enters~.",
                f"^once the {{x}} was first heard, which {w} is next?",
                f"[what {w} succeeds the opening {{x}}|the opening {{x}} gives way to which {w}]~?",
            ),
        ),
        "level_after": phrasings(
            (
                f"^[what|which] {level} has the {n} right after the first {{x}}~?",
                f"^how is the {n} that follows the first {{x}} in {level}~?",
            ),
            (
                f"^[judge|describe|rate|give] the {level} of the {n} next to come after the {{x}} enters~.",
                f"^once the {{x}} was first heard, what {level} has the next {n}?",
                f"[what {level} has the successor of the opening {{x}}|the opening {{x}} gives way to what {level}]~?",
            ),
        ),
        "after_both": phrasings(
            (
                f"^[which|what] {w} comes right after the first {{level}} {{x}}~?",
                f"^[which|what] {w} follows the first {{level}} {{x}}~?",
            ),
            (
                f"^[name|give|identify|find] the {w} next to come after a {{level}} {{x}} enters~.",
                f"^once a {{level}} {{x}} was first heard, which {w} is next?",
                f"[what {w} succeeds the opening {{level}} {{x}}|the opening {{level}} {{x}} gives way to which {w}]~?",
            ),
        ),
        "between": phrasings(
            (
                f"^how many {n}s [are|come] between the first {{x}} and the last {{y}}~?",
                f"^how many {n}s lie between the first {{x}} and the last {{y}}~?",
            ),
            (
                f"^[count|number|tally|add up] the {n}s after {{x}} begins and before {{y}} ends~.",
                f"^from the opening {{x}} to the final {{y}}, how many {n}s stand inside?",
                f"[what is the total of {n}s enclosed by the opening {{x}} and the final {{y}}|"
                f"the opening {{x}} and the final {{y}} enclose how many {n}s]~?",
            ),
        ),
        "most": phrasings(
            (f"^[which|what] {w} [occurs|comes|is heard] most often~?", f"^[which|what] {w} has the most {n}s~?"),
            (
                f"^[name|give|identify|find] the most frequent {w}~.",
                f"^the commonest {w} is which?",
                f"[what {w} dominates by count|which {w} leads in number of {n}s]~?",
            ),
        ),
    }
