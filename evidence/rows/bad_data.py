"""Contract row: bad data is told in one sentence each and in a summary, and nothing is scored wrongly in silence.

Every file is made here in a benchmark's published format and spoiled in one way. Spoiled items go on to a whole run,
of which the summary must count each: an item without its sound is an error and no guess, an item whose answer is no
choice has no robust verdict.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from earwitness import audio, cli
from earwitness.engines.protocol import Engine
from earwitness.evaluate import runner, tasks
from earwitness.evaluate.run_records import RecordFile
from earwitness.records import Reply

ITEM = {"question": "Who barks?", "choices": ["Dog", "Cat"], "answer": "Dog", "task": "sound", "difficulty": "easy"}
WAV = audio.encode_wav(np.zeros(800, dtype=np.float32))
Item = dict[str, Any]


def run(reduced: bool, folder: pathlib.Path) -> dict[str, Any]:
    """Read every spoiled file, then run one that holds all spoiled items; the reduced form is the same."""
    del reduced
    figures: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    for name, (spoiled, words) in ITEMS.items():
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            code, said = _dry_run(_written(pathlib.Path(fresh), [_item("a"), *spoiled]))
        figures[name] = told = [line for line in said if "is of no known release" not in line]
        holds[name] = code == 0 and len(told) == 1 and words in told[0]
    for name, (text, words) in FILES.items():
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            if text is not None:
                (pathlib.Path(fresh) / "mmau-test-mini.json").write_bytes(text)
            code, figures[name] = _dry_run(pathlib.Path(fresh))
        holds[name] = code == 1 and len(figures[name]) == 1 and words in figures[name][0]
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        found, more = _whole_run(pathlib.Path(fresh))
    return {"figures": figures | found, "holds": holds | more}


def _item(name: str, **changed: Any) -> Item:
    return {**ITEM, "id": name, "audio_id": f"./test-mini-audios/{name}.wav", **changed}


ITEMS: dict[str, tuple[list[Item], str]] = {
    "missing audio": ([_item("b", audio_id="./gone.wav")], "item b: the audio './gone.wav' is missing; put it under"),
    "no audio named": ([_item("c", audio_id=None)], "item c names no audio; add the path of its clip"),
    "duplicated id": ([_item("a")], "the id a stands twice; both items are scored"),
    "answer that is no choice": ([_item("d", answer="Horse")], "item d: the answer 'Horse' is none of its choices"),
    "no answer": ([_item("e", answer="")], "item e has no answer; it is not scored"),
}
"""What is wrong with an item -> the items, and a part of the sentence."""

FILES: dict[str, tuple[bytes | None, str]] = {
    "no file": (None, "is missing; give the file or the folder"),
    "no JSON": (b'[{"id": "a"', "no JSON"),
    "no UTF-8": ('["caf\xe9"]'.encode("latin-1"), "is not UTF-8 text"),
    "no objects": (b"[1, 2]", "not a JSON object; each item must be one"),
    "another benchmark": (b'[{"id": "a", "audio": "a.wav"}]', "the field 'question' is missing"),
    "choices that are no list": (
        json.dumps([_item("a", choices="Dog, Cat")]).encode(),
        "the field 'choices' is no list of texts",
    ),
    "no items": (b"[]", "holds no items; give the file that its publishers gave out"),
}
"""What is wrong with a file -> its bytes, and a part of the sentence."""


def _written(folder: pathlib.Path, items: list[Item]) -> pathlib.Path:
    (folder / "test-mini-audios").mkdir(exist_ok=True)
    for item in items:
        (folder / "test-mini-audios" / f"{item['id']}.wav").write_bytes(WAV)
    (folder / "mmau-test-mini.json").write_text(json.dumps(items))
    return folder


def _dry_run(data: pathlib.Path) -> tuple[int, list[str]]:
    """Return the code of ``earwitness eval --dry-run`` and what it said on stderr, with DATA for the folder."""
    code, said = _command(["eval", "--task", "mmau", "--data", str(data), "--dry-run"])
    return code, _plain(said, data)


def _command(arguments: list[str]) -> tuple[int, list[str]]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(arguments)
    return code, said.getvalue().splitlines()


def _plain(lines: Sequence[str], folder: pathlib.Path) -> list[str]:
    return [line.replace(str(folder), "DATA") for line in lines]


class Barks(Engine):
    """Says that it is the dog."""

    name = "barks"

    def generate(self, requests: Any, sampling: Any = None, on_event: Any = None) -> Iterator[Reply]:
        """Yield the same answer to each."""
        for _ in requests:
            yield Reply("It barks.", "Dog")


def _whole_run(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """Run an engine on good and spoiled items together, then change the data behind its back."""
    spoiled = [item for items, _ in ITEMS.values() for item in items]
    items = [_item("a"), *spoiled, _item("silent")]
    place = _written(folder, items)
    (folder / "test-mini-audios" / "silent.wav").write_bytes(b"RIFF no sound")
    task = tasks.get("mmau")

    def asked() -> dict[str, Any]:
        return runner.run_task(task, task.load(place), Barks(), runner.Settings(), folder / "run")

    summary = asked()
    rows = list(RecordFile(folder / "run").rows())
    decided = {name: count for name, count in summary["counts"].items() if count}
    (folder / "mmau-test-mini.json").write_text(json.dumps(items[:-1]))
    try:
        asked()
        changed = ""
    except ValueError as error:
        changed = str(error)
    scored, again = _command(["score", str(folder / "run"), "--task", "mmau", "--data", str(place)])
    figures = {
        "summary": {"n": summary["n"], "counts": decided, "problems": _plain(summary["problems"], folder)},
        "changed data": _plain([changed, *again], folder),
    }
    by_rule = {row["item"]: row["rule"] for row in rows}
    holds = {
        "every item has a record": len(rows) == len(items) == summary["n"],
        # Two clips are not there, one file holds no sound; nothing was asked without its sound.
        "no guess without sound": decided["error"] == 3 and all(by_rule[i] == "error" for i in (1, 2, len(items) - 1)),
        "an answer that is no choice is not scored": decided["bad_item"] == 2,
        "the summary repeats every problem": len(summary["problems"]) == len(ITEMS) + 1,
        "unknown version": "is of no known release" in " ".join(summary["problems"])
        and summary["version"] == "unknown",
        "changed data": "holds a run with sha256" in changed and "\n" not in changed,
        "changed data, scored": scored == 1 and "is a run with sha256" in again[-1],
    }
    return figures, holds
