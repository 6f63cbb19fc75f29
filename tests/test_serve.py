"""The HTTP API: the official client, parity with the engine, many clients at once, cancelling, limits, the end."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time

import openai
import pytest
from engine_fixture import tone
from serve_fixture import CLIP, ask, chat, endless, metric, serving, shipped_engine, wait_until, wav_part
from shipped import needs_weights

from earwitness.engines import Request, Sampling
from earwitness.engines.endpoint import EndpointEngine
from earwitness.serve.server import build_server
from earwitness.serve.settings import Settings

pytestmark = needs_weights
LONG = {"max_tokens": 3_000}


@pytest.fixture(scope="module")
def engine():
    return shipped_engine()


@pytest.fixture(scope="module")
def port(engine):
    with serving(engine) as port:
        yield port


@pytest.fixture(scope="module")
def client(port):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def expected(engine, clips, text, **settings):
    parts = [{"type": "text", "text": text}, *({"type": "audio", "audio": clip} for clip in clips)]
    request = Request([{"role": "user", "content": parts}], think=settings.pop("think", True), seed=7)
    return next(iter(engine.generate([request], Sampling(**settings))))


CASES = [
    ([], {}),
    ([CLIP], {"temperature": 0.9}),
    ([CLIP, tone(0.5, 660)], {"think_budget": 5}),
    ([CLIP], {"think": False}),
]


@pytest.mark.parametrize("clips, settings", CASES)
def test_the_official_client_gets_what_the_engine_says(engine, client, clips, settings):
    text = "Which note is higher, the first or the second?"
    reply = expected(engine, clips, text, **settings)
    body = chat(text, clips, max_tokens=200, seed=7, temperature=settings.get("temperature", 0.0))
    extra = {k: v for k, v in settings.items() if k != "temperature"}
    whole = client.chat.completions.create(**body, extra_body=extra)
    message = whole.choices[0].message
    assert message.content == reply.answer and (getattr(message, "reasoning_content", None) or "") == reply.thinking
    assert whole.usage.completion_tokens == len(reply.token_ids)
    assert whole.usage.completion_tokens_details.reasoning_tokens == reply.thinking_tokens
    assert whole.usage.prompt_tokens_details.audio_tokens == reply.audio_tokens
    assert (reply.audio_tokens > 0) is bool(clips)

    said = {"content": "", "reasoning_content": ""}
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(**body, extra_body=extra, stream=True, stream_options=options):
        for choice in chunk.choices:
            for name in said:
                said[name] += getattr(choice.delta, name, None) or ""
            finish = choice.finish_reason
    assert said == {"content": reply.answer, "reasoning_content": reply.thinking}
    assert finish == whole.choices[0].finish_reason and chunk.usage == whole.usage


def test_models_health_and_metrics(port, client):
    assert [(m.id, m.owned_by) for m in client.models.list()] == [("tiny", "earwitness")]
    assert client.models.retrieve("tiny").max_model_len == 4096
    assert ask(port, None, "/health", "GET")[0] == 200
    before = metric(port, "earwitness_requests_total"), metric(port, 'earwitness_tokens_total{kind="audio"}')
    assert ask(port, chat(clips=[CLIP], max_tokens=3))[0] == 200
    after = metric(port, "earwitness_requests_total"), metric(port, 'earwitness_tokens_total{kind="audio"}')
    assert after[0] == before[0] + 1 and after[1] > before[1]
    assert metric(port, "earwitness_time_to_first_token_seconds_count") >= 1


def test_choices_stops_and_log_probabilities(port, client, engine):
    reply = expected(engine, [CLIP], "What is it?", max_new_tokens=100)
    whole = client.chat.completions.create(**chat("What is it?", [CLIP], n=2, logprobs=True, max_tokens=100))
    assert [c.index for c in whole.choices] == [0, 1]
    assert [c.message.content for c in whole.choices] == [reply.answer] * 2
    content = whole.choices[0].logprobs.content
    assert "".join(t.token for t in content).strip() == reply.answer and all(t.logprob <= 0 for t in content)
    assert whole.usage.completion_tokens == 2 * len(reply.token_ids)
    words = reply.thinking.split()
    stop = f"{words[2][-1]} {words[3][:2]}"  # over the bounds of tokens
    for stream in (False, True):
        found = client.chat.completions.create(**chat("What is it?", [CLIP], stop=[stop], stream=stream))
        if stream:
            chunks = [c for chunk in found for c in chunk.choices]
            said = "".join(getattr(c.delta, "reasoning_content", None) or "" for c in chunks)
        else:
            said = found.choices[0].message.reasoning_content
        assert said == reply.thinking.partition(stop)[0].strip()


def test_cut_replies_say_so(client):
    whole = client.chat.completions.create(**chat(max_tokens=4))
    assert whole.choices[0].finish_reason == "length" and whole.choices[0].status == "truncated"


def test_our_own_endpoint_engine_agrees_with_the_engine(port, engine):
    through = EndpointEngine(f"http://127.0.0.1:{port}")
    for settings in (Sampling(max_new_tokens=150), Sampling(max_new_tokens=150, think_budget=6)):
        for think in (True, False):
            local = engine.ask([CLIP], "Which note is higher?", think=think, sampling=settings)
            remote = through.ask([CLIP], "Which note is higher?", think=think, sampling=settings)
            assert (remote.thinking, remote.answer) == (local.thinking, local.answer)


def test_many_clients_at_once_get_their_own_answers(engine, port, client):
    questions = [f"What is {i} plus {i + 1}?" for i in range(10)]
    alone = [expected(engine, [], text, max_new_tokens=80) for text in questions]

    def one(i):
        body = chat(questions[i], max_tokens=80)
        if i % 2:
            return client.chat.completions.create(**body).choices[0].message.content
        pieces = client.chat.completions.create(**body, stream=True)
        return "".join(c.delta.content or "" for chunk in pieces for c in chunk.choices)

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == [reply.answer for reply in alone]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(engine, stream):
    with serving(endless(engine, 1), max_queue=1) as port:
        leaving = [begin(port, chat(stream=stream, **LONG)) for _ in range(2)]  # one runs, one waits
        wait_until(lambda: metric(port, "earwitness_running") == 1 and metric(port, "earwitness_queue_length") == 1)
        status, headers, body = ask(port, chat())
        assert status == 429 and int(headers["Retry-After"]) >= 1 and body["error"]["code"] == "queue_full"
        for connection in leaving:
            connection.close()
        status, _, body = ask_until_taken(port, chat(max_tokens=2))
        assert status == 200 and body["usage"]["completion_tokens"] == 2
        assert metric(port, "earwitness_running") == metric(port, "earwitness_queue_length") == 0
        assert metric(port, 'earwitness_requests_total{status="499"}') == 2
        begin(port, chat(), cut=10).close()  # in the middle of its body
        wait_until(lambda: metric(port, 'earwitness_requests_total{status="499"}') == 3)


def begin(port, body, cut=0):
    """Send a request, but for its last bytes, and return its connection without reading the reply."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", port))
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) - cut])
    return connection


def ask_until_taken(port, body):
    return wait_until(lambda: (found := ask(port, body))[0] != 429 and found)


def test_a_request_that_takes_too_long_ends(engine):
    with serving(endless(engine, 2), timeout_seconds=0.6) as port:
        start = time.monotonic()
        status, _, body = ask(port, chat(**LONG))
        assert status == 504 and "0.6 s" in body["error"]["message"] and time.monotonic() - start < 10
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIError, match="longer than"):
            list(client.chat.completions.create(**chat(stream=True, **LONG)))
        wait_until(lambda: metric(port, "earwitness_running") == 0)


def test_the_key_is_asked_for(engine):
    with serving(engine, api_key="s3cret") as port:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            status, _, body = ask(port, chat(max_tokens=2), headers=headers)
            assert status == 401 and body["error"]["code"] == "invalid_api_key"
            assert (
                ask(port, None, "/metrics", "GET", headers)[0]
                == ask(port, None, "/v1/models", "GET", headers)[0]
                == 401
            )
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="s3cret")
        assert client.chat.completions.create(**chat(max_tokens=2)).usage.completion_tokens == 2
        assert ask(port, None, "/health", "GET")[0] == 200


def test_an_engine_that_fails_loses_what_ran_and_goes_on(engine, monkeypatch):
    broken = endless(engine, 2)
    with serving(broken) as port:
        with monkeypatch.context() as patch:
            patch.setattr(type(broken.model), "encode_audio", lambda model, waves: 1 / 0)
            status, _, body = ask(port, chat(clips=[CLIP]))
        assert status == 500 and "ZeroDivision" not in str(body)
        assert ask(port, chat(clips=[CLIP], max_tokens=2))[0] == 200


def test_sigterm_lets_accepted_requests_finish():
    command = [sys.executable, "-m", "earwitness", "serve", "--port", "0", "--batch", "1"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as server:
        try:
            line = next(line for line in server.stderr if "is served at" in line)
            port = int(line.rpartition(":")[2].partition("/")[0])
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                body = chat("What is 2 plus 3?", n=4, max_tokens=60, temperature=0.7)
                asked = [pool.submit(ask, port, {**body, "stream": i % 2 == 0}) for i in range(5)]
                wait_until(lambda: metric(port, "earwitness_running") + metric(port, "earwitness_queue_length") >= 8)
                server.send_signal(signal.SIGTERM)
                wait_until(lambda: ask(port, None, "/health", "GET")[0] == 503)
                status, headers, refused = ask(port, body)
                assert status == 503 and headers["Retry-After"] and "shutting down" in refused["error"]["message"]
                replies = [one.result() for one in asked]
            assert [status for status, _, _ in replies] == [200] * 5
            for i, (_, _, body) in enumerate(replies):
                assert body.endswith("data: [DONE]\n\n") if i % 2 == 0 else len(body["choices"]) == 4
            assert server.wait(30) == 0
        finally:
            server.kill()


def test_the_grace_period_ends(engine):
    ready = []
    settings = Settings(name="tiny", grace_seconds=0.3)
    server = build_server(endless(engine, 1), settings, "127.0.0.1", 0, ready.append)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(server.run)
        wait_until(lambda: ready)
        asked = pool.submit(ask, ready[0], chat(**LONG))
        wait_until(lambda: metric(ready[0], "earwitness_running") == 1)
        server.handle_exit(signal.SIGTERM, None)
        assert asked.result(30)[0] == 503
        running.result(30)


def test_tools_are_passed_through(client):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    plain = client.chat.completions.create(**chat(max_tokens=2))
    found = client.chat.completions.create(**chat(max_tokens=2), tools=[tool])
    assert found.usage.prompt_tokens > plain.usage.prompt_tokens + 10
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Look."}, wav_part(CLIP)]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a bell"},
    ]
    assert client.chat.completions.create(model="tiny", messages=turns, tools=[tool], max_tokens=2).choices
