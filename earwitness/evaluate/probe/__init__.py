"""Does a model listen? The same questions under conditions that take the sound away, change it, or leave it be.

Works on any engine and any task, black box; what a condition needs (a transcript, facts, a chain) decides which items
are asked under it. Every condition is a run of its own in the probe's folder, so an interrupted probe goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from earwitness import soundworld
from earwitness.engines.protocol import Engine
from earwitness.evaluate import runner
from earwitness.evaluate.probe import chains, measures
from earwitness.evaluate.probe.conditions import AWAY, CONDITIONS, HARMLESS, PARTLY, TOLD, Conditions
from earwitness.evaluate.probe.edits import EDITS, edited
from earwitness.evaluate.run_records import RecordFile, Row
from earwitness.evaluate.runner import Settings
from earwitness.evaluate.task import Dataset, Task
from earwitness.prompt import Message
from earwitness.records import Sample, append_line

__all__ = ["AWAY", "CONDITIONS", "EDITS", "HARMLESS", "PARTLY", "TOLD", "probe"]

LEAST = 10
"""A condition is asked where it applies to so many items."""
DECIDING = ("real", "silence", "other", "transcript")
"""The conditions that the verdict rests on ask all items."""
SOME = 150
"""What no verdict rests on (but for edits) asks only so many items of each domain, the first ones: a share of 150 is
known within 8 points."""


def probe(
    task: Task,
    data: Dataset,
    engine: Engine,
    settings: Settings,
    folder: pathlib.Path,
    think_tests: bool = True,
    on_condition: Callable[[str, int], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> dict[str, Any]:
    """Ask the items under every condition that applies and return the measures, also in ``probe.json``.

    Args:
        task: decides what is asked and what is right.
        data: what ``task.load`` returned.
        engine: any; the tests of chains need one that continues an assistant's turn.
        settings: as for a run; every item is asked once.
        folder: of this probe alone.
        think_tests: ask up to ``SOME`` of each domain again with the chains cut short, replaced and corrupted.
        on_condition: called with the name of a condition and its number of items before it is asked.
        on_row: called with every new record, for progress.

    Raises:
        ValueError: the folder holds a probe with other settings or data.
        OSError: twenty items in a row failed, or all; what was answered is kept. Where only the tests of chains fail
            so, they are left out, which the report says under ``chain_tests``.
    """
    samples = runner.distinct(runner.items(data, settings))  # the answers of conditions are paired by id
    asked = _Asked(task, data, engine, dataclasses.replace(settings, limit=None, shuffle=None, repeats=1), folder)
    asked.on_condition, asked.on_row = on_condition, on_row
    conditions = Conditions(task, samples, settings.prompt)
    some = _first(samples, SOME)
    for name in CONDITIONS:
        of = [s for s in (samples if name in DECIDING else some) if conditions.applies(name, s)]
        asked.ask(name, of, lambda sample, name=name: conditions.messages(name, sample))  # type: ignore[misc]
    for name in EDITS:
        changed = [new for s in samples if (new := edited(s, name)) is not None]
        asked.ask(name, changed, lambda sample: _of_wave(task, sample, settings.prompt))
    claims = _read_claims(asked, conditions, some, folder) if settings.think else {}
    report: dict[str, Any] = {"task": task.id, "model": engine.name, "items": len(samples)}
    if think_tests and claims:
        try:
            _ask_chains(asked, conditions, samples, claims)
        except OSError as error:  # such as a server that continues no assistant's turn
            report["chain_tests"] = f"left out: {error}"
    report |= {"errors": asked.errors, "groups": _groups(asked, samples, claims)}
    partial = folder / "probe.partial"
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, folder / "probe.json")
    return report


class _Asked:
    """The conditions that were asked, each a run in a folder of its name."""

    on_condition: Callable[[str, int], None] | None = None
    on_row: Callable[[Row], None] | None = None

    def __init__(self, task: Task, data: Dataset, engine: Engine, settings: Settings, folder: pathlib.Path) -> None:
        self._task, self._data, self._engine = task, data, engine
        self._settings, self._folder = settings, folder
        self.rows: dict[str, dict[str, Row]] = {}
        """Condition -> id -> record. An item that ended in an error is in ``errors`` alone: it is no wrong answer."""
        self.errors: dict[str, int] = {}

    def ask(
        self, name: str, samples: Sequence[Sample], messages: Callable[[Sample], Sequence[Message]], think: Any = ...
    ) -> None:
        """Ask items under a condition, unless they are too few."""
        if len(samples) < LEAST and name != "real":
            return
        if self.on_condition is not None:
            self.on_condition(name, len(samples))
        # The items of a condition depend on all others that were asked for; another choice is another run.
        chosen = hashlib.sha256("\n".join(s.id for s in samples).encode()).hexdigest()
        data = Dataset(tuple(samples), self._data.version, f"{self._data.sha256} {chosen[:16]}")
        settings = self._settings if think is ... else dataclasses.replace(self._settings, think=think)
        place = self._folder / name
        runner.run_task(self._task, data, self._engine, settings, place, messages, self.on_row)
        rows = {row["id"]: row for row in RecordFile(place).rows()}
        found = {name: row for name, row in rows.items() if row["status"] != "error"}
        if len(found) < len(rows):
            self.errors[name] = len(rows) - len(found)
        if found:
            self.rows[name] = found
        elif name == "real":
            raise OSError(f"no item was answered, the first because {next(iter(rows.values()))['error']}; mend that")


def _of_wave(task: Task, sample: Sample, prompt: str) -> list[Message]:
    """Return the conversation of a sample whose facts were changed, with the sound that they make."""
    heard: Any = (soundworld.waveform(sample),)
    return task.messages(dataclasses.replace(sample, audio=heard), prompt)


def _first(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return the first items of each domain."""
    met: Counter[str] = Counter()
    kept = []
    for sample in samples:
        met[sample.domain] += 1
        if met[sample.domain] <= count:
            kept.append(sample)
    return kept


def _read_claims(
    asked: _Asked, conditions: Conditions, samples: Sequence[Sample], folder: pathlib.Path
) -> dict[str, dict[str, Any]]:
    """Return the claims of every chain about one clip, and the chain with its last true claim corrupted."""
    path = folder / "claims.jsonl"
    found = {row["id"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())} if path.exists() else {}
    for sample in samples:
        row = asked.rows["real"].get(sample.id)
        if row is None or not row["thinking"] or len(sample.audio) != 1 or sample.id in found:
            continue
        found[sample.id] = {"id": sample.id, **chains.read(row["thinking"], conditions.clip(sample.audio[0]))}
        append_line(path, json.dumps(found[sample.id], ensure_ascii=False) + "\n")
    return found


def _ask_chains(
    asked: _Asked, conditions: Conditions, samples: Sequence[Sample], claims: dict[str, dict[str, Any]]
) -> None:
    real = asked.rows["real"]
    whole = [s for s in samples if s.id in claims and real[s.id]["status"] == "complete"]
    for name in chains.CHAINS:
        of = [s for s in whole if name != "corrupted" or claims[s.id]["corrupted"]]

        def messages(sample: Sample, name: str = name) -> Sequence[Message]:
            begun = claims[sample.id]["corrupted"] if name == "corrupted" else real[sample.id]["thinking"]
            return chains.messages(name, conditions.messages("real", sample), begun)

        asked.ask(name, of, messages, think=name == "corrupted")


def _groups(asked: _Asked, samples: Sequence[Sample], claims: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the measures of all items, and of every domain where there are several."""
    samples = [sample for sample in samples if sample.id in asked.rows["real"]]
    by_domain: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_domain[sample.domain or "all"].append(sample)
    several = {"all": list(samples)} if len(by_domain) > 1 else {}
    return {name: dict(_measured(asked, of, claims)) for name, of in {**several, **by_domain}.items()}


def _measured(asked: _Asked, samples: Sequence[Sample], claims: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield from measures.measure(asked.rows, samples).items()
    counts = [claims[s.id] for s in samples if s.id in claims]
    if counts:
        yield "claims", measures.claim_rates(counts)
