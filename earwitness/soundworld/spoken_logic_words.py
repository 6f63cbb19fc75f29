"""What is said in ``spoken_logic`` and how it is asked: few words, and other templates for held-out clips."""

from __future__ import annotations

from earwitness.soundworld.sequence import phrasings
from earwitness.soundworld.spoken import NUMBERS, words_of

# One -> several, of three kinds.
KINDS = {
    "animals": {"cat": "cats", "dog": "dogs", "horse": "horses", "tiger": "tigers", "rabbit": "rabbits", "cow": "cows"},
    "foods": {"apple": "apples", "lemon": "lemons", "carrot": "carrots", "pizza": "pizzas", "cookie": "cookies"},
    "tools": {"hammer": "hammers", "pencil": "pencils", "bucket": "buckets", "ladder": "ladders", "button": "buttons"},
}
THINGS = {one: several for group in KINDS.values() for one, several in group.items()}
NAMES = ("Tom", "Peter", "Oscar", "Anna", "Lucy", "Emma", "Linda", "David")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink")
DOES = ("sings", "runs", "sleeps", "jumps", "dances", "cries")

OWN = {
    "train": ("I have {n}", "we have {n}", "I see {n}"),
    "heldout": ("now I see {n}", "now we have {n}"),
}
ALSO = {"train": ("{n}", "and {n}", "also {n}"), "heldout": ("now {n}", "and also {n}")}
HOW_MANY = {
    "train": ("how many {kind} are these?", "how many {kind} do I count?"),
    "heldout": ("now how many {kind} do I count?", "these are how many {kind}?"),
}
THINGS_ASKED = "things"

# {n} is 'one step' or 'three steps', {where} a direction.
MOVE = {
    "train": ("take {n} {where}", "go {n} {where}", "then take {n} {where}"),
    "heldout": ("now go {n} {where}", "then go {n} {where}", "now take {n} {where}"),
}
WALK = {
    "train": ("take {n}", "go {n}", "then take {n}"),
    "heldout": ("now go {n}", "then go {n}", "now take {n}"),
}
TURN = {"train": ("turn around", "then turn around"), "heldout": ("now turn around",)}
BACK = {
    "train": ("are you back at the start?", "do you end at the start?"),
    "heldout": ("now are you back at the start?", "at the end are you back?"),
}
FAR = {
    "train": ("how many steps are you from start?", "how many steps from start do you end?"),
    "heldout": ("at the end how many steps from start are you?", "now how many steps are you from start?"),
}

LIES = {
    "train": {True: ("{a} tells the truth", "{a} is honest"), False: ("{a} lies", "{a} is a liar")},
    "heldout": {True: ("now {a} is honest", "and {a} tells the truth"), False: ("now {a} lies", "and {a} is a liar")},
}
SAYS = {
    "train": {True: ("{b} says {a} tells the truth", "{b} says {a} is honest"), False: ("{b} says {a} lies",)},
    "heldout": {True: ("and {b} says {a} is honest",), False: ("and {b} says {a} is a liar", "now {b} says {a} lies")},
}
TRUTH = {
    "train": ("does {a} tell the truth?", "is {a} honest?"),
    "heldout": ("now is {a} honest?", "now does {a} tell the truth?"),
}

ALL = {"train": ("all {a} are {b}", "every {one} is {b_one}"), "heldout": ("now all {a} are {b}",)}
SO_ALL = {"train": ("so all {a} are {b}", "so every {one} is {b_one}"), "heldout": ("and so all {a} are {b}",)}
IF = {"train": ("if {p} then {q}", "{q} if {p}"), "heldout": ("now if {p} then {q}",)}
PLAIN = {"train": ("{p}", "we know {p}"), "heldout": ("now {p}", "now we know {p}")}
SO = {"train": ("so {p}", "then we know {p}"), "heldout": ("and so {p}", "so we know {p}")}

_PLAIN_TABLES = (OWN, ALSO, HOW_MANY, MOVE, WALK, TURN, BACK, FAR, TRUTH, ALL, SO_ALL, IF, PLAIN, SO)
_TRUTH_TABLES = (LIES, SAYS)
_TEMPLATES = [t for table in _PLAIN_TABLES for group in table.values() for t in group]
_TEMPLATES += [t for table in _TRUTH_TABLES for sides in table.values() for group in sides.values() for t in group]
WORDS = (
    *words_of(_TEMPLATES),
    *(word for pair in THINGS.items() for word in pair),
    *KINDS,
    *(name.lower() for name in NAMES),
    *COLOURS,
    *DOES,
    *NUMBERS[1:10],
    *words_of(["things step steps left right forward back a no not is never"]),
)

COUNT = phrasings(
    ("^how many [is it|are there] in all~?", "^what is the [count|number|total]~?"),
    (
        "^which number answers the voice?",
        "[name|give|state|report] the number that is asked for~.",
        "how much does the list amount to~?",
        "[the counting comes to what|what number should one reply]~?",
    ),
)
YES = phrasings(
    (
        "^is the answer to the [question|last sentence] yes or no~?",
        "^yes or no, what is the [right|true|correct] answer~?",
    ),
    (
        "^should one reply yes or no?",
        "[reply|respond|react] with [yes or no|a yes or a no] to what is asked~.",
        "[the voice asks something: yes or no|what is right, yes or no]~?",
    ),
)
VALID = phrasings(
    ("^is the [argument|conclusion|reasoning] valid or invalid~?", "^valid or invalid, what is the argument~?"),
    (
        "^does the inference count as valid or as invalid?",
        "[judge|rate|class|mark] the inference as [valid or invalid|either valid or invalid]~.",
        "[the inference: valid or invalid|should one call the inference valid or invalid]~?",
    ),
)
