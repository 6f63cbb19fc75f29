"""The records of a run: one JSON line an item and repeat, below 2 kB, that survives an interruption.

``records.jsonl`` holds ``item`` (its place in the data) and ``repeat``, the id, ``output`` (the text that the scorers
read), ``thinking`` (the chain), ``status`` (how it ended: one of ``records.STATUSES``, or ``error`` with the sentence
under ``error``), tokens and seconds, and, once the run is complete, ``official``, ``robust``, ``rule`` and ``answer``
(what the robust scorer took as the answer). Texts that would make a line too long stand in ``long.jsonl``: then
``output`` and ``thinking`` are null and ``long`` is the position of their line there. ``RecordFile`` puts them back.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from earwitness.records import append_line

RECORD_BYTES = 2000
"""Most bytes of a line of ``records.jsonl``, its end included."""

Key = tuple[int, int]
"""(item, repeat)."""
Row = dict[str, Any]

_BLOCK = 1 << 16


class RecordFile:
    """The two files of one task in a run folder; the last row of a key is the one that counts."""

    def __init__(self, folder: pathlib.Path):
        """Open or begin them; a last line that was cut off is dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._long = folder / "records.jsonl", folder / "long.jsonl"
        for path in (self.path, self._long):
            if path.exists():
                drop_torn_line(path)

    def append(self, row: Row) -> None:
        """Add a row; all of it is written, or nothing."""
        append_line(self.path, self._line(row))

    def rows(self, wanted: Mapping[Key, Any] | None = None) -> Iterator[Row]:
        """Yield the rows, of ``wanted`` only or all, by item and repeat, with their whole texts.

        Raises:
            ValueError: a line that is no record, with the file and the line.
        """
        if not self.path.exists():
            return
        places = self._places()
        long = open(self._long, "rb") if self._long.exists() else None  # noqa: SIM115 - closed below
        try:
            with open(self.path, "rb") as file:
                for key in sorted(places if wanted is None else places.keys() & wanted.keys()):
                    file.seek(places[key])
                    row = json.loads(file.readline())
                    yield row | self._texts(row, long) if "long" in row else row
        finally:
            if long is not None:
                long.close()

    def answered(self) -> set[Key]:
        """Return the keys that have a reply; those of which the last attempt failed have none."""
        found: dict[Key, bool] = {}
        for _, row in self._lines():
            found[row["item"], row["repeat"]] = row["status"] != "error"
        return {key for key, has_reply in found.items() if has_reply}

    def replace(self, rows: Iterable[Row]) -> None:
        """Put these rows, read by ``rows`` and completed, in the place of the file, at once."""
        partial = self.path.with_suffix(".partial")
        with open(partial, "wb") as file:
            file.writelines(self._line(row).encode() for row in rows)
        os.replace(partial, self.path)

    def _line(self, row: Row) -> str:
        line = _dump(row)
        if "long" not in row and len(line.encode()) <= RECORD_BYTES:
            return line
        position = row.get("long")
        if position is None:
            position = self._long.stat().st_size if self._long.exists() else 0
            append_line(self._long, _dump({name: row[name] for name in ("item", "repeat", "output", "thinking")}))
        return _dump({**row, "output": None, "thinking": None, "long": position})

    def _texts(self, row: Row, long: BinaryIO | None) -> Row:
        if long is not None:
            long.seek(row["long"])
            line = long.readline()
            texts = json.loads(line) if line.startswith(b"{") and line.endswith(b"}\n") else {}
            if (texts.get("item"), texts.get("repeat")) == (row["item"], row["repeat"]):
                return {name: texts[name] for name in ("output", "thinking")}
        raise ValueError(f"{self._long} lacks the text of item {row['id']}; restore the file or begin a new run folder")

    def _places(self) -> dict[Key, int]:
        return {(row["item"], row["repeat"]): position for position, row in self._lines()}

    def _lines(self) -> Iterator[tuple[int, Row]]:
        """Yield (position, row without its long texts) of every line."""
        if not self.path.exists():
            return
        position = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    int(row["item"]), int(row["repeat"]), row["status"], row["id"]
                except (ValueError, TypeError, KeyError) as error:
                    raise ValueError(
                        f"{self.path}, line {number} is no record of a run; mend it or begin a new run folder"
                    ) from error
                yield position, row
                position += len(line)


def _dump(row: Row) -> str:
    """Return a row as a line of JSON; what no file can hold, such as half of a surrogate pair, is escaped."""
    line = json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(row, separators=(",", ":")) + "\n"
    return line


def drop_torn_line(path: pathlib.Path) -> None:
    """Cut a file of lines off after its last whole one; a killed process leaves a part of a line."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position:
            start = max(0, position - _BLOCK)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                break
            position = start
        else:
            newline, start = -1, 0
        if start + newline + 1 < end:
            file.truncate(start + newline + 1)
