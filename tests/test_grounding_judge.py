"""Judges by rules and by an endpoint: the same criteria; whatever the endpoint does, no case is lost or slips by."""

import contextlib
import http.server
import json
import threading
import time

import pytest
import synths

from earwitness.acoustics import Measurements
from earwitness.engines import chat_server
from earwitness.grounding import Case, Judgement, LLMJudge, RuleJudge, agreement
from earwitness.grounding.llm_judge import parse

pytest.importorskip("parselmouth")
GOOD = {"grounded": True, "coherent": True, "correct": True, "reason": "it listens"}


@pytest.fixture(scope="module")
def measurements():
    return Measurements(synths.row([synths.tone(300, 0.4), synths.tone(400, 0.4)])[0])


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(chat_server.time, "sleep", lambda seconds: None)


def cases(n, measurements=None):
    chain = "There are two notes. The second note is higher than the first. So the answer is second."
    return [Case(f"c{i}", chain, "second", f"Question {i}?", "second", measurements=measurements) for i in range(n)]


# ---- by rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "verdict", "failed"),
    [
        ({}, "pass", None),
        ({"chain": "The second note is lower than the first. So the answer is second."}, "fail", "grounded"),
        ({"chain": "I can't hear the audio. The second note is higher than the first."}, "fail", "grounded"),
        ({"chain": "It is the second, I feel."}, "fail", "grounded"),
        ({"answer": "first"}, "fail", "coherent"),
        ({"chain": "The second note is higher than the first.", "answer": "first"}, "fail", "correct"),
        ({"reference": None, "chain": "The second note is higher than the first.", "answer": "first"}, "pass", None),
        ({"is_correct": False}, "fail", "correct"),
        ({"measurements": None}, "unjudged", None),
    ],
)
def test_rules(measurements, changes, verdict, failed):
    case = Case(**{**vars(cases(1, measurements)[0]), **changes})
    (found,) = RuleJudge().judge([case])
    assert found.verdict == verdict
    assert failed is None or getattr(found, failed) is False
    assert verdict == "pass" or found.reasons
    json.dumps(found.to_json())


def test_rules_refuse_bounds_out_of_range():
    with pytest.raises(ValueError, match="most_refuted 2"):
        RuleJudge(most_refuted=2)


# ---- by an endpoint --------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what ``server.script(number of the request)`` returns: (status, text)."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.reply(200, json.dumps({"data": [{"id": "judge"}]}), "application/json")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(body)
            number = len(self.server.seen)
        status, text = self.server.script(number)
        if status == "slow":
            time.sleep(0.6)
            return
        if status == "raw":
            return self.reply(200, text, "application/json")
        if status != 200:
            return self.reply(status, json.dumps({"error": {"message": "no"}}), "application/json")
        payload = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        self.reply(200, json.dumps(payload), "application/json")

    def reply(self, status, text, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text.encode())


@contextlib.contextmanager
def endpoint(script):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.script, server.seen, server.lock = True, script, [], threading.Lock()
    server.handle_error = lambda *args: None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        server.server_close()


def judge(url, **more):
    settings = {"tries": 3, "first_wait_seconds": 0.01, "timeout_seconds": 5.0, "concurrency": 3, **more}
    return LLMJudge(url, **settings)


def test_endpoint_judges_all_in_order_and_reads_the_measurements(measurements):
    with endpoint(lambda n: (200, f"<think>hm</think> {json.dumps(GOOD)}")) as (url, server):
        found = list(judge(url).judge(cases(7, measurements)))
    assert [f.id for f in found] == [f"c{i}" for i in range(7)]
    assert {f.verdict for f in found} == {"pass"} and found[0].reasons == ("it listens",)
    sent = server.seen[0]["messages"][1]["content"]
    assert "'The second note is higher than the first' is verified" in sent and "Right answer: second" in sent


@pytest.mark.parametrize("key", ["grounded", "coherent", "correct"])
def test_endpoint_fails_a_case(key):
    with endpoint(lambda n: (200, json.dumps({**GOOD, key: False}))) as (url, _):
        (found,) = judge(url).judge(cases(1))
    assert found.verdict == "fail" and getattr(found, key) is False


@pytest.mark.parametrize(
    "script",
    [
        lambda n: (500, ""),
        lambda n: (429, ""),
        lambda n: (401, ""),
        lambda n: ("slow", ""),
        lambda n: (200, "It is fine, pass it."),
        lambda n: (200, '{"grounded": "yes", "coherent": true, "correct": true}'),
        lambda n: (200, '{"grounded": true, "coherent": true}'),
        lambda n: (200, '{"grounded": true, "coherent": true, "correct": null}'),
        lambda n: (200, None),
        lambda n: ("raw", "<html>"),
        lambda n: ("raw", "[]"),
        lambda n: ("raw", '{"choices": ["x"]}'),
        lambda n: ("raw", '{"choices": {"a": 1}}'),
        lambda n: ("raw", '{"choices": [{"message": {"content": {"grounded": true}}}]}'),
    ],
    ids="500 429 401 slow prose strings missing null none html list words map object".split(),
)
def test_whatever_the_endpoint_does_no_case_is_lost_or_passed(script, tmp_path):
    with endpoint(script) as (url, _):
        one = judge(url, tries=2, timeout_seconds=0.3, keep=tmp_path / "kept.jsonl", give_up_after=2)
        found = list(one.judge(cases(6)))
    assert [f.id for f in found] == [f"c{i}" for i in range(6)]
    assert {f.verdict for f in found} == {"unjudged"} and all(f.reasons for f in found)
    assert not (tmp_path / "kept.jsonl").exists()


def test_an_endpoint_that_is_down():
    with endpoint(lambda n: (200, "")) as (url, _):
        pass
    found = list(judge(url, concurrency=1, give_up_after=2).judge(cases(50)))
    assert [f.verdict for f in found] == ["unjudged"] * 50
    assert "cannot be reached" in found[0].reasons[0] and "failed too often" in found[-1].reasons[0]


def test_a_busy_or_babbling_endpoint_is_asked_again():
    replies = [(200, "well"), (500, ""), (200, json.dumps(GOOD))]
    with endpoint(lambda n: replies[(n - 1) % 3]) as (url, server):
        found = list(judge(url, concurrency=1).judge(cases(4)))
    assert [f.verdict for f in found] == ["pass"] * 4
    assert len(server.seen) == 12


def test_kept_judgements_are_not_asked_for_again_and_unjudged_ones_are(tmp_path):
    kept = tmp_path / "deep" / "kept.jsonl"
    with endpoint(lambda n: (200, json.dumps(GOOD)) if n <= 2 else (500, "")) as (url, _):
        first = list(judge(f"{url}#judge", keep=kept, tries=1, concurrency=1).judge(cases(5)))
    assert [f.verdict for f in first] == ["pass"] * 2 + ["unjudged"] * 3
    with open(kept, "a") as file:
        file.write('{"key": "cut o')  # the process was killed in mid-line
    with endpoint(lambda n: (200, json.dumps(GOOD))) as (url, server):
        second = list(judge(f"{url}#judge", keep=kept).judge(cases(5)))
        assert len(server.seen) == 3
    assert [f.verdict for f in second] == ["pass"] * 5
    with endpoint(lambda n: (500, "")) as (url, server):
        assert {f.verdict for f in judge(f"{url}#judge", keep=kept).judge(cases(5))} == {"pass"}
        assert not server.seen


def test_a_damaged_file_of_judgements_is_named(tmp_path):
    (tmp_path / "kept.jsonl").write_text('nonsense\n{"key": "a", "grounded": true}\n')
    with pytest.raises(ValueError, match="line 1"):
        LLMJudge("http://127.0.0.1:1", keep=tmp_path / "kept.jsonl")


def test_another_chain_or_model_is_another_judgement(tmp_path):
    kept = tmp_path / "kept.jsonl"
    with endpoint(lambda n: (200, json.dumps(GOOD))) as (url, server):
        list(judge(f"{url}#a", keep=kept).judge(cases(1)))
        list(judge(f"{url}#b", keep=kept).judge(cases(1)))
        list(judge(f"{url}#a", keep=kept).judge([Case("c0", "Another chain.", "second", "Question 0?", "second")]))
        assert len(server.seen) == 3


def test_parse_takes_the_last_object():
    text = '{"grounded": false, "coherent": true, "correct": true} no: ' + json.dumps(GOOD)
    assert parse(text, True)["grounded"] is True
    assert parse(json.dumps({**GOOD, "correct": None}), False)["correct"] is None


# ---- agreement -------------------------------------------------------------------------------------------------------


def judged(*verdicts):
    values = {"pass": True, "fail": False, "unjudged": None}
    return [Judgement(str(i), "j", v, grounded=values[v]) for i, v in enumerate(verdicts)]


def test_agreement():
    one = judged("pass", "pass", "fail", "fail", "pass", "unjudged")
    two = judged("pass", "fail", "fail", "fail", "unjudged", "pass")
    verdict, grounded, coherent, _ = agreement(one, two)
    assert (verdict.both, verdict.unjudged) == (4, 2)
    assert verdict.agreed == 0.75 and verdict.kappa == pytest.approx(0.5)
    assert grounded.agreed == 0.75
    assert coherent.both == 0 and coherent.agreed != coherent.agreed  # NaN


def test_agreement_misses_no_case():
    with pytest.raises(ValueError, match="'1'"):
        agreement(judged("pass", "pass"), judged("pass"))
    with pytest.raises(ValueError, match="twice"):
        agreement(judged("pass") * 2, judged("pass"))
