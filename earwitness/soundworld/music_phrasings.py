"""The ways to ask each question of the music suite."""

from __future__ import annotations

from earwitness.soundworld.row_phrasings import row_phrasings
from earwitness.soundworld.sequence import phrasings

_ROW = row_phrasings("note", "instrument", "loudness", "plays")
_GIVE = "^[name|give|identify|find]"

PHRASINGS = {
    "pair": phrasings(
        (
            "^which [note|one|of the notes|tone] is {relation}, the {x} or the {y}?",
            "^[which|what] is {relation}, the {x} note or the {y} note~?",
            "^is the {x} or the {y} note {relation}~?",
        ),
        (
            "^[compare|take|weigh|hold together|set side by side] {x} and {y} note: which is {relation}?",
            "[of notes {i} and {j}, which is the {relation} one|the {relation} of {x} and {y} note is which|"
            "between note {i} and note {j}, pick the {relation}]~?",
        ),
    ),
    "kth_timbre": _ROW["kth_kind"],
    "kth_loudness": _ROW["kth_level"],
    "kth_duration": row_phrasings("note", "instrument", "length", "plays")["kth_level"],
    "tempo": phrasings(
        ("^[what|which] is the tempo~?", "^how fast [is the beat|do the notes come]~?"),
        (
            "^[judge|describe|rate|give] the speed of the beat~.",
            "[at what speed are the notes played|which tempo is kept]~?",
        ),
    ),
    "rhythm": phrasings(
        ("^[what|which] is the rhythm~?", "^[what|which] rhythm do the notes [have|make]~?"),
        (
            "^[judge|describe|rate|give] the rhythmic figure~.",
            "[in which figure are the notes grouped|which pattern of lengths returns]~?",
        ),
    ),
    "contour": phrasings(
        ("^[which|what] way does the [melody|tune|line] go~?", "^how does the [melody|tune|line] move~?"),
        (
            "^[name|give|describe|sketch] the shape of the [melody|tune|line]~.",
            "[what contour has the melody|which outline does the tune draw]~?",
        ),
    ),
    "interval": phrasings(
        ("^[which|what] interval [is it|is this|do the two notes make]~?", "^how far apart are the two notes~?"),
        (f"{_GIVE} the distance between the notes~.", "[how large is the leap|which step separates both notes]~?"),
    ),
    "mode": phrasings(
        ("^is [it|this|the chord|the triad] major or minor~?", "^[which|what] mode [is it|is this|has the chord]~?"),
        (
            f"{_GIVE} the mode of the three notes~.",
            "[do the three notes sound major or minor|which gender has the triad]~?",
        ),
    ),
    "how_many": _ROW["how_many"],
    "count_timbre": _ROW["count_kind"],
    "count_both": _ROW["count_both"],
    "more_of": _ROW["more_of"],
    "more_of_levels": _ROW["more_of_levels"],
    "kth_by": _ROW["kth_by"],
    "last_loudness": _ROW["last_level"],
    "loudness_after": _ROW["level_after"],
    "timbre_after": _ROW["after_both"],
    "between": _ROW["between"],
    "most": _ROW["most"],
    "place": phrasings(
        ("^which note is the {word}~?", "^[which|what] place has the {word} note~?"),
        (
            f"{_GIVE} the position of the {{word}} note~.",
            "[where stands the {word} note|the {word} note comes at which place]~?",
        ),
    ),
    "extreme_timbre": phrasings(
        ("^[which|what] instrument plays the {word} note~?", "^who plays the {word} note~?"),
        (
            f"{_GIVE} the instrument of the {{word}} note~.",
            "[the {word} note belongs to which instrument|by what is the {word} note played]~?",
        ),
    ),
    "extreme_by_level": phrasings(
        ("^[which|what] instrument plays the {word} {level} note~?", "^who plays the {word} of the {level} notes~?"),
        (
            f"{_GIVE} the instrument of the {{word}} note that is {{level}}~.",
            "[counting {level} notes only, who has the {word}|by what is the {word} {level} note played]~?",
        ),
    ),
    "level_after_extreme": phrasings(
        (
            "^[what|which] loudness has the note right after the {word} note~?",
            "^how is the note that follows the {word} note in loudness~?",
        ),
        (
            "^[judge|describe|rate|give] the loudness of the successor of the {word} note~.",
            "[once the {word} note is over, what loudness comes|the {word} note gives way to what loudness]~?",
        ),
    ),
    "extreme_duration": phrasings(
        ("^is the {word} note [long or short|short or long]~?", "^how long is the {word} note~?"),
        (
            "^[judge|describe|rate|give] the length of the {word} note~.",
            "[what duration has the {word} note|for how long does the {word} note sound]~?",
        ),
    ),
    "steps": phrasings(
        ("^how many notes are {word} than the note before~?", "^how many notes are {word} than the one before them~?"),
        (
            "^[count|number|tally|add up] the notes that are {word} than their predecessor~.",
            "[how often is a note {word} than its predecessor|what is the number of steps to a {word} note]~?",
        ),
    ),
}
