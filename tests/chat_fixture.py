"""A small OpenAI-compatible server over a local engine, and servers that misbehave; real HTTP on loopback."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
import time
import wave

import numpy as np

from earwitness import prompt
from earwitness.engines import Request, Sampling


def decode_wav(clip: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(clip)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32767


class Handler(http.server.BaseHTTPRequestHandler):
    """``server.engine`` answers; ``server.mode`` misbehaves; ``server.seen`` keeps the requests."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.reply_json({"data": [{"id": "tiny", "owned_by": self.server.owner}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, dict(self.headers)))
        mode = self.server.mode
        if mode == "html":
            return self.send_text(200, "<html>hello</html>", "text/html")
        if mode == "refuse":
            return self.reply_json({"error": {"message": "'max_tokens' is too large"}}, 400)
        if mode == "unauthorised":
            return self.send_text(401, "no", "text/plain")
        if mode == "slow":
            return time.sleep(1.5)
        if mode == "whole":
            message = {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
            return self.reply_json({"choices": [{"message": message, "finish_reason": "stop"}]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if mode == "reasoning":
            for delta in ({"reasoning_content": "h"}, {"reasoning": "m"}, {"content": "yes"}):
                self.event({"choices": [{"delta": delta}]})
            details = {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
            self.event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            self.event({"choices": [], "usage": details})
        elif mode == "tool":
            for f in ({"name": "look", "arguments": '{"a'}, {"arguments": 't": 1}'}):
                self.event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": f}]}}]})
        elif mode == "error":
            self.event({"error": {"message": "out of memory"}})
        elif mode == "garbage":
            self.wfile.write(b"data: {nonsense\n\n")
        elif mode == "silent":
            pass
        else:
            self.answer(body)
        self.wfile.write(b"data: [DONE]\n\n")

    def answer(self, body):
        for message in body["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "input_audio":
                    part.update(type="audio", audio=decode_wav(prompt.clips([{"content": [part]}])[0]))
        sampling = Sampling(
            temperature=body["temperature"],
            top_p=body.get("top_p", 1.0),
            max_new_tokens=body["max_tokens"],
            seed=body["seed"],
            stop=tuple(s for s in body.get("stop", ()) if s != prompt.EOT),
        )
        request = Request(body["messages"], think=None, seed=body["seed"])

        def on_event(event):
            try:
                self.event({"choices": [{"delta": {"content": event.text}}]})
            except OSError:
                request.cancel()

        sent = []
        reply = next(self.server.engine.generate([request], sampling, sent.append if self.server.raw else on_event))
        if self.server.raw:  # text with its tags, as vLLM sends it without a reasoning parser
            ids = [i for i in reply.token_ids if i not in self.server.engine.markers.stops]
            text = self.server.engine.tokenizer.decode(ids, skip_special_tokens=False)
            for stop in sampling.stop:
                text = text.split(stop)[0]
            for start in range(0, len(text), 7):
                self.event({"choices": [{"delta": {"content": text[start : start + 7]}}]})
        finish = "length" if len(reply.token_ids) >= body["max_tokens"] else "stop"
        self.event({"choices": [{"delta": {}, "finish_reason": finish}]})
        self.event({"choices": [], "usage": {"completion_tokens": len(reply.token_ids)}})

    def event(self, payload):
        self.wfile.write(f"data: {json.dumps(payload)}\n\n".encode())
        self.wfile.flush()

    def reply_json(self, payload, status=200):
        self.send_text(status, json.dumps(payload), "application/json")

    def send_text(self, status, text, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that hang up are part of the tests


@contextlib.contextmanager
def serving(engine=None, mode="answer", owner="vllm"):
    server = Server(("127.0.0.1", 0), Handler)
    server.engine, server.mode, server.owner, server.seen, server.raw = engine, mode, owner, [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        server.server_close()
