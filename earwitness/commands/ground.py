"""``earwitness ground``: what a chain of reasoning says about a recording, and whether the recording agrees."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.grounding import SurrogateReport, Verdict

SUMMARY = "check what a chain of reasoning says about a recording against measurements; needs no model"
EXAMPLES = """examples:
  earwitness ground clip.wav "There are three notes. The second is higher than the first, so the answer is two."
  earwitness ask clip.wav "Is she calm?" --model URL --json | jq -r .thinking | earwitness ground clip.wav -"""

_COLOURS = {"verified": "green", "refuted": "red", "uncheckable": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("clip", metavar="CLIP", help="an audio or video file")
    parser.add_argument("chain", metavar="CHAIN", help="the reasoning in quotes, or - to read it from stdin")
    parser.add_argument("--answer", metavar="TEXT", help="the answer that followed, to compare with the conclusion")
    parser.add_argument("--about-words", action="store_true", help="the question was about what is said")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print claims, verdicts and measurements, and return 0 whatever they are."""
    from earwitness import audio
    from earwitness.acoustics import Measurements
    from earwitness.grounding import coherence, surrogate, tally, verify_chain

    chain = sys.stdin.read() if args.chain == "-" else args.chain
    if not chain.strip():
        raise ValueError("there is no chain to check; give the reasoning in quotes, or pipe it in and write -")
    found = Measurements(audio.load_audio(args.clip))
    verdicts = verify_chain(chain, found)
    report = surrogate.detect(chain, args.about_words)
    faults = coherence.check(chain, args.answer, [v.claim for v in verdicts])
    counts = tally(verdicts)
    if args.json:
        record = {"clip": args.clip, "claims": [v.to_json() for v in verdicts], "tally": counts}
        record["surrogate"] = {"is_surrogate": report.is_surrogate, "reason": report.reason}
        record["surrogate"] |= {"textual_share": round(report.textual_share, 3)}
        record["faults"] = [{"kind": f.kind, "reason": f.reason, "start": f.start} for f in faults]
        print(json.dumps(record, ensure_ascii=False))
        return 0
    _print(verdicts, report, [f"{f.kind}: {f.reason}" for f in faults])
    return 0


def _print(verdicts: list[Verdict], report: SurrogateReport, faults: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from earwitness.grounding import tally

    console = Console(highlight=False)
    if verdicts:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("claim", "kind", "verdict", "because"):
            table.add_column(heading)
        for v in verdicts:
            denied = "not: " if v.claim.is_negated else ""
            outcome = Text(v.outcome, style=_COLOURS[v.outcome])
            table.add_row(Text(denied + v.claim.text), v.claim.kind, outcome, Text(v.reason))
        console.print(table)
    else:
        console.print("no claim about the sound was found")
    counts = tally(verdicts)
    console.print(f"{counts['verified']} verified, {counts['refuted']} refuted, {counts['uncheckable']} uncheckable")
    console.print(Text(f"textual surrogate: {'yes' if report.is_surrogate else 'no'}, {report.reason}"))
    console.print(Text("coherent: " + ("; ".join(faults) if faults else "nothing against it")))
