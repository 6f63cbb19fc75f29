"""Code answers: the program is run against the sample's tests in a process with limits.

This keeps mistakes in check (loops, floods of memory, files and processes), and on Linux, where the kernel allows
it, the program has no network and no view of other processes. **It is not a sandbox**: the program can read what
the user can read, and, as root, write it. Train on code from models you do not trust in a container, as a user
without rights. A program could also look for the mark that says "all tests passed" in its own process; one that
merely exits early, with whatever status, does not pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from earwitness.records import Sample
from earwitness.rewards.extraction import after_chain
from earwitness.rewards.verdict import Verdict

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_MAX_CODE_CHARACTERS = 100_000

# Runs first in the child: takes rights and resources away, then runs the program, then the tests one by one. The mark
# comes by a socket of its own and goes back after the last test. The namespaces come before the limits, which would
# count the fork.
_BOOTSTRAP = """
import json, os, sys
def limit(wanted):
    import ctypes, resource
    if sys.platform == "linux":
        libc, pid = ctypes.CDLL(None), 0
        if libc.unshare(0x10000000 | 0x40000000 | 0x20000000) == 0:  # new user, network and process namespaces
            pid = os.fork()
        if pid:
            status = os.waitpid(pid, 0)[1]
            os._exit(os.waitstatus_to_exitcode(status) & 255)
        libc.prctl(38, 1, 0, 0, 0)  # no new rights through programs that it starts
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            try:
                resource.setrlimit(kind, (value, value))
            except (ValueError, OSError):
                pass
def main():
    job = json.loads(sys.stdin.buffer.readline())
    mark = os.read(job["pipe"], 64)  # not on standard input, which the program may rewind
    limit(job["limits"])
    space = {"__name__": "__main__"}
    try:
        exec(compile(job["code"], "answer.py", "exec"), space)
    except SystemExit as error:
        if job["tests"] or error.code not in (None, 0):
            raise
    for number, test in enumerate(job["tests"], 1):
        try:
            exec(compile(test, "test.py", "exec"), space)
        except BaseException as error:
            os.write(job["pipe"], f"failed {number}".encode())
            raise
    sys.stdout.flush()
    os.write(job["pipe"], mark)
main()
"""


@dataclass(frozen=True)
class CodeLimits:
    """What a program may use in one run. All values are ours."""

    wall_seconds: float = 10.0
    """For all tests of a sample together."""
    cpu_seconds: int = 8
    memory_bytes: int = 512 * 2**20
    file_bytes: int = 2**20
    """Of any one file that it writes, its output included."""
    processes: int = 1
    """It and its threads and children. Not enforced where it runs as root without namespaces."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"CodeLimits.{name} is {value}; give a number above 0")


def verify_code(sample: Sample, answer: str, limits: CodeLimits | None = None) -> Verdict:
    """Whether the Python program in the answer passes every test of ``sample.tests``.

    The program is the last fenced block marked ``python`` or ``py``, else the last block without a mark, else the
    whole answer where it compiles. A test is Python that runs after the program in its namespace and raises when it
    fails (``assert f(2) == 4``), or a JSON object ``{"input": ..., "output": ...}``: then the program is run with this
    text as standard input, and its output must be equal but for spaces at line ends and blank lines at the end.

    The process is ``python -I -S``: the standard library alone, no environment, an empty folder of its own. Rules:
    ``tests_passed``; wrong are ``tests_failed``, ``code_error`` (it raised, exited early or exceeded a limit),
    ``timeout`` and ``no_code``.

    Raises:
        ValueError: the sample has no tests.
        OSError: the system has no resource limits (Windows).
    """
    if not sample.tests:
        raise ValueError(f"sample {sample.id} has answer_type 'code' but no tests; add them")
    if os.name != "posix":
        raise OSError("code answers are run with resource limits, which this system lacks; use Linux or macOS")
    limits = limits or CodeLimits()
    code = _program(answer)
    if code is None:
        return Verdict(False, "no_code")
    deadline = time.monotonic() + limits.wall_seconds
    dialogues = [(test, pair) for test in sample.tests if (pair := _dialogue(test))]
    asserts = [test for test in sample.tests if not _dialogue(test)]
    if asserts:
        rule, _ = _run(code, asserts, "", limits, deadline)
        if rule != "tests_passed":
            return Verdict(False, rule, code)
    for _, (given, wanted) in dialogues:
        rule, output = _run(code, [], given, limits, deadline)
        if rule == "tests_passed" and _lines(output) != _lines(wanted):
            rule = "tests_failed"
        if rule != "tests_passed":
            return Verdict(False, rule, code)
    return Verdict(True, "tests_passed", code)


def _program(answer: str) -> str | None:
    text = after_chain(answer)
    if text is None:
        return None
    blocks = [(language.lower(), body) for language, body in _FENCE.findall(text)]
    marked = [body for language, body in blocks if language in ("python", "py", "python3")]
    unmarked = [body for language, body in blocks if not language]
    code = (marked or unmarked or [text])[-1]
    if not code.strip() or len(code) > _MAX_CODE_CHARACTERS:
        return None
    if not blocks:
        try:
            compile(code, "answer.py", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return code if marked or unmarked or not blocks else None


def _dialogue(test: str) -> tuple[str, str] | None:
    """Return (input, output) of a JSON test; None for a test in Python."""
    try:
        fields = json.loads(test)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not {"input", "output"} <= set(fields):
        return None
    return str(fields["input"]), str(fields["output"])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _run(code: str, tests: list[str], given: str, limits: CodeLimits, deadline: float) -> tuple[str, str]:
    """Run the program and tests once; return (rule, what it printed)."""
    mark = secrets.token_bytes(16)
    ours, theirs = socket.socketpair()
    job = {"code": code, "tests": tests, "pipe": theirs.fileno(), "limits": _resource_limits(limits)}
    with (
        ours,
        theirs,
        tempfile.TemporaryDirectory(prefix="earwitness-code-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as out,
    ):
        source.write(json.dumps(job).encode() + b"\n" + given.encode("utf-8", "replace"))
        source.seek(0)
        ours.sendall(mark)
        finished = _wait(_start(folder, source, out, theirs.fileno()), deadline)
        out.seek(0)
        printed = out.read(limits.file_bytes).decode("utf-8", "replace")
        report = b""
        ours.setblocking(False)  # a process that got away may still hold the other end
        with contextlib.suppress(BlockingIOError, ConnectionError):
            report = ours.recv(4096)
    if not finished:
        return "timeout", printed
    if report == mark:
        return "tests_passed", printed
    return ("tests_failed" if report.startswith(b"failed") else "code_error"), printed


def _start(folder: str, source: Any, out: Any, pipe: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", _BOOTSTRAP],
        stdin=source,
        stdout=out,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
        pass_fds=(pipe,),
        start_new_session=True,  # a group of its own, so that what it started ends with it
    )


def _wait(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the program, then end its whole group; return whether it came to its end in time."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
        finished = True
    except subprocess.TimeoutExpired:
        finished = False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return finished


def _resource_limits(limits: CodeLimits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_CORE": 0,
    }
