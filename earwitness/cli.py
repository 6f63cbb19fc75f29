"""The ``earwitness`` command. Importing it loads nothing heavy, so that ``-h`` answers at once.

Exit codes: 0 done, 1 failed with one sentence on stderr, 2 wrong usage, 130 interrupted. The answer goes to stdout,
reasoning and progress to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import earwitness

COMMANDS = (
    "ask",
    "doctor",
    "measure",
    "ground",
    "soundworld",
    "train",
    "plan",
    "assemble",
    "quantize",
    "eval",
    "score",
    "probe",
    "report",
    "serve",
    "realtime",
)
"""Each is a module of ``earwitness.commands`` with SUMMARY, EXAMPLES, ``add_arguments`` and ``run``."""

# Command -> its module, where a builtin has the command's name.
_MODULES = {"eval": "evaluate"}

# Module that is missing -> the extra that installs it.
_EXTRAS = {
    "parselmouth": "acoustics",
    "librosa": "acoustics",
    "espeakng_loader": "world",
    "matplotlib": "train",
    "accelerate": "train",
    "peft": "train",
    "sklearn": "dev",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "websockets": "realtime",
    "starlette": "realtime",
    "onnxruntime": "realtime",
    "compressed_tensors": "quantize",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; only ``-h`` and wrong usage leave through ``SystemExit``."""
    args = _parse(argv)
    if not args.debug:
        _quiet()
    try:
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nearwitness: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output is gone, as with "| head"; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(f"earwitness: {sentence(error)}", file=sys.stderr)
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    args, rest = build_parser().parse_known_args(argv)
    if hasattr(args, "inputs") and not any(word.startswith("-") for word in rest):
        args.inputs += rest  # argparse stops at the first option: ask clip.wav --json "QUESTION"
    elif rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="earwitness",
        description="Audio language models that reason about what they hear.",
        epilog='example:\n  earwitness ask clip.wav "Which note is higher, the first or the second?"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"earwitness {earwitness.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show warnings and, on failure, the traceback")
    for name in COMMANDS:
        module = importlib.import_module(f"earwitness.commands.{_MODULES.get(name, name)}")
        sub = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[shared],
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return parser


def sentence(error: Exception) -> str:
    """Return an error as one sentence that names the thing; our own errors are one already."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = _EXTRAS.get(error.name.partition(".")[0])
        remedy = f"pip install 'earwitness[{extra}]'" if extra else f"install {error.name} with pip"
        return f"the library {error.name} is not installed; {remedy}"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}; check the path, its permissions and the disk"
    text = " ".join(str(error).split())
    if isinstance(error, (ValueError, OSError, ArithmeticError, MemoryError)) and text:
        return text
    return f"{type(error).__name__}: {text[:300] or 'no message'}; run again with --debug for the traceback"


def _quiet() -> None:
    """Keep the libraries' warnings off stderr, where they would bury our one sentence."""
    import warnings

    warnings.filterwarnings("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    sys.exit(main())
