"""A table of answers that survives interruption: JSON lines or CSV, whole rows only, continued where it ended."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import sys
from typing import Any

from earwitness.records import append_line

FIELDS = (
    "id",
    "audio",
    "question",
    "expected",
    "thinking",
    "answer",
    "status",
    "thinking_tokens",
    "answer_tokens",
    "audio_seconds",
    "audio_tokens",
    "seconds",
)


class AnswerFile:
    """Rows of answers, appended one whole row at a time to ``path``, or to stdout as JSON lines.

    An existing file is continued: ``answered`` holds its ids, and a last row that was cut off is dropped.
    """

    def __init__(self, path: str | os.PathLike | None) -> None:
        """Open the table; raises ``ValueError`` when the file holds something else."""
        self._path = pathlib.Path(path) if path is not None else None
        self._is_csv = self._path is not None and self._path.suffix == ".csv"
        self.answered: frozenset[str] = frozenset()
        if self._path is None:
            return
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"the folder of {self._path} does not exist; make it first")
        text = self._path.read_bytes().decode("utf-8", errors="replace") if self._path.exists() else ""
        rows, is_whole = (_read_csv if self._is_csv else _read_jsonl)(text, self._path)
        self.answered = frozenset(identity for identity, _ in rows)
        if not is_whole or (self._is_csv and not text):
            head = _csv_line(FIELDS) if self._is_csv else ""
            self._replace(head + "".join(line for _, line in rows))

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; the line is written at once, so that a reader sees all of it or nothing."""
        if self._is_csv:
            line = _csv_line([row.get(name, "") for name in FIELDS])
        else:
            line = json.dumps({k: row[k] for k in FIELDS if k in row}, ensure_ascii=False) + "\n"
        if self._path is None:
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        append_line(self._path, line)

    def _replace(self, text: str) -> None:
        assert self._path is not None
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_bytes(text.encode("utf-8"))
        os.replace(partial, self._path)


def _csv_line(values: Any) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def _read_csv(text: str, path: pathlib.Path) -> tuple[list[tuple[str, str]], bool]:
    """Return ((id, line) of every whole row, whether the file has nothing else)."""
    head = _csv_line(FIELDS)
    if len(text) < len(head) and head.startswith(text):
        return [], not text
    if not text.startswith(head):
        raise ValueError(f"{path} is not a table of answers written by this command; give another --out file")
    csv.field_size_limit(2**31 - 1)  # a chain may be long
    rows = list(csv.reader(io.StringIO(text[len(head) :])))
    whole = [row for row in rows if len(row) == len(FIELDS)]
    # A row cut inside its last field has all its fields, but no line end.
    if whole and not text.endswith("\n") and whole[-1] is rows[-1]:
        whole.pop()
    return [(row[0], _csv_line(row)) for row in whole], len(whole) == len(rows)


def _read_jsonl(text: str, path: pathlib.Path) -> tuple[list[tuple[str, str]], bool]:
    """Return ((id, line) of every whole row, whether the file has nothing else)."""
    rows = []
    *lines, rest = text.split("\n")
    for number, line in enumerate(lines, 1):
        try:
            rows.append((str(json.loads(line)["id"]), f"{line}\n"))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {number} is not an answer written by this command; give another --out file"
            ) from error
    return rows, not rest
