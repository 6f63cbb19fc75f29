"""Evaluation under load: a server that misbehaves in every way, and what the runner costs beside generation.

    python bench/evaluate.py                                   both, in full; writes bench/results/evaluate.json
    python bench/evaluate.py --items 300 --questions 32        a quick look

The client runs in a process of its own, so that its memory is its own. The evidence rows ``accounting`` and
``throughput`` measure with this file.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from earwitness.engines.protocol import Engine, Request, Sampling
from earwitness.evaluate.run_records import RecordFile
from earwitness.evaluate.runner import Settings, run_task
from earwitness.evaluate.task import Dataset, Task
from earwitness.records import Reply, Sample

RESULTS = pathlib.Path(__file__).parent / "results" / "evaluate.json"
CHOICES = ("one knock", "two knocks", "three knocks", "four knocks")
STALL_SECONDS = 1.0
GARBAGE = (
    "<html>busy</html>",
    '{"choices": [',
    '{"choices": "none"}',
    '{"choices": [{"message": "yes"}]}',
    '{"choices": [{"message": {"content": ["B"]}}]}',
    '{"choices": [{"message": {"content": "\\ud800 \\u0000 B"}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": "' + "B or C " * 15_000 + '"}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}',
    '{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}',
    '{"error": {"message": "' + "out of memory " * 400 + '"}}',
    "[]",
    "",
)


class Listed(Task):
    """Items that are given, not loaded; both scorers are the robust one."""

    id = "listed"

    def load(self, data: pathlib.Path) -> Dataset:
        """Refuse; the items are made here."""
        raise ValueError("the items of this task are not loaded")

    def official(self, sample: Sample, output: str | None) -> bool:
        """Return what the robust scorer says."""
        return bool(output) and self.robust(sample, output or "").right


# -- a server that misbehaves ------------------------------------------------------------------------------------------


def knocks(items: int, clip: pathlib.Path) -> Dataset:
    """Return made-up items about one short clip, which is written where it is missing."""
    if not clip.exists():
        import numpy as np

        from earwitness import audio

        clip.write_bytes(audio.encode_wav(np.zeros(800, dtype=np.float32)))
    samples = [
        Sample(
            id=f"item {i}",
            audio=(str(clip),),
            question=f"Item {i}: how many knocks?",
            choices=CHOICES,
            answer=CHOICES[_draw(i, "answer") % 4],
            answer_type="choice",
        )
        for i in range(items)
    ]
    return Dataset(tuple(samples), "made up", hashlib.sha256(str(items).encode()).hexdigest())


def fault(item: int) -> str:
    """Return how the server treats an item: 5 % fail, 1 % stall, 3 % meet a rate limit, 5 % get garbage.

    Half of those that fail or stall do it at every try, the others once.
    """
    share = _draw(item, "fault") % 10_000 / 10_000
    often = "always" if _draw(item, "often") % 2 else "once"
    if share < 0.05:
        return f"fail {often}"
    if share < 0.06:
        return f"stall {often}"
    if share < 0.09:
        return "rate limit"
    return "garbage" if share < 0.14 else ""


def _draw(item: int, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{what} {item}".encode()).digest()[:8], "big")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers an OpenAI chat completion about item N, or does to it what ``fault`` says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """List one model."""
        self._send(200, '{"data": [{"id": "fake", "owned_by": "nobody"}]}')

    def do_POST(self) -> None:
        """Answer or misbehave."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        words = json.loads(body)["messages"][-1]["content"][0]["text"].split()
        item = int(words[1].rstrip(":"))
        with self.server.lock:
            self.server.asked[item] += 1
            first = self.server.asked[item] == 1
        kind = fault(item) if self.server.misbehaves else ""
        if kind.startswith("stall") and (first or kind == "stall always"):
            time.sleep(2 * STALL_SECONDS)
            self.close_connection = True
        elif kind.startswith("fail") and (first or kind == "fail always"):
            if item % 2:
                self.close_connection = True  # says nothing and hangs up
            else:
                self._send(500, '{"error": {"message": "internal error"}}')
        elif kind == "rate limit" and first:
            self._send(429, '{"error": {"message": "slow down"}}')
        elif kind == "garbage":
            self._send(200, GARBAGE[_draw(item, "garbage") % len(GARBAGE)])
        else:
            letter = "ABCD"[_draw(item, "said") % 4]
            message = {"content": f"The answer is {letter}.", "reasoning_content": f"I hear item {item}. " * 8}
            usage = {"completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 54}}
            self._send(200, json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}))

    def _send(self, status: int, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client gave up


class Server(http.server.ThreadingHTTPServer):
    """The server, in a thread of its own; ``with Server(...) as server`` runs it at ``server.url``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, misbehaves: bool = True):
        """Listen on a free port of this machine."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.misbehaves, self.lock = misbehaves, threading.Lock()
        self.asked: Counter[int] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up."""

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def client_command(url: str, items: int, folder: pathlib.Path, tries: int = 3) -> list[str]:
    """Return the command that asks a server all items and prints memory and time as JSON."""
    options = ["--client", url, "--items", str(items), "--folder", str(folder), "--tries", str(tries)]
    return [sys.executable, str(pathlib.Path(__file__).resolve()), *options]


def run_client(url: str, items: int, folder: pathlib.Path, tries: int) -> dict[str, Any]:
    """Ask a server all items; return the seconds and the peak of this process's memory."""
    from earwitness.engines.endpoint import EndpointEngine

    engine = EndpointEngine(url, timeout_seconds=STALL_SECONDS)
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    settings = Settings(Sampling(max_new_tokens=256), concurrency=16, tries=tries)
    run_task(Listed(), knocks(items, folder / "clip.wav"), engine, settings, folder / "run")
    return {"seconds": time.perf_counter() - begun, "peak_gib": _peak_gib()}


def _peak_gib() -> float:
    """Return the most memory that this process had; on Linux ``getrusage`` would count its parent's as well."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / (1 << 20)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 30)


def unreliable_server(items: int, folder: pathlib.Path, tries: int = 3) -> dict[str, Any]:
    """Return figures of a run of ``items`` against the server that misbehaves."""
    with Server() as server:
        done = subprocess.run(
            client_command(server.url, items, folder, tries), capture_output=True, text=True, check=True
        )
    figures = json.loads(done.stdout)
    rows = {row["item"]: row for row in RecordFile(folder / "run").rows()}
    lines = (folder / "run" / "records.jsonl").read_bytes().splitlines(keepends=True)
    lost = [i for i in range(items) if fault(i) in ("fail always", "stall always")]
    summary = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
    return {
        "items": items,
        "records": len(lines),
        "accounted_for": sorted(rows) == list(range(items)),
        "longest_record_bytes": max(map(len, lines)),
        "errors": summary["counts"]["error"],
        "counts": summary["counts"],
        "faults": dict(Counter(fault(i) or "none" for i in range(items))),
        "right_errors": all(rows[i]["status"] == "error" for i in lost)
        and all(rows[i]["status"] != "error" for i in range(items) if i not in set(lost) and fault(i) != "garbage"),
        **figures,
    }


# -- speed -------------------------------------------------------------------------------------------------------------


class Instant(Engine):
    """Replies at once, so that what remains is the runner."""

    name = "instant"

    def generate(self, requests: Any, sampling: Any = None, on_event: Any = None) -> Iterator[Reply]:
        """Yield an answer for each request."""
        for _ in requests:
            yield Reply("I hear it. " * 30, "The answer is A.")


def world(count: int) -> Dataset:
    """Return SoundWorld items, their sounds as addresses."""
    from earwitness import soundworld

    samples = [soundworld.sample(("music", "sound")[i % 2], "test", i // 2) for i in range(count)]
    return Dataset(tuple(samples), "test", "")


def throughput(questions: int, single: int, folder: pathlib.Path) -> dict[str, Any]:
    """Return items per second through the runner and one at a time, and the runner's share of the time.

    Args:
        questions: items of the run.
        single: items that are also asked one by one.
        folder: where the runs are written.

    The same sounds are made in both, so the share is the cost of everything else that the runner does: measured with
    an engine that answers at once, over the time of the real run.
    """
    from earwitness import prompt, soundworld
    from earwitness.engines import load

    data, engine, sampling = world(questions), load(), Sampling(max_new_tokens=320)
    waves = {sample.audio[0]: soundworld.waveform(sample) for sample in data.samples}

    def messages(sample: Sample) -> list[prompt.Message]:
        return [prompt.user_message(prompt.question_text(sample.question, sample.choices), [waves[sample.audio[0]]])]

    def timed(asked: Engine, name: str) -> float:
        begun = time.perf_counter()
        run_task(Listed(), data, asked, Settings(sampling), folder / name, messages)
        return time.perf_counter() - begun

    begun = time.perf_counter()
    for sample in data.samples[:single]:
        list(engine.generate([Request(messages(sample))], sampling))
    alone = (time.perf_counter() - begun) / len(data.samples[:single])
    real, instant = timed(engine, "real"), timed(Instant(), "instant")
    return {
        "questions": questions,
        "items_per_second": questions / real,
        "one_at_a_time": 1 / alone,
        "ratio": alone * questions / real,
        "runner_ms_per_item": 1000 * instant / questions,
        "runner_share": instant / real,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000, help="asked of the server that misbehaves")
    parser.add_argument("--questions", type=int, default=256, help="SoundWorld items of the speed measurement; 0: none")
    parser.add_argument("--single", type=int, default=16, help="of which are also asked one at a time")
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--client", metavar="URL", help="only ask this server, and print figures")
    parser.add_argument("--folder", type=pathlib.Path, help="with --client: where the run is written")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.client:
        print(json.dumps(run_client(args.client, args.items, args.folder, args.tries)))
        return
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as fresh:
        folder = pathlib.Path(fresh)
        report["server"] = unreliable_server(args.items, folder / "server", args.tries)
        print(json.dumps(report["server"], indent=1), flush=True)
        if args.questions:
            report["speed"] = throughput(args.questions, args.single, folder / "speed")
            print(json.dumps(report["speed"], indent=1), flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
