"""What every stage after ``pretrain`` begins with and ends in: a model with a frozen encoder, and its export.

The encoder stays whole on every rank, in eval mode; its hash is taken at the start and checked before every save.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from earwitness.data.features import weights_hash
from earwitness.model import presets
from earwitness.model.reasoner import AudioReasoner
from earwitness.train.modules import Listener
from earwitness.train.sharding import shard, whole
from earwitness.train.world import World

# Layers write vectors of length 100 and more; tokens that begin at length 0.3 are lost beside them, and with them the
# comparison of what is heard with what was asked.
EMBEDDING_STD = 0.3
_LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class StartConfig:
    """Which model a run starts from, and which part of it learns."""

    model: str = ""
    """Folder or hub name in a published layout; empty makes ``preset`` from nothing."""
    preset: str = "tiny"
    encoder: str = ""
    """For a preset: ``encoder.pt`` of a finished ``pretrain`` run."""
    vocab_size: int = 2048
    lora_rank: int = 0
    """Train low-rank adapters of the decoder's matrices and nothing else; 0 trains adaptor, decoder and head."""
    lora_alpha: int = 32


@dataclass(frozen=True)
class ComputeConfig:
    """Where a run computes, and how it saves memory."""

    device: str = "auto"
    tensor_parallel: int = 1
    activation_checkpointing: bool = False
    """Keep the inputs of layers only and compute the rest again in the backward pass."""


def from_nothing(config: StartConfig, tokenizer: Any, seed: int) -> AudioReasoner:
    """Return a preset with random weights behind a pre-trained encoder.

    Raises:
        ValueError: no such encoder.
    """
    torch.manual_seed(seed)
    model = AudioReasoner(presets.preset(config.preset, tokenizer=tokenizer))
    weights = pathlib.Path(config.encoder).expanduser()
    if not config.encoder or not weights.is_file():
        raise ValueError(f"encoder {config.encoder!r} does not exist; run 'earwitness train pretrain' first")
    model.encoder.load_state_dict(torch.load(weights, weights_only=True))
    nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    return freeze(model)


def published(config: StartConfig) -> tuple[Any, AudioReasoner]:
    """Return (tokenizer, model in float32) of a published layout."""
    from transformers import AutoTokenizer

    name = os.path.expanduser(config.model)
    model = AudioReasoner.from_pretrained(name, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(name), freeze(model)


def freeze(model: AudioReasoner) -> AudioReasoner:
    """Freeze the encoder of a model."""
    model.encoder.requires_grad_(False).eval()
    return model


def guard(model: AudioReasoner) -> Callable[[], None]:
    """Return a check that raises ``RuntimeError`` if the encoder is no longer what it is now."""
    before = weights_hash(model.encoder)

    def check() -> None:
        if weights_hash(model.encoder) != before:
            raise RuntimeError("the frozen encoder changed during training; the run is not valid")

    return check


def adapt(model: AudioReasoner, config: StartConfig) -> None:
    """Put low-rank adapters into the decoder, if asked for, and leave only these to learn."""
    if not config.lora_rank:
        return
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=_LORA_TARGETS)
    inject_adapter_in_model(lora, model.model)  # type: ignore[arg-type]


def place(module: Listener, world: World, config: ComputeConfig, bf16: bool) -> Listener:
    """Shard a module over the ranks and move it to the device.

    What is sharded moves layer by layer (``fully_shard`` does it), so that no card ever holds a whole large module.
    """
    if world.mesh is None:
        module.to(world.device)
    if config.activation_checkpointing:
        module.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        module.decoder.train()
    shard(module, module.layers, world, bf16 and world.device.type == "cuda")
    return module


def named_weights(module: Listener) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the whole weights of a module by their published names, low-rank updates added; every rank calls it."""
    layers = {name: layer for name, layer in module.named_modules() if hasattr(layer, "base_layer")}
    for name, value in module.state_dict().items():
        if ".lora_" in name:
            continue
        full, stem = whole(value).detach(), name.replace(".base_layer.weight", "")
        if stem in layers:
            layer = layers[stem]
            down, up = (whole(part["default"].weight).detach() for part in (layer.lora_A, layer.lora_B))  # type: ignore[union-attr, index]
            full = full + layer.scaling["default"] * (up @ down)  # type: ignore[union-attr, index]
        yield _published_name(name.replace(".base_layer.", ".")), full


def export(module: Listener, model: AudioReasoner, tokenizer: Any, folder: pathlib.Path, world: World) -> None:
    """Write a trained policy in the published layout, bfloat16, with its tokenizer; every rank calls it."""
    state = {name: value for name, value in model.state_dict().items() if name.startswith("encoder.")}
    for name, value in named_weights(module):
        if world.is_first:
            state[name] = value.to("cpu", torch.bfloat16)  # a card could not hold them all
    if world.is_first:
        model.save_pretrained(folder, state_dict={n: v.to("cpu", torch.bfloat16) for n, v in state.items()})
        tokenizer.save_pretrained(folder)
    world.wait()


def _published_name(name: str) -> str:
    return name.replace("decoder.", "model.", 1) if name.startswith("decoder.") else name


def say(text: str) -> None:
    """Tell the user something on stderr, once for all ranks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
