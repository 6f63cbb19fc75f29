"""The route that checks a chain against its clip: verdicts, places, times, what is kept and what is refused."""

import json
import sys

import numpy as np
import pytest
from engine_fixture import tone
from serve_fixture import ask, encoded, serving, shipped_engine
from shipped import needs_weights

from earwitness.acoustics import Measurements
from earwitness.grounding import verify_chain
from earwitness.serve.app import _in_shape
from earwitness.serve.claims import MOST_SECONDS, Statement, Witness, read_statement, stretches
from earwitness.serve.errors import ApiError
from earwitness.serve.settings import Settings

GAP = np.zeros(4_000, np.float32)
WAVE = np.concatenate([GAP, 3 * tone(0.5, 220.0), GAP, tone(0.5, 329.63), GAP])  # A3 at 0.25 s, E4 at 1.0 s, softer
CHAIN = "I hear 1 A3, 2 D4. The second note is louder than the first. There are two notes. It is a flute."


def body(**fields):
    return json.dumps({"audio": encoded(WAVE), "chain": CHAIN, **fields}).encode()


def statement(chain=CHAIN, is_complete=True, wave=WAVE, audio_id="a"):
    return Statement(chain, is_complete, wave, audio_id)


def refused(data, settings=None):
    with pytest.raises(ApiError) as caught:
        _in_shape(read_statement, data, settings or Settings())
    assert 400 <= caught.value.status < 500
    return caught.value


@needs_weights
def test_the_route_says_what_grounding_says_and_takes_the_id_of_a_clip_it_measured():
    with serving(shipped_engine(), api_key="s3cret") as port:
        key = {"Authorization": "Bearer s3cret"}
        assert ask(port, body(), "/v1/claims")[0] == 401
        assert ask(port, body(), "/v1/claims", headers={**key, "Content-Type": "text/plain"})[0] == 415
        status, _, first = ask(port, body(), "/v1/claims", headers=key)
        expected = [{**v.to_json(), "start": v.claim.start} for v in verify_chain(CHAIN, Measurements(WAVE))]
        said = [{k: v for k, v in claim.items() if k != "stretches"} for claim in first["claims"]]
        assert status == 200 and said == expected and first["position"] == len(CHAIN)
        assert {c["outcome"] for c in said} == {"verified", "refuted", "uncheckable"}
        assert first["tally"]["refuted"] == 2 and first["seconds"] == pytest.approx(1.75)
        again = {"audio_id": first["audio_id"], "chain": CHAIN}
        assert ask(port, again, "/v1/claims", headers=key)[2] == first
        status, _, found = ask(port, {**again, "audio_id": "none"}, "/v1/claims", headers=key)
        assert status == 404 and found["error"]["code"] == "not_kept"
        assert ask(port, None, "/v1/claims", "GET", key)[0] == 405


def test_a_sentence_that_is_still_being_written_waits():
    found = Witness().check(statement("The second note is louder than the first. There are tw", is_complete=False))
    assert found["position"] == len("The second note is louder than the first.") and len(found["claims"]) == 1


def test_claims_know_where_they_are_heard():
    heard = Measurements(WAVE)
    by_text = {v.claim.text: stretches(v, heard) for v in verify_chain(CHAIN, heard)}
    first, second = ((0.25, 0.75), (1.0, 1.5))
    assert by_text["1 A3"] == [pytest.approx(first, abs=0.03)]
    assert by_text["2 D4"] == [pytest.approx(second, abs=0.03)]
    both = next(found for text, found in by_text.items() if "louder" in text)
    assert both == [pytest.approx(first, abs=0.03), pytest.approx(second, abs=0.03)]
    assert by_text["There are two notes"] == []  # about the clip as a whole
    point = verify_chain("A sound begins at 1.0 s.", heard)
    ((start, end),) = stretches(point[0], heard)
    assert start < 1.0 < end and end - start == pytest.approx(0.2)  # long enough to be heard


def test_places_count_whole_characters():
    for chain in ("\U0001f600 I hear 1 A3, 2 E4.", "The second note is higher than the first."):
        claims = Witness().check(statement(chain))["claims"]
        assert claims and all(chain[claim["start"] : claim["end"]] == claim["text"] for claim in claims)


def test_old_measurements_are_given_up(monkeypatch):
    monkeypatch.setattr("earwitness.serve.claims.MOST_SECONDS", 4.0)
    witness = Witness()
    for name in ("a", "b", "c"):  # 1.75 s each
        witness.check(statement("", audio_id=name))
    for name in ("b", "c"):
        witness.check(statement("", wave=None, audio_id=name))
    with pytest.raises(ApiError, match="send it again"):
        witness.check(statement("", wave=None, audio_id="a"))


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(ApiError, match=r"earwitness\[acoustics\]") as caught:
        Witness().check(statement())
    assert caught.value.status == 501


def test_limits_are_named():
    assert refused(body(chain="a. " * 20_000)).status == 413
    assert "one sentence" in str(refused(body(chain="a " * 2_000)))
    assert refused(body(), Settings(max_audio_seconds=1.0)).code == "audio_too_long"
    long = encoded(np.zeros(round(16_000 * (MOST_SECONDS + 1)), np.float32))
    assert "1.0 s over" in str(refused(body(audio=long)))
    assert refused(body(audio="file:///etc/passwd")).code == "audio_url_not_allowed"
    assert refused(body(audio="http://127.0.0.1:9/x")).code == "audio_url_not_allowed"
    assert "did you mean 'chain'" in str(refused(body(chains="x")))


_WRONG = [None, True, -1, 1e400, "", "x", [], {}, [None], {"a": 1}, "\ud800", 10**400, "\0"]


@pytest.mark.parametrize("name", ["audio", "audio_id", "chain", "complete"])
def test_malformed_bodies_are_the_sender_s_fault(name):
    fine = {"chain": ("", "x", "\0"), "complete": (True,), "audio_id": (None,)}
    for value in _WRONG:
        if value not in fine.get(name, ()):
            refused(body(**{name: value}))


def test_numbers_that_no_float_holds_are_read():
    chain = f"It lasts {'9' * 400} s. The tempo is 1e999 beats per minute. The first note is at {'9' * 400} Hz."
    json.dumps(Witness().check(statement(chain)), allow_nan=False)
