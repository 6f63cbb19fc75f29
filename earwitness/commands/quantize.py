"""``earwitness quantize``: a checkpoint in a quarter to a half of its size, for cards that it does not fit."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "write a checkpoint with its decoder in int8, int4 or fp8"
EXAMPLES = """examples:
  earwitness quantize stepfun-ai/Step-Audio-R1 r1-int4 --scheme int4
  earwitness quantize my-model my-model-int8 --scheme int8 --dry-run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", metavar="DIR", help="folder or hub name of a checkpoint in the published layout")
    parser.add_argument("out", metavar="OUT", help="folder to write, whole or not at all")
    parser.add_argument(
        "--scheme",
        required=True,
        choices=("int8", "int4", "fp8"),
        help="int8 and fp8 also round the inputs of a layer as it runs; int4 is smallest (docs/quantize.md)",
    )
    parser.add_argument("--group-size", type=int, metavar="N", help="int4: columns that share a scale (default: 32)")
    parser.add_argument("--dry-run", action="store_true", help="print sizes from the files' headers and stop")


def run(args: argparse.Namespace) -> int:
    """Write the model, or say what writing it would take."""
    from earwitness.commands.progress import Progress
    from earwitness.model import quantize
    from earwitness.model.packed import DEFAULT_GROUP, Scheme

    group_size = args.group_size
    if group_size is None:
        group_size = DEFAULT_GROUP if args.scheme == "int4" else 0
    scheme = Scheme(args.scheme, group_size)
    conversion = quantize.plan(args.folder, scheme)
    if args.dry_run:
        print(_sizes(conversion))
        return 0
    print(f"writing {args.out} from {args.folder}", file=sys.stderr)
    with Progress(conversion.bytes_before // 1_000_000, "MB") as progress:
        read = 0

        def advance(num_bytes: int, key: str) -> None:
            nonlocal read
            read += num_bytes
            progress.advance(read // 1_000_000 - progress.done, key)

        quantize.quantize(args.folder, args.out, scheme, advance)
    print(f"{args.out}: {_sizes(conversion)}")
    return 0


def _sizes(conversion) -> str:
    share = conversion.values_packed / conversion.values_all
    return (
        f"{conversion.scheme.name}, {conversion.bytes_before / 1e9:.2f} GB -> {conversion.bytes_after / 1e9:.2f} GB, "
        f"{share:.0%} of the values packed; converting takes at most {conversion.peak_bytes / 1e9:.2f} GB of memory "
        f"(largest file read: {conversion.largest_shard / 1e9:.2f} GB)"
    )
