"""The sentences of ``crossed`` and the ways to ask about them; held-out sentences follow templates of their own."""

from __future__ import annotations

from earwitness.soundworld.core import Rng
from earwitness.soundworld.sequence import phrasings, pick
from earwitness.soundworld.spoken import of, words_of

_THINGS = (
    "garden house dinner train song letter coat cake movie lamp boat jacket kitchen picture flower market "
    "street party river teacher office window table present"
).split()
_KIND = {
    "positive": ("lovely", "great", "wonderful", "perfect", "beautiful"),
    "neutral": ("round", "long", "brown", "wooden", "narrow"),
    "negative": ("terrible", "awful", "horrible", "ugly", "dreadful"),
}
_TEMPLATES = {
    "positive": {
        "train": (
            "the {thing} is {kind}",
            "what a {kind} {thing}",
            "i love the {thing}",
            "this {thing} makes us happy",
        ),
        "heldout": ("we love this {kind} {thing}", "this {kind} {thing} makes us happy"),
    },
    "neutral": {
        "train": ("the {thing} is {kind}", "i see a {kind} {thing}", "i know the {thing}", "this {thing} has a number"),
        "heldout": ("we know this {kind} {thing}", "this {kind} {thing} has a number"),
    },
    "negative": {
        "train": ("the {thing} is {kind}", "what a {kind} {thing}", "i hate the {thing}", "this {thing} makes us sad"),
        "heldout": ("we hate this {kind} {thing}", "this {kind} {thing} makes us sad"),
    },
}
WORDS = (
    *_THINGS,
    *(word for kinds in _KIND.values() for word in kinds),
    *words_of(t for splits in _TEMPLATES.values() for group in splits.values() for t in group),
)


def sentence(rng: Rng, split: str, words: str) -> str:
    """Return a sentence whose words are positive, neutral or negative."""
    return pick(rng, of(split, _TEMPLATES[words])).format(thing=pick(rng, _THINGS), kind=pick(rng, _KIND[words]))


ASK_VOICE = phrasings(
    ("^how does the voice sound~?", "^[leaving the words aside, |]what is the tone of voice~?"),
    (
        "^which mood is in the delivery?",
        "[ignore the meaning and judge|judge|rate|classify|assess] the tone~.",
        "[the talker by tone alone: which mood|what does the melody of speech convey]~?",
    ),
)
ASK_WORDS = phrasings(
    ("^what do the words say~?", "^[leaving the voice aside, |]what is the meaning of the words~?"),
    (
        "^which opinion is in the text?",
        "[ignore the tone and judge|judge|rate|classify|assess] the meaning~.",
        "[the content alone: which opinion|what does the wording convey]~?",
    ),
)
ASK_AGREE = phrasings(
    ("^do [the voice and the words|the words and the voice] agree~?", "^do voice and words agree or conflict~?"),
    (
        "^does the delivery fit the meaning?",
        "[compare tone and content|[set|weigh|hold] tone against content|match tone with content]~.",
        "[tone and meaning: in accord or at odds|do tone and text match or clash]~?",
    ),
)
