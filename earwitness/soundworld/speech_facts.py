"""What can be said in a speech clip: the vocabulary, the layout of a clip, and random facts within it.

Three families: ``words`` (single words, each with its own speaker, loudness and pace), ``sentence`` (one sentence, its
voice style and its content crossed) and ``turns`` (two short sentences by one or two speakers).
"""

from __future__ import annotations

from typing import Any

from earwitness.soundworld.core import Facts, Layout, Params, QuestionType, Rng

VOCABULARY = {
    "animal": "cat dog horse tiger sheep rabbit monkey lion mouse zebra cow wolf",
    "colour": "red blue green yellow black white purple brown pink grey golden silver",
    "food": "bread cheese apple lemon butter honey pizza rice soup carrot sugar pasta",
    "number": "one two three four five six seven eight nine ten twelve hundred",
    "object": "table window hammer bottle pencil ladder mirror candle basket button pillow bucket",
}
WORDS = {category: tuple(words.split()) for category, words in VOCABULARY.items()}
CATEGORIES = tuple(WORDS)
CATEGORY = {word: category for category, words in WORDS.items() for word in words}
PLURAL = {category: category + "s" for category in CATEGORIES}
SPEAKERS = ("man", "woman")
BACKGROUNDS = ("none", "rain", "hum", "babble")
STYLES = ("cheerful", "neutral", "sad")
SENTIMENTS = ("positive", "neutral", "negative")
VALUES = {"loudness": ("loud", "quiet"), "pace": ("fast", "slow")}

SENTENCES = {
    "positive": (
        "i love this {colour} {object}",
        "what a lovely {colour} {animal}",
        "the {food} tastes great",
        "my {animal} is so happy",
        "we won a {colour} {object}",
        "great news about the {animal}",
    ),
    "neutral": (
        "the {animal} is {colour}",
        "i see a {colour} {object}",
        "this is a {colour} {object}",
        "the {animal} has the {food}",
        "the {food} is near the {object}",
        "we have a {colour} {animal}",
    ),
    "negative": (
        "i hate this {colour} {object}",
        "what a terrible {colour} {animal}",
        "the {food} tastes awful",
        "my {animal} is so sad",
        "we lost a {colour} {object}",
        "bad news about the {animal}",
    ),
}
SENTENCE_WORDS = tuple(
    sorted({w for group in SENTENCES.values() for s in group for w in s.split() if not w.startswith("{")})
)

# Numbers of words in a clip; the held-out number lies between the others and never occurs in them.
LENGTHS = {"train": (2, 3, 4, 6), "heldout": (5,)}


def pick(rng: Rng, options: Any) -> Any:
    """Return one of ``options``, uniformly; much faster than ``rng.choice``."""
    return options[int(rng.integers(len(options)))]


def shuffled(rng: Rng, options: Any) -> tuple[Any, ...]:
    """Return ``options`` in random order."""
    return tuple(options[i] for i in rng.permutation(len(options)))


def layout(rng: Rng, split: str, kind: QuestionType, params: Params) -> Layout:
    """Return seconds, level, slots and voices of a clip; sees the question but not its answer."""
    heldout = split == "heldout"
    frame: Layout = {"level_db": round(float(rng.uniform(-34, -24)), 1), "voices": "heldout" if heldout else "train"}
    lead, tail = float(rng.uniform(0.06, 0.25)), float(rng.uniform(0.1, 0.3))
    if params["family"] == "words":
        least = max(params.get("least", 2), 4 if kind.steps == 3 else 2)
        slots = params.get("slots") or pick(rng, [n for n in LENGTHS["heldout" if heldout else "train"] if n >= least])
        slot = float(rng.uniform(0.68, 0.8) if slots <= 4 else rng.uniform(0.66, 0.72))
        if heldout and "pace" not in params.get("vary", ()) and rng.random() < 0.5:
            frame["voices"] = "clips"
    elif params["family"] == "sentence":
        slots, slot = 1, float(rng.uniform(2.3, 3.1))
    else:
        slots, slot = 2, float(rng.uniform(1.7, 2.1))
    seconds = round(lead + slots * slot + tail, 3)
    return {**frame, "slots": slots, "slot": round(slot, 3), "lead": round(lead, 3), "seconds": seconds}


def propose(rng: Rng, split: str, frame: Layout, params: Params) -> Facts:
    """Return random facts of the family that ``params`` names, within a layout."""
    if params["family"] == "words":
        return propose_words(rng, frame, params)
    return propose_sentence(rng, frame, params) if params["family"] == "sentence" else propose_turns(rng, frame, params)


def _clip(frame: Layout, family: str, events: list[dict[str, Any]], **attributes: Any) -> Facts:
    for slot, event in enumerate(events, attributes.pop("first_slot", 0)):
        start = frame["lead"] + slot * frame["slot"]
        event["start"], event["end"] = round(start, 3), round(start + frame["slot"] - 0.08, 3)
    transcript = " ".join(event.get("word") or event["sentence"] for event in events)
    return {
        "family": family,
        "events": events,
        "transcript": transcript,
        "voices": frame["voices"],
        **attributes,
    }


def _background(rng: Rng) -> str:
    return pick(rng, BACKGROUNDS)


def _coins(rng: Rng, n: int, values: tuple[str, str], both: bool) -> list[str]:
    """Return n values of a random bias, so that counts spread widely; with ``both``, neither value is missing."""
    bias = pick(rng, (0.25, 0.5, 0.75))
    drawn = [values[int(x < bias)] for x in rng.random(n)]
    if both and len(set(drawn)) == 1:
        drawn[int(rng.integers(n))] = values[int(drawn[0] == values[0])]
    return drawn


def propose_words(rng: Rng, frame: Layout, params: Params, fixed: dict[int, str] | None = None, n: int = 0) -> Facts:
    """Return facts of ``n`` single words (default: one a slot); ``fixed`` maps positions (from 0) to words.

    ``params``: ``categories`` that must be possible, ``vary`` attributes that must take both values, ``words`` of the
    question, which occur only where ``fixed`` puts them.
    """
    n, fixed = n or frame["slots"], fixed or {}
    categories = list(params.get("categories", ()))
    rest = [c for c in CATEGORIES if c not in categories]
    for i in rng.permutation(len(rest))[: max(int(rng.integers(2, 4)) - len(categories), 0)]:
        categories.append(rest[i])
    weights = rng.random(len(categories)) + 0.3
    edges = (weights / weights.sum()).cumsum()
    used = set(fixed.values()) | set(params.get("words", ()))
    words = []
    for position, x in enumerate(rng.random(n)):
        word = fixed.get(position)
        while word is None:
            word = pick(rng, WORDS[categories[min(int(edges.searchsorted(x)), len(categories) - 1)]])
            if word in used:
                word = None
        used.add(word)
        words.append(word)
    vary = set(params.get("vary", ()))
    chance = rng.random(2)
    attributes = {"speaker": _coins(rng, n, SPEAKERS, "speaker" in vary)}
    for (name, values), x in zip(VALUES.items(), chance):
        optional = x < 0.25 and not (name == "pace" and frame["voices"] == "clips")
        attributes[name] = _coins(rng, n, values, True) if name in vary or optional else ["normal"] * n
    events = [
        {"word": word, "category": CATEGORY[word], **{name: values[i] for name, values in attributes.items()}}
        for i, word in enumerate(words)
    ]
    first = int(rng.integers(frame["slots"] - n + 1))
    return _clip(frame, "words", events, background=_background(rng), first_slot=first)


def _sentence(rng: Rng, sentiment: str) -> str:
    return pick(rng, SENTENCES[sentiment]).format(**{c: pick(rng, WORDS[c]) for c in CATEGORIES})


def propose_sentence(rng: Rng, frame: Layout, params: Params) -> Facts:
    """Return facts of one sentence; ``params['vary']`` holds what the voice may do: intonation, pace or style."""
    vary = params.get("vary", ())
    sentiment = pick(rng, SENTIMENTS)
    event = {
        "sentence": _sentence(rng, sentiment),
        "sentiment": sentiment,
        "speaker": pick(rng, SPEAKERS),
        "style": pick(rng, STYLES) if "style" in vary else "neutral",
        "intonation": pick(rng, ("falling", "rising")) if "intonation" in vary else "falling",
        "pace": pick(rng, VALUES["pace"]) if "pace" in vary else "normal",
    }
    return _clip(frame, "sentence", [event], background=_background(rng), sentence=event["sentence"])


def propose_turns(rng: Rng, frame: Layout, params: Params) -> Facts:
    """Return facts of two short sentences, by one or two speakers, each a statement or a question."""
    events: list[dict[str, Any]] = []
    for _ in range(2):
        sentence = _sentence(rng, "neutral")
        while events and sentence == events[0]["sentence"]:
            sentence = _sentence(rng, "neutral")
        event = {"sentence": sentence, "sentiment": "neutral", "speaker": pick(rng, SPEAKERS), "style": "neutral"}
        events.append({**event, "intonation": pick(rng, ("falling", "rising")), "pace": "normal"})
    return _clip(frame, "turns", events, background=_background(rng))


def key(facts: Facts) -> Any:
    """Return the symbols of a clip without its times: what may not be shared between splits."""
    skip = ("start", "end", "category", "sentiment")
    events = [[event[k] for k in sorted(event) if k not in skip] for event in facts["events"]]
    return [facts["family"], facts["background"], events]


def pick_events(facts: Facts, **wanted: str) -> list[int]:
    """Return the positions of the words whose attributes all have the wanted values."""
    return [i for i, e in enumerate(facts["events"], 1) if all(e[k] == v for k, v in wanted.items())]
