"""``earwitness report``: runs of ``eval`` and ``probe`` as a page to look at and a table to paste."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from earwitness.evaluate.report import TaskRun
    from earwitness.records import Sample

SUMMARY = "show runs as one HTML page and one Markdown table; several are compared in pairs"
EXAMPLES = """examples:
  earwitness report runs/small
  earwitness report runs/r1 --data benchmarks
  earwitness report runs/before runs/after --out compared.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders that eval or probe wrote; the first is compared"
    )
    parser.add_argument("--data", default=".", metavar="DIR", help="the published files, for the items (default: here)")
    parser.add_argument("--out", metavar="FILE", help="the page (default: report.html in the first folder)")
    parser.add_argument("--items", type=int, default=60, metavar="N", help="items to show of each task (default: 60)")


def run(args: argparse.Namespace) -> int:
    """Write the page and the table, and print the table."""
    from earwitness.evaluate import report

    if args.out and not args.out.endswith(".html"):
        args.parser.error(f"--out {args.out} must end in .html; the table gets the same name with .md")
    if args.items < 0:
        raise ValueError(f"items is {args.items}; it must be 0 or more")
    folders = [pathlib.Path(name).expanduser() for name in args.runs]
    runs = [one for folder in folders for one in report.read(folder)]
    samples = _samples(runs, pathlib.Path(args.data).expanduser()) if args.items else {}
    page = report.write(runs, samples, pathlib.Path(args.out or folders[0] / "report.html"), max(1, args.items))
    print(report.markdown(runs), end="")
    print(f"earwitness: {page} is the page, {page.with_suffix('.md')} the table", file=sys.stderr)
    return 0


def _samples(runs: Sequence[TaskRun], root: pathlib.Path) -> dict[str, Sequence[Sample]]:
    """Return the items of the tasks whose data is at hand; what is not is said on stderr."""
    from earwitness.evaluate import tasks

    found: dict[str, Sequence[Sample]] = {}
    for name in dict.fromkeys(one.task for one in runs):
        place = root / name if (root / name).exists() else root
        try:
            found[name] = tasks.get(name).load(place).samples
        except (OSError, ValueError) as error:
            print(f"earwitness: the items of {name} are not shown: {error}", file=sys.stderr)
    return found
