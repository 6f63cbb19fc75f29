"""What the sound suite asks, beyond what any row of events can be asked: order, overlap, trend, background."""

from __future__ import annotations

from dataclasses import replace

from earwitness.soundworld.core import Facts, Params, QuestionType, Rng
from earwitness.soundworld.row_phrasings import row_phrasings
from earwitness.soundworld.sequence import COUNTS, Row, found, make, phrasings, pick, scan, shuffled, tally
from earwitness.soundworld.sound_synth import BACKGROUNDS, RECIPES

KINDS = tuple(RECIPES)
SHOWN_TRENDS = ("approaching", "leaving")
# A sound that fades by itself never gets louder, however near it comes.
SUSTAINED = ("siren", "alarm", "whistle", "horn", "steps", "engine")
ROW = Row("sound", "sound", KINDS, "distance", ("near", "far"))
_ROW = row_phrasings("sound", "event", "distance", "is heard")
_GIVE = "^[name|give|identify|find]"


def _draw_present(rng: Rng, split: str) -> Params:
    name = pick(rng, KINDS)
    # Other clips are drawn with the same chance of this kind whatever the answer: the proposals decide.
    return {"x": name, "kinds": (name,), "vary": False, "choices": shuffled(rng, ("yes", "no"))}


def _present(facts: Facts, params: Params) -> str:
    return "yes" if found(facts, {"sound": params["x"]}) else "no"


def _present_chain(facts: Facts, params: Params) -> str:
    places = found(facts, {"sound": params["x"]})
    x, until = params["x"], places[0] if places else 0
    text = scan(facts, ROW.say("sound"), tally(places, x), x, until)
    return f"{text} So a {params['x']} is {'' if places else 'not '}there."


def _draw_first(rng: Rng, split: str) -> Params:
    a, b = shuffled(rng, KINDS)[:2]
    return {"x": a, "y": b, "kinds": (a, b), "vary": False, "choices": shuffled(rng, (a, b)), "least": 3}


def _first(facts: Facts, params: Params) -> str | None:
    a, b = (found(facts, {"sound": params[k]}) for k in "xy")
    return None if not a or not b else params["x"] if a[0] < b[0] else params["y"]


def _first_chain(facts: Facts, params: Params) -> str:
    first = min(found(facts, {"sound": params[k]})[0] for k in "xy")
    name, (x, y) = facts["events"][first - 1]["sound"], (params["x"], params["y"])

    def note(i: int) -> str:
        return f"is {name}" if i == first else f"not {x} {y}"

    text = scan(facts, ROW.say("sound"), note, f"{x} or {y}", until=first)
    return f"{text} Of {params['x']} and {params['y']} this is the first to come."


def _draw_different(rng: Rng, split: str) -> Params:
    return {"kinds": (), "vary": False, "choices": shuffled(rng, ("1", "2", "3")), "least": 4}


def _different(facts: Facts, params: Params) -> str:
    return str(len({e["sound"] for e in facts["events"]}))


def _different_chain(facts: Facts, params: Params) -> str:
    names = [e["sound"] for e in facts["events"]]

    def note(i: int) -> str:
        return f"{'again' if names[i - 1] in names[: i - 1] else 'new'} so far {' '.join(dict.fromkeys(names[:i]))}"

    text = scan(facts, ROW.say("sound"), note, "different")
    kinds = ", ".join(f"{i} {name}" for i, name in enumerate(dict.fromkeys(names), 1))
    return f"{text} The kinds are {kinds}. The number of different kinds is {len(set(names))}."


def _draw_background(rng: Rng, split: str) -> Params:
    return {"kinds": (), "vary": False, "ask_background": True, "choices": shuffled(rng, BACKGROUNDS)[:4]}


def _background_chain(facts: Facts, params: Params) -> str:
    return f"{ROW.hear(facts, 'sound')} Behind them, and in the gaps, there is {facts['background']}."


def _draw_trend(rng: Rng, split: str) -> Params:
    more = {"trend": True, "exactly": 3, "vary": False}
    return {"kinds": (), **more, "choices": shuffled(rng, SHOWN_TRENDS)}


def _trend_chain(facts: Facts, params: Params) -> str:
    one = facts["events"][0]
    grows = "softer to louder" if one["trend"] == "approaching" else "louder to softer"
    text = f"{ROW.hear(facts, 'sound')} Sound 1 goes from {grows} between its start and its end"
    return f"{text}, so it is {one['trend']}."


def _draw_overlap(rng: Rng, split: str) -> Params:
    return {"kinds": (), "vary": False, "overlap": True, "distinct": True, "choices": shuffled(rng, ("yes", "no"))}


def _overlap_chain(facts: Facts, params: Params) -> str:
    when = "begins before sound 1 has ended" if facts["overlap"] else "begins after sound 1 has ended"
    return f"{ROW.hear(facts, 'sound')} Sound 2 {when}."


def _draw_parity(rng: Rng, split: str) -> Params:
    level = pick(rng, ROW.levels)
    filters = {"distance": level}
    more = {"filters": filters, "level": level, "least": 4}
    return {"kinds": (), "vary": True, **more, "choices": shuffled(rng, ("odd", "even"))}


def _parity(facts: Facts, params: Params) -> str:
    return ("even", "odd")[len(found(facts, params["filters"])) % 2]


def _parity_chain(facts: Facts, params: Params) -> str:
    places = found(facts, params["filters"])

    def note(i: int) -> str:
        parity = ("even", "odd")[sum(p <= i for p in places) % 2]
        return f"{'is' if i in places else 'not'} {params['level']} {parity}"

    text = scan(facts, ROW.say("distance"), note, params["level"])
    return f"{text} So the number of {params['level']} ones is {_parity(facts, params)}."


def _draw_tail(rng: Rng, split: str) -> Params:
    name = pick(rng, KINDS)
    more = {"filters": {"sound": name}, "x": name, "kinds": (name,), "least": 5}
    return {**more, "vary": False, "choices": shuffled(rng, COUNTS)}


def _tail(facts: Facts, params: Params) -> str | None:
    places = found(facts, params["filters"])
    return str(len(facts["events"]) - places[-1]) if places else None


def _tail_chain(facts: Facts, params: Params) -> str:
    places, n = found(facts, params["filters"]), len(facts["events"])

    def note(i: int) -> str:
        before = [p for p in places if p <= i]
        told = f"{'is' if i in places else 'not'} {params['x']}"
        return f"{told} {i - before[-1]}" if before else told

    text = scan(facts, ROW.say("sound"), note, f"after last {params['x']}")
    return f"{text} Counted from the last {params['x']}, that is {n - places[-1]}."


def _filled(rng: Rng, x: str, count: int, n: int, kinds: int) -> list[str]:
    """Return ``n`` names with ``count`` times x and ``kinds`` different names in all, x among them or not."""
    others = shuffled(rng, [name for name in KINDS if name != x])[: kinds - (count > 0)]
    rest = [*others, *(pick(rng, others) for _ in range(n - count - len(others)))]
    return list(shuffled(rng, [x] * count + rest))


def _names_present(rng: Rng, n: int, params: Params, answer: str) -> list[str]:
    count = int(rng.integers(1, 3)) if answer == "yes" else 0
    return _filled(rng, params["x"], count, n, params["n_kinds"])


def _names_count(rng: Rng, n: int, params: Params, answer: str) -> list[str]:
    return _filled(rng, params["x"], int(answer), n, params["n_kinds"])


def _names_count_both(rng: Rng, n: int, params: Params, answer: str) -> list[str]:
    # Some of the kind asked for have the other distance, or there is nothing to tell apart.
    count = min(int(answer) + int(rng.integers(3)), n - 2)
    return _filled(rng, params["x"], count, n, params["n_kinds"])


def _names_different(rng: Rng, n: int, params: Params, answer: str) -> list[str]:
    x = pick(rng, KINDS)
    return _filled(rng, x, int(rng.integers(1, n - int(answer) + 2)) if answer != "1" else n, n, int(answer))


def _names_tail(rng: Rng, n: int, params: Params, answer: str) -> list[str]:
    last, count = n - int(answer), int(rng.integers(2))
    others = _filled(rng, params["x"], 0, n - 1 - count, params["n_kinds"])
    head = shuffled(rng, [*others[: last - 1 - count], *[params["x"]] * count])
    return [*head, params["x"], *others[last - 1 - count :]]


# How many kinds occur is drawn with the question, so that counting kinds does not answer it.
NAMES_FOR = {
    "present": _names_present,
    "count_sound": _names_count,
    "count_distance_sound": _names_count_both,
    "different": _names_different,
    "tail": _names_tail,
}


def _any_kinds(kind: QuestionType) -> QuestionType:
    """Return the type with the number of kinds that occur drawn before the answer, in clips with room for them."""

    def draw(rng: Rng, split: str) -> Params:
        params = kind.draw(rng, split)
        return {**params, "n_kinds": int(rng.integers(2, 4)), "least": max(5, params.get("least", 0))}

    return replace(kind, draw=draw)


_WORDS = {
    "present": phrasings(
        ("^is there a {x}~?", "^do you hear a {x}~?"),
        (
            "^does a {x} [occur|appear|sound|come up|turn up|ring out]?",
            "[can a {x} be heard|is a {x} among the events]~?",
        ),
    ),
    "first": phrasings(
        ("^which comes first, the {x} or the {y}~?", "^what is heard first, {x} or {y}~?"),
        (
            "^is the {x} or the {y} [earlier|ahead|sooner|in front|in the lead|at the start]?",
            "[of {x} and {y}, which opens|which starts before the other, {x} or {y}]~?",
        ),
    ),
    "different": phrasings(
        ("^how many different sounds [are there|do you hear]~?", "^how many kinds of sound [are there|occur]~?"),
        (
            "^[count|number|tally|add up] the distinct kinds~.",
            "[what variety of kinds is there|kinds of event: how many]~?",
        ),
    ),
    "background": phrasings(
        ("^[what|which] background [is there|do you hear]~?", "^what is in the background~?"),
        (f"{_GIVE} the setting behind the events~.", "[what surrounds the events|which ambience lies underneath]~?"),
    ),
    "trend": phrasings(
        ("^is the first sound approaching or leaving~?", "^[which|what] way does the first sound move~?"),
        (
            "^[judge|describe|rate|give] the movement of the opening source~.",
            "[does the opening source near or recede|where is the opening source heading]~?",
        ),
    ),
    "overlap": phrasings(
        ("^do the first two sounds overlap~?", "^do sounds 1 and 2 sound at the same time~?"),
        (
            "^does the second event [start|begin|set in|come|enter|arise] while the first is on?",
            "[is there a moment with both opening events|are both opening events simultaneous]~?",
        ),
    ),
    "parity": phrasings(
        ("^is the number of {level} sounds odd or even~?", "^are the {level} sounds odd or even in number~?"),
        (
            "^[judge|work out|find|give] the parity of the count of {level} events~.",
            "[do the {level} events pair up evenly|can {level} events be split in two equal halves, even or odd]~?",
        ),
    ),
    "tail": phrasings(
        ("^how many sounds come after the last {x}~?", "^how many sounds follow the last {x}~?"),
        (
            "^[count|number|tally|add up] the events once the final {x} is over~.",
            "[what remains in number when the final {x} ends|the final {x} leaves how many events to come]~?",
        ),
    ),
}

TYPES: tuple[QuestionType, ...] = (
    ROW.kth("sound", None, _ROW["kth_kind"], 1, weight=1.2),
    ROW.kth("distance", None, _ROW["kth_level"], 1, weight=1.0),
    make(
        "background",
        1,
        _WORDS["background"],
        _draw_background,
        lambda f, p: f["background"],
        _background_chain,
        weight=1.2,
    ),
    make("trend", 1, _WORDS["trend"], _draw_trend, lambda f, p: f["events"][0]["trend"], _trend_chain, weight=1.0),
    _any_kinds(make("present", 2, _WORDS["present"], _draw_present, _present, _present_chain, weight=1.0)),
    make("first", 2, _WORDS["first"], _draw_first, _first, _first_chain, weight=1.2),
    make("different", 2, _WORDS["different"], _draw_different, _different, _different_chain, weight=1.0),
    make(
        "overlap",
        2,
        _WORDS["overlap"],
        _draw_overlap,
        lambda f, p: "yes" if f["overlap"] else "no",
        _overlap_chain,
        weight=0.8,
    ),
    ROW.length(_ROW["how_many"], weight=0.8),
    _any_kinds(ROW.count(("sound",), _ROW["count_kind"], 2, weight=1.4)),
    ROW.after(("sound",), "sound", _ROW["kind_after"], 2, weight=1.2),
    _any_kinds(ROW.count(("distance", "sound"), _ROW["count_both"], 3, weight=1.8)),
    ROW.more(False, _ROW["more_of"], weight=1.6),
    ROW.more(True, _ROW["more_of_levels"], weight=2.0),
    ROW.kth("sound", "distance", _ROW["kth_by"], 3, most=3, weight=1.6),
    ROW.last("distance", "sound", _ROW["last_level"], weight=1.2),
    ROW.after(("distance", "sound"), "sound", _ROW["after_both"], 3, weight=1.6),
    ROW.between(_ROW["between"], weight=1.4),
    ROW.most(_ROW["most"], weight=1.2),
    make("parity", 3, _WORDS["parity"], _draw_parity, _parity, _parity_chain, weight=1.2),
    _any_kinds(make("tail", 3, _WORDS["tail"], _draw_tail, _tail, _tail_chain, weight=1.2)),
)
