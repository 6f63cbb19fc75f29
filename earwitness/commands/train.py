"""``earwitness train``: run or continue one training stage from its configuration."""

from __future__ import annotations

import argparse
import importlib
import pathlib

SUMMARY = "run or continue one training stage"
EXAMPLES = """examples:
  earwitness train pretrain --config configs/tiny-pretrain.yaml --minutes 30
  earwitness train sft --config configs/tiny-sft.yaml --set loop.steps=200 --dry-run"""
STAGES = ("pretrain", "sft", "dpo", "rlvr")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, repeatable")
    parser.add_argument("--resume", metavar="RUN", help="continue this run folder instead of the one in the config")
    parser.add_argument("--minutes", type=float, help="stop this leg after so many minutes, with a checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="check the config, print the sizes and stop")


def run(args: argparse.Namespace) -> int:
    """Train; the run folder of the config is continued where it exists."""
    overrides = list(args.set)
    if args.resume:
        if not pathlib.Path(args.resume).expanduser().is_dir():
            raise ValueError(f"run folder {args.resume} does not exist; leave out --resume to begin a run")
        overrides.append(f"run={args.resume}")
    stage = importlib.import_module(f"earwitness.stages.{args.stage}")
    stage.main(args.config, tuple(overrides), minutes=args.minutes, dry_run=args.dry_run)
    return 0
