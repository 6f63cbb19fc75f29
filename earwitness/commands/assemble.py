"""``earwitness assemble``: build a fresh model from an audio encoder and a language model."""

from __future__ import annotations

import argparse
import sys

SUMMARY = "build a fresh model from a Qwen2-Audio encoder and a Qwen2.5 decoder"
EXAMPLES = """example:
  earwitness assemble Qwen/Qwen2-Audio-7B Qwen/Qwen2.5-7B my-model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("encoder", metavar="ENCODER", help="folder or hub name of a Qwen2-Audio checkpoint")
    parser.add_argument("decoder", metavar="DECODER", help="folder or hub name of a Qwen2.5 checkpoint")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--seed", type=int, default=0, help="of the new adaptor and the new embedding rows")


def run(args: argparse.Namespace) -> int:
    """Write the model, whole or not at all."""
    import torch

    from earwitness.model.assemble import assemble

    print(f"writing {args.out} from {args.encoder} and {args.decoder}", file=sys.stderr)
    config = assemble(args.encoder, args.decoder, args.out, dtype=getattr(torch, args.dtype), seed=args.seed)
    layers, width = config.text_config.num_hidden_layers, config.text_config.hidden_size
    print(f"{args.out}: {config.audio.layers} encoder layers, {layers} decoder layers of width {width}")
    return 0
