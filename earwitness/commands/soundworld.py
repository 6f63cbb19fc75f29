"""``earwitness soundworld``: export items of the controlled world, or draw them on a contact sheet."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "write SoundWorld items as WAV and JSON lines, or show them on a contact sheet"
EXAMPLES = """examples:
  earwitness soundworld write --suite music --split test --count 100 --out music-test
  earwitness soundworld show --suite sound --split test --index 7 --out item.png
  earwitness soundworld show --suite music --split test --count 12 --out sheet.png"""


# As soundworld.ALL_SUITES, which is not imported for a help text.
SUITES = "music, sound, speech, spoken_math, spoken_logic, hearing, crossed, open_ended or text_tasks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="write|show", required=True)
    for name, what, default, example in (
        ("write", "WAV files and a manifest that 'earwitness ask' reads", 100, "--count 100 --out music-test"),
        ("show", "a PNG with waveform, spectrogram, question and answer of each item", 1, "--index 7 --out item.png"),
    ):
        sub = actions.add_parser(
            name,
            help=what,
            description=what,
            epilog=f"example:\n  earwitness soundworld {name} --suite music --split test {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--suite", required=True, metavar="NAME", help=f"one of {SUITES}")
        sub.add_argument("--split", default="test", metavar="NAME", help="train, validation, test (default) or heldout")
        sub.add_argument("--index", type=int, default=0, metavar="N", help="the first item (default: 0)")
        sub.add_argument(
            "--count", type=int, default=default, metavar="N", help=f"number of items (default: {default})"
        )
        sub.add_argument("--out", required=True, help="folder" if name == "write" else "PNG file")
        # SUPPRESS keeps the value that the outer parser may have set.
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Write or show the items."""
    from earwitness import soundworld

    if args.count < 1:
        raise ValueError(f"--count is {args.count}; it must be 1 or more")
    soundworld.sample(args.suite, args.split, args.index)  # a wrong name is told before anything is made
    if args.action == "write":
        return _write(args)
    from earwitness.soundworld import sheet

    items = [soundworld.sample(args.suite, args.split, args.index + i) for i in range(args.count)]
    sheet.draw(items, args.out)
    print(f"{args.out}: {len(items)} items of {args.suite}/{args.split}", file=sys.stderr)
    return 0


def _write(args: argparse.Namespace) -> int:
    from earwitness.commands.progress import Progress
    from earwitness.soundworld import export

    with Progress(args.count, "clips") as progress:
        manifest = export.write(
            args.suite, args.split, args.count, args.out, start=args.index, report=lambda: progress.advance()
        )
    print(f"{manifest}: {args.count:,} items of {args.suite}/{args.split}", file=sys.stderr)
    return 0
