"""``earwitness train``: run or continue one training stage from its configuration."""

from __future__ import annotations

import argparse
import importlib
import pathlib

SUMMARY = "run or continue one training stage"
EXAMPLES = """examples:
  earwitness train pretrain --config configs/tiny-pretrain.yaml --minutes 30
  earwitness train sft --config configs/tiny-sft.yaml --set loop.steps=200 --dry-run
  torchrun --nproc-per-node 8 -m earwitness.cli train rlvr --config my.yaml
  earwitness train mgrd --config configs/tiny/mgrd.yaml --smoke
  earwitness train plot ~/.cache/earwitness/runs/tiny-sft"""
STAGES = ("pretrain", "sft", "dpo", "rlvr", "mgrd")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("stage", choices=(*STAGES, "plot"), help="a stage, or plot to draw the metrics of a run")
    parser.add_argument("folder", nargs="?", metavar="RUN", help="with plot: the run folder; writes metrics.png in it")
    parser.add_argument("--config", metavar="FILE", help="YAML file of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, repeatable")
    parser.add_argument("--resume", metavar="RUN", help="continue this run folder instead of the one in the config")
    parser.add_argument("--minutes", type=float, help="stop this leg after so many minutes, with a checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="check the config, print the sizes and stop")
    parser.add_argument("--smoke", action="store_true", help="mgrd only: the whole recipe, small, within minutes")


def run(args: argparse.Namespace) -> int:
    """Train, continuing the config's run folder where it exists; or draw a run's metrics."""
    if args.stage == "plot":
        if not args.folder:
            raise ValueError("plot needs a run folder; name it, as in 'earwitness train plot RUN'")
        from earwitness.train import plots

        print(plots.draw(pathlib.Path(args.folder).expanduser()))
        return 0
    if not args.config:
        raise ValueError(f"{args.stage} needs a config; give one of configs/ with --config FILE")
    overrides = list(args.set)
    if args.resume:
        if not pathlib.Path(args.resume).expanduser().is_dir():
            raise ValueError(f"run folder {args.resume} does not exist; leave out --resume to begin a run")
        overrides.append(f"run={args.resume}")
    if args.smoke and args.stage != "mgrd":
        raise ValueError(f"--smoke is for mgrd; shorten {args.stage} with --set loop.steps=N")
    stage = importlib.import_module(f"earwitness.stages.{args.stage}")
    options = {"smoke": True} if args.smoke else {}
    stage.main(args.config, tuple(overrides), minutes=args.minutes, dry_run=args.dry_run, **options)
    return 0
