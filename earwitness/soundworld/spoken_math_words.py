"""What is said in ``spoken_math`` and how it is asked: few words, and other templates for held-out clips."""

from __future__ import annotations

from earwitness.soundworld.sequence import phrasings
from earwitness.soundworld.spoken import NUMBERS, words_of

PEOPLE = {"Tom": "he", "Peter": "he", "Oscar": "he", "Anna": "she", "Lucy": "she", "Emma": "she"}
# One -> several.
THINGS = {
    "apple": "apples",
    "lemon": "lemons",
    "carrot": "carrots",
    "button": "buttons",
    "candle": "candles",
    "pencil": "pencils",
    "bottle": "bottles",
    "hammer": "hammers",
    "mirror": "mirrors",
    "ticket": "tickets",
}
HOLDERS = {"basket": "baskets", "bucket": "buckets", "table": "tables", "window": "windows"}

# {e} an expression; {who} a name, {he} a pronoun; {n} a number with its thing, {k} a number alone.
SUMS = {
    "train": ("{e}", "what is {e}?", "work out {e}", "find {e}"),
    "heldout": ("{e} is what?", "work {e} out", "find what {e} is"),
}
START = {
    "train": ("{who} has {n}", "{who} has got {n}", "{who} now has {n}"),
    "heldout": ("now {who} has got {n}", "{who} has {n} now"),
}
MORE = {
    "train": ("{he} buys {k} more", "{he} finds {k} more", "then {he} gets {k} more"),
    "heldout": ("and then {he} finds {k} more", "and {he} buys {k} more", "{he} now gets {k} more"),
}
LESS = {
    "train": ("{he} loses {k}", "then {he} sells {k}", "{he} gives away {k}"),
    "heldout": ("and then {he} sells {k}", "and {he} loses {k}", "{he} now gives {k} away"),
}
BOTH = {
    "train": ("{who} has {n} and {m}", "{who} has got {n} and {m}"),
    "heldout": ("now {who} has {n} and {m}", "{who} has {n} and {m} now"),
}
GET = {
    "train": ("{he} buys {n}", "then {he} finds {n}", "{he} gets {n}"),
    "heldout": ("and then {he} finds {n}", "and {he} buys {n}"),
}
DROP = {
    "train": ("{he} loses {n}", "then {he} sells {n}", "{he} gives away {n}"),
    "heldout": ("and then {he} sells {n}", "and {he} loses {n}"),
}
ASK = {
    "train": ("how many {things} does {who} have?", "how many {things} does {who} have now?"),
    "heldout": ("{who} now has how many {things}?", "now how many {things} does {who} have?"),
}
ASK_MORE = {
    "train": ("how many more does {who} have?", "{who} has how many more?"),
    "heldout": ("now how many more does {who} have?", "how many more has {who} got?"),
}
ASK_ALL = {
    "train": ("how many {things} is that in all?", "how many {things} do they have in all?"),
    "heldout": ("in all how many {things} is that?", "in all they have how many {things}?"),
}
ASK_WHO = {
    "train": ("who has more?", "who has got more {things}?"),
    "heldout": ("now who has more {things}?", "who now has more?"),
}
GROUPS = {
    "train": ("{who} has {a}", "{who} has got {a}"),
    "heldout": ("now {who} has {a}", "{who} has got {a} now"),
}
EACH = {
    "train": ("each {holder} has {n}", "{n} go in each {holder}"),
    "heldout": ("in each {holder} go {n}", "and each {holder} has {n}"),
}

_TEMPLATES = (SUMS, START, MORE, LESS, BOTH, GET, DROP, ASK, ASK_MORE, ASK_ALL, ASK_WHO, GROUPS, EACH)
WORDS = (
    *words_of(t for table in _TEMPLATES for group in table.values() for t in group),
    *(name.lower() for name in PEOPLE),
    *PEOPLE.values(),
    *(w for names in (THINGS, HOLDERS) for pair in names.items() for w in pair),
    *NUMBERS[1:],
    *("plus", "minus", "times"),
)

RESULT = phrasings(
    ("^what is the [result|answer|number]~?", "^what does the [problem|sum] come to~?"),
    (
        "^which number [solves|settles] this?",
        "[name|give|state|report] the outcome of the spoken sum~.",
        "[the numbers come to what|what should the total be]~?",
    ),
)
STORY = phrasings(
    ("^how many [is it|are there] at the end~?", "^what is the answer to the [problem|question]~?"),
    (
        "^which number [solves|settles] the story?",
        "[name|give|state|report] the number that is wanted~.",
        "[the story comes to what number|what number should one reply]~?",
    ),
)
WHO = phrasings(
    ("^who is the answer to the [problem|question]~?", "^[which person|who] is it~?"),
    (
        "^which name [solves|settles] the story?",
        "[name|give|state|report] the person that is wanted~.",
        "[the story comes to which name|whose name should one reply]~?",
    ),
)
