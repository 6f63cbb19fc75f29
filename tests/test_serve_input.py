"""What must not get in: malformed bodies, audio from where it may not come, prompts and clips past the limits."""

import base64
import contextlib
import copy
import http.server
import json
import os
import random
import threading

import pytest
from engine_fixture import tone
from serve_fixture import CLIP, ask, chat, encoded, serving, shipped_engine
from shipped import needs_weights

from earwitness import audio
from earwitness.engines.local import LocalEngine
from earwitness.records import Reply
from earwitness.serve import remote
from earwitness.serve.errors import ApiError
from earwitness.serve.replies import Deltas
from earwitness.serve.settings import Settings
from earwitness.serve.turns import Clip
from earwitness.serve.wire import read_ask

WAV = audio.encode_wav(CLIP)
LIMITS = {"max_body_bytes": 200_000, "max_audio_seconds": 3.0, "max_clips": 3, "max_choices": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An allowed folder with a clip and links that lead out of it, beside a secret one."""
    root = tmp_path_factory.mktemp("served")
    (root / "allowed").mkdir()
    (root / "allowed" / "clip.wav").write_bytes(WAV)
    (root / "allowed-not").mkdir()
    for place in (root, root / "allowed-not"):
        (place / "secret.wav").write_bytes(WAV)
    os.symlink(root / "secret.wav", root / "allowed" / "link.wav")
    os.symlink(root, root / "allowed" / "up")
    os.mkfifo(root / "allowed" / "pipe.wav")
    return root


@pytest.fixture(scope="module")
def site():
    """A site that counts what it is asked for: a clip, a redirect to it under another name, one to elsewhere."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            server.asked.append((self.headers["Host"], self.path))
            to = {"/away": f"http://localhost:{server.server_port}/clip.wav", "/round": "/round", "/on": "/clip.wav"}
            if self.path in to:
                self.send_response(302)
                self.send_header("Location", to[self.path])
                self.end_headers()
                return
            self.send_response(200 if self.path in ("/clip.wav", "/large") else 404)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(WAV if self.path == "/clip.wav" else b"x" * 300_000)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def port(folder, site):
    hosts = (f"127.0.0.1:{site.server_port}",)
    with serving(shipped_engine(), allowed_hosts=hosts, allowed_folders=(folder / "allowed",), **LIMITS) as port:
        yield port


def url_part(url):
    body = chat(max_tokens=1)
    body["messages"][0]["content"].append({"type": "audio_url", "audio_url": {"url": url}})
    return body


def refused(port, body):
    """Return the error of a request that must be refused, in OpenAI's shape."""
    status, _, found = ask(port, body)
    assert 400 <= status < 500, (status, str(body)[:300], found)
    assert set(found) == {"error"} and set(found["error"]) == {"message", "type", "param", "code"}, found
    assert found["error"]["message"] and "Traceback" not in str(found)
    return status, found["error"]


# ---- where audio may come from -------------------------------------------------------------------------------------


@needs_weights
def test_audio_that_is_allowed_is_read(port, folder, site):
    data = "data:audio/wav;base64," + encoded(CLIP)
    urls = [data, f"file://{folder}/allowed/clip.wav", f"file://localhost{folder}/allowed/../allowed/clip%2Ewav"]
    urls += [f"http://127.0.0.1:{site.server_port}{path}" for path in ("/clip.wav", "/on")]
    counts = [ask(port, url_part(url))[2]["usage"]["prompt_tokens_details"]["audio_tokens"] for url in urls]
    assert len(set(counts)) == 1 and counts[0] > 0


@needs_weights
@pytest.mark.parametrize(
    "path",
    ["secret.wav", "allowed/../secret.wav", "allowed/%2e%2e/secret.wav", "allowed/link.wav", "allowed/up/secret.wav"]
    + ["allowed-not/secret.wav", "no-such.wav", "allowed/clip.wav?x", "allowed/%00"],
)
def test_files_elsewhere_are_not_read(port, folder, path):
    _, error = refused(port, url_part(f"file://{folder}/{path}"))
    assert error["code"] == "audio_url_not_allowed" and str(folder) not in error["message"]


@needs_weights
def test_odd_files_and_urls_are_refused(port, folder):
    for url in (f"file://{folder}/allowed/pipe.wav", f"file://{folder}/allowed", f"file://{folder}/allowed/none.wav"):
        assert "no such audio file" in refused(port, url_part(url))[1]["message"]
    for url in (f"file://host{folder}/allowed/clip.wav", "file:clip.wav", f"FILE:{folder}/secret.wav"):
        assert refused(port, url_part(url))[1]["code"] == "audio_url_not_allowed"
    for url in (f"{folder}/allowed/clip.wav", "ftp://127.0.0.1/x", "data:audio/wav,abc", "x", "concat:a|b"):
        refused(port, url_part(url))


@needs_weights
def test_hosts_that_are_not_named_are_not_asked(port, site):
    before = len(site.asked)
    at = site.server_port
    for url in (
        f"http://localhost:{at}/clip.wav",
        "http://127.0.0.1/clip.wav",
        f"http://127.0.0.1:{at}@localhost:{at}/clip.wav",
        f"http://user@127.0.0.1:{at}/clip.wav",
        f"http://127.1:{at}/clip.wav",
        f"http://2130706433:{at}/clip.wav",
        f"http://[::ffff:127.0.0.1]:{at}/clip.wav",
        f"http://127.0.0.1:{at}\\@localhost/clip.wav",
        f"https://127.0.0.1:{at + 1}/clip.wav",
        "http://127.0.0.1:x/",
        "http://169.254.169.254/latest/meta-data",
        "http:///clip.wav",
    ):
        assert refused(port, url_part(url))[1]["code"] == "audio_url_not_allowed"
    assert len(site.asked) == before
    assert refused(port, url_part(f"http://127.0.0.1:{at}/away"))[1]["code"] == "audio_url_not_allowed"
    assert [host for host, _ in site.asked[before:]] == [f"127.0.0.1:{at}"]  # the redirect was not followed
    assert refused(port, url_part(f"http://127.0.0.1:{at}/round"))[1]["code"] == "audio_url_unreachable"
    assert refused(port, url_part(f"http://127.0.0.1:{at}/none"))[1]["code"] == "audio_url_unreachable"
    assert refused(port, url_part(f"http://127.0.0.1:{at}/large"))[0] == 413


def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch):
    settings = Settings(allowed_hosts=("media.example.com",))
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0"):
        found = [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", (address, 80))]
        monkeypatch.setattr(remote.socket, "getaddrinfo", lambda *a, found=found, **k: found)
        monkeypatch.setattr(remote.socket, "create_connection", lambda *a, **k: pytest.fail("it was connected to"))
        with pytest.raises(ApiError, match="not public"):
            remote.fetch(Clip("here", "http://media.example.com/a.wav", True), settings, 1.0)


# ---- limits ----------------------------------------------------------------------------------------------------------


@needs_weights
def test_limits_are_named(port):
    assert refused(port, chat("x" * 250_000))[0] == 413
    assert refused(port, chat(clips=[tone(0.1)] * 4))[0] == 413
    status, error = refused(port, chat(clips=[tone(2.0), tone(1.5)]))
    assert status == 413 and error["code"] == "audio_too_long" and "0.5 s over" in error["message"]
    assert error["param"] == "messages[0].content[2].input_audio"
    assert refused(port, chat(n=3))[1]["param"] == "n"
    assert refused(port, {**chat(), "model": "other"})[0] == 404
    assert "did you mean 'temperature'" in refused(port, {**chat(), "temprature": 1})[1]["message"]


@needs_weights
def test_a_prompt_that_cannot_fit_says_by_how_much(port, monkeypatch):
    monkeypatch.setattr(LocalEngine, "_encode", lambda *args: pytest.fail("it was computed"))
    status, error = refused(port, chat(" ".join(str(i) for i in range(9_000))))
    assert status == 400 and error["code"] == "context_length_exceeded"
    assert "more than" in error["message"] and "4096" in error["message"]
    monkeypatch.setattr(LocalEngine, "prepare", lambda *args, **kwargs: pytest.fail("it was tokenised"))
    status, error = refused(port, chat("x " * 90_000))
    assert error["code"] == "context_length_exceeded" and "at least" in error["message"]


# ---- malformed bodies ------------------------------------------------------------------------------------------------

_WRONG = [None, True, -1, 0, 1e400, "", "x", [], {}, [None], [[]], {"a": 1}, "\ud800", 10**400, [1, "x"], "\0"]
_BYTES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b'{"a": NaN}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"9" * 5_000,
    b"1",
]


def paths(value, path=()):
    """Yield the path of everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def rich():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = chat("Listen.", [CLIP], temperature=1, top_p=0.9, seed=1, stop=["zz"], n=1, max_tokens=1, stream=True)
    body["messages"] += [
        {"role": "assistant", "content": "yes", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "a"},
        {"role": "user", "content": "Go on."},
    ]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    more = {"stream_options": {"include_usage": True}, "think_budget": 1, "think": True, "logprobs": False}
    return {**body, **more, "tools": [tool]}


def mutated(rng):
    """Return the rich body with one or two of its values made wrong, renamed or removed."""
    body = rich()
    for _ in range(rng.randint(1, 2)):
        path = rng.choice(list(paths(body)))
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        what = rng.randrange(4)
        if what == 0 and isinstance(holder, dict):
            del holder[path[-1]]
        elif what == 1 and isinstance(holder, dict):
            holder[str(path[-1]) + "_"] = holder.pop(path[-1])
        else:
            holder[path[-1]] = copy.deepcopy(rng.choice(_WRONG))
    return body


@needs_weights
@pytest.mark.parametrize("seed", range(4))
def test_mutated_bodies_are_answered_or_refused(port, seed):
    rng = random.Random(seed)
    bad = 0
    for _ in range(15):
        body = mutated(rng)
        status, _, found = ask(port, json.dumps(body).encode())
        if status == 200:  # the change was harmless, such as a null or a missing option
            assert "error" not in str(found)[:20]
            continue
        bad += 1
        refused(port, json.dumps(body).encode())
    assert bad >= 5


@needs_weights
def test_broken_bytes_and_audio_are_refused(port):
    for data in _BYTES:
        refused(port, data)
    cut = [
        WAV[:20],
        WAV[:44],
        b"RIFF",
        b"\0" * 100,
        b"#!/bin/sh\n",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ID3" + b"\xff" * 99,
    ]
    for clip in [base64.b64encode(data).decode() for data in cut] + ["%%%", "QQ", "data:x", "=", "\u00e9"]:
        body = chat(max_tokens=1)
        part = {"type": "input_audio", "input_audio": {"data": clip, "format": "wav"}}
        body["messages"][0]["content"].append(part)
        refused(port, body)
    for part in ({"type": "audio", "audio": "/etc/passwd"}, {"type": "input_audio", "input_audio": "/etc/passwd"}):
        body = chat(max_tokens=1)
        body["messages"][0]["content"].append(part)
        assert "passwd" not in refused(port, body)[1]["message"]
    assert ask(port, b"{}", headers={"Content-Type": "text/plain"})[0] == 415


# ---- what is streamed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_streamed_deltas_make_up_the_message_at_any_cut(size):
    answer = 'It is < a <tool bell. <tool_call>function\nlook\n{"a": 1}</tool_call>'
    reply = Reply(
        "a chain", "It is < a <tool bell.", "tool_call", tool_calls=({"name": "look", "arguments": {"a": 1}},)
    )
    for separate in (True, False):
        deltas = Deltas(read_ask({**chat(), "skip_special_tokens": separate}, Settings(name="tiny")))
        found = []
        for kind, text in (("thinking", "a chain"), ("answer", answer)):
            for start in range(0, len(text), size):
                found += deltas.feed(kind, text[start : start + size])
        found += deltas.finish(reply)
        content = "".join(delta.get("content", "") for delta in found)
        assert content == (reply.answer if separate else f"a chain\n</think>\n{reply.answer}")


def test_settings_are_checked(tmp_path):
    with pytest.raises(ValueError, match="max_clips is 0"):
        Settings(max_clips=0)
    with pytest.raises(ValueError, match="no folder"):
        Settings(allowed_folders=(tmp_path / "none",))
    with pytest.raises(ValueError, match="API key"):
        Settings(api_key="")
