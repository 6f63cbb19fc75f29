"""What a chain claims about the sound is found, with its subject and value; what it only supposes is not."""

import pytest

from earwitness import soundworld
from earwitness.grounding import ClaimStream, extract
from earwitness.grounding.claims import Claim, Subject
from earwitness.grounding.extract import pieces


def seen(text):
    return [(c.kind, str(c.subject), c.value) for c in extract(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The second note is higher than the first.", [("order", "note 2", "more")]),
        ("The last note is the softest.", [("extreme", "last note", "least")]),
        ("I hear three notes: the first is A4.", [("count", "note", 3), ("pitch_value", "note 1", "A4")]),
        (
            "The notes are C4, Eb4 and G4.",
            [("pitch_value", f"note {i}", n) for i, n in ((1, "C4"), (2, "D#4"), (3, "G4"))],
        ),
        ("The melody rises and then falls.", [("contour", "line", "up then down")]),
        ("At the end the voice goes down, as in a statement.", [("intonation", "voice", "falling")]),
        ("The tempo is around 72 BPM.", [("tempo", "clip", 72.0)]),
        ("It's in C# minor.", [("key", "clip", "C# minor")]),
        ("She speaks slowly.", [("rate", "voice woman", "slow")]),
        ("The first and the third note are soft.", [("level", "note 1", "low"), ("level", "note 3", "low")]),
        ("There is a silence of 0.5 s.", [("pause", "clip", 0.5)]),
        ("Sound 1 goes from softer to louder, so it is approaching.", [("trend", "sound 1", "growing")]),
    ],
)
def test_claims(text, expected):
    assert seen(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "If the second note is higher than the first, the answer is two.",
        "Is the second note higher than the first?",
        "Maybe the tempo is around 120 BPM.",
        "A. The second note is higher than the first.",
        "I need to check whether the voice rises at the end.",
        "C5 is higher than G3.",
        "The topic plays a major role, on a higher level.",
        "The user's deeper need is clear.",
    ],
)
def test_what_is_not_claimed(text):
    assert extract(text) == []


def test_a_denied_claim_is_marked():
    (claim,) = extract("The second note isn't higher than the first.")
    assert claim.is_negated and claim.value == "more"
    assert not extract("The second note is higher than the first.")[0].is_negated


def test_it_means_what_was_last_spoken_of():
    claims = extract("The second note is higher than the first. It is also louder than the third note.")
    assert [(c.subject.index, c.other.index, c.aspect) for c in claims] == [(2, 1, "pitch"), (2, 3, "loudness")]


def test_places_point_into_the_chain():
    chain = "Okay, let me listen. The tempo is about 90 BPM.\nThe second note is louder than the first one."
    for claim in extract(chain):
        assert claim.text == chain[claim.start : claim.end]


def test_a_stream_yields_the_claims_of_the_whole_when_sentences_end():
    chain = "There are 2 notes. The first is A4, about 440.5 Hz. The second note is lower than the first! It fades out"
    stream, found = ClaimStream(), []
    for piece in pieces(chain, 3):
        found += stream.feed(piece)
    assert found, "claims must come before the end"
    assert found + stream.flush() == extract(chain)


def test_lists_of_the_small_model():
    chain = (
        "I look for soft lowest. I hear 1 soft E3 lowest 1 E3, 2 loud F4 not soft, 3 soft C3 lower lowest 3 C3. "
        "The lowest is note 3, C3."
    )
    claims = extract(chain)
    assert [(c.subject.index, c.value) for c in claims if c.kind == "pitch_value"] == [
        (1, "E3"),
        (2, "F4"),
        (3, "C3"),
        (3, "C3"),
    ]
    assert [(c.subject.index, c.value) for c in claims if c.kind == "level"] == [(1, "low"), (2, "high"), (3, "low")]
    (extreme,) = [c for c in claims if c.kind == "extreme"]
    assert extreme.unit == "soft" and extreme.subject.index == 3


@pytest.mark.parametrize("suite", ["music", "speech"])
def test_chains_of_the_small_model_have_claims(suite):
    chains = [soundworld.sample(suite, "validation", i).reasoning for i in range(60)]
    assert sum(bool(extract(chain)) for chain in chains) > 0.8 * len(chains)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'smell'"):
        Claim("smell", "it smells", 0, 3, Subject())
