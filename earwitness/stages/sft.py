"""Supervised fine-tuning of adaptor and decoder on cached features of the frozen encoder (report, eq. 1).

With ``mixture.think`` at 0 the stage trains the control model that answers without reasoning. The small model's
chains are written from SoundWorld's facts; that is allowed for this stand-in only, and MGRD does not start from it.

    earwitness train sft --config configs/tiny-sft.yaml
"""

from __future__ import annotations

import pathlib
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from earwitness import audio, prompt, soundworld
from earwitness.data import dialogue, features, shards
from earwitness.data.batches import LengthBatches
from earwitness.model import presets
from earwitness.model.reasoner import AudioReasoner
from earwitness.model.tokenizer import train_tokenizer
from earwitness.stages.pretrain import DataConfig
from earwitness.train import config as configs
from earwitness.train import loop

EMBEDDING_STD = 0.3


@dataclass(frozen=True)
class MixtureConfig:
    """How many dialogues of each kind there are, per clip."""

    think: float = 1.0
    direct: float = 0.5
    caption: float = 0.15
    transcribe: float = 0.3
    """Of speech clips only."""
    without_choices: float = 0.25
    """Share of questions asked without listing the options."""


@dataclass(frozen=True)
class SftConfig:
    """The whole configuration of the stage."""

    run: str
    """Run folder; the model in the published layout is written to ``model/`` in it."""
    encoder: str
    """``encoder.pt`` of a finished ``pretrain`` run."""
    loop: loop.LoopConfig
    data: DataConfig = field(default_factory=DataConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    preset: str = "tiny"
    vocab_size: int = 2048
    batch: int = 64


class Listener(nn.Module):
    """The part of the model that learns: adaptor, decoder, head; it starts from cached encoder states."""

    def __init__(self, model: AudioReasoner, patch_id: int) -> None:
        super().__init__()
        self.adapter, self.decoder, self.lm_head = model.adapter, model.model, model.lm_head
        self.patch_id = patch_id

    def loss(self, ids_BT: torch.Tensor, states_BED: torch.Tensor, counts_B: torch.Tensor, target_BT: torch.Tensor):
        """Return the mean cross-entropy over reply tokens; targets are -100 elsewhere, already shifted."""
        embeds_BTH = self.decoder.embed_tokens(ids_BT)
        heard_BNH = self.adapter(states_BED)
        used_BN = torch.arange(heard_BNH.shape[1])[None] < counts_B[:, None]
        embeds_BTH = embeds_BTH.masked_scatter((ids_BT == self.patch_id)[..., None], heard_BNH[used_BN].to(embeds_BTH))
        # Right padding under a causal mask never reaches a real token, so no mask is needed.
        hidden_BTH = self.decoder(inputs_embeds=embeds_BTH, use_cache=False).last_hidden_state
        wanted = target_BT != -100
        logits = self.lm_head(hidden_BTH[wanted]).float()
        return nn.functional.cross_entropy(logits, target_BT[wanted]), int(wanted.sum())


class DialogueSet:
    """All training dialogues of a run as ids, beside the encoder states of their clips."""

    def __init__(self, config: SftConfig, split: str, tokenizer, digest: str) -> None:
        root = pathlib.Path(config.data.folder).expanduser()
        rng = np.random.default_rng(config.loop.seed)
        self.states: list[np.ndarray] = []
        self.counts: list[int] = []
        self.sequences: list[dialogue.Sequence] = []
        self.clip_of: list[int] = []
        for suite in config.data.suites:
            for clip, states in features.read(root, suite, split, config.data.clips, digest):
                number = len(self.states)
                self.states.append(states)
                self.counts.append(audio.audio_token_count(clip.num_samples))
                for kind in dialogue.KINDS:
                    share, bare = getattr(config.mixture, kind), rng.random() < config.mixture.without_choices
                    if rng.random() >= share or (kind == "transcribe" and clip.sample.transcript is None):
                        continue
                    counts = [[self.counts[-1]]]
                    self.sequences.append(dialogue.sequence(tokenizer, clip.sample, kind, counts, not bare))
                    self.clip_of.append(number)
        self.lengths = np.array([len(s.ids) for s in self.sequences])

    def batch(self, items: np.ndarray):
        """Return (ids (B, T), states (B, E, width), counts (B), shifted targets (B, T)), padded on the right."""
        T, clips = int(self.lengths[items].max()), [self.clip_of[i] for i in items]
        E = max(len(self.states[c]) for c in clips)
        ids = np.zeros((len(items), T), dtype=np.int64)
        target = np.full((len(items), T), -100, dtype=np.int64)
        states = np.zeros((len(items), E, self.states[0].shape[1]), dtype=np.float32)
        for row, (item, clip) in enumerate(zip(items, clips)):
            sequence = self.sequences[item]
            ids[row, : len(sequence.ids)] = sequence.ids
            target[row, sequence.reply_start - 1 : len(sequence.ids) - 1] = sequence.ids[sequence.reply_start :]
            states[row, : len(self.states[clip])] = self.states[clip]
        counts = torch.tensor([self.counts[c] for c in clips])
        return torch.from_numpy(ids), torch.from_numpy(states), counts, torch.from_numpy(target)


def tokenizer_for(config: SftConfig, folder: pathlib.Path):
    """Return the run's tokenizer, learned once from the texts of the training clips and kept in the run folder."""
    from transformers import AutoTokenizer

    path = folder / "tokenizer"
    if not path.exists():
        root = pathlib.Path(config.data.folder).expanduser()
        texts = []
        for suite in config.data.suites:
            for clip in shards.read(root, suite, "train", min(config.data.clips, 4000)):
                s = clip.sample
                texts += [s.question, s.reasoning or "", str(s.extra.get("caption", "")), ", ".join(s.choices)]
        train_tokenizer(texts, config.vocab_size).save_pretrained(path)
    return AutoTokenizer.from_pretrained(path)


def prepare(config: SftConfig, folder: pathlib.Path):
    """Return (tokenizer, model with the pre-trained and frozen encoder)."""
    tokenizer = tokenizer_for(config, folder)
    torch.manual_seed(config.loop.seed)
    model = AudioReasoner(presets.preset(config.preset, tokenizer=tokenizer))
    weights = pathlib.Path(config.encoder).expanduser()
    if not weights.exists():
        raise ValueError(f"encoder {weights} does not exist; run 'earwitness train pretrain' first")
    model.encoder.load_state_dict(torch.load(weights, weights_only=True))
    model.encoder.requires_grad_(False).eval()
    # The layers write vectors of length 100 and more; tokens that begin at length 0.3 are lost beside them, and with
    # them the comparison of what is heard with what was asked.
    nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    return tokenizer, model


def main(config_path: str, overrides: tuple[str, ...] = (), minutes: float | None = None, dry_run: bool = False) -> int:
    """Run or continue the stage; returns the step reached."""
    config = configs.load(SftConfig, config_path, overrides)
    folder = pathlib.Path(config.run).expanduser()
    root = pathlib.Path(config.data.folder).expanduser()
    if dry_run:
        return preview(config)
    configs.record(config, folder)
    shards.build(root, config.data.suites, "train", config.data.clips, config.data.workers, report=_say)
    tokenizer, model = prepare(config, folder)
    digest = features.weights_hash(model.encoder)
    _say(f"{sum(p.numel() for p in model.parameters()):,} parameters; encoder {digest[:12]} is frozen")
    for suite in config.data.suites:
        features.build(root, suite, "train", config.data.clips, model.encoder, digest, report=_say)
    begun = time.time()
    data = DialogueSet(config, "train", tokenizer, digest)
    _say(f"{len(data.lengths):,} dialogues, {data.lengths.mean():.0f} tokens each ({time.time() - begun:.0f} s)")
    batches = LengthBatches(data.lengths, config.batch, config.loop.seed)
    listener = Listener(model, model.config.audio_patch_token_id)

    def loss_at(step: int):
        items = batches.at(step)[1]
        ids, states, counts, target = data.batch(items)
        loss, wanted = listener.loss(ids, states, counts, target)
        return loss, {"tokens": float(data.lengths[items].sum()), "reply_tokens": float(wanted)}

    step = loop.run(config.loop, listener, loss_at, folder, minutes=minutes)
    if features.weights_hash(model.encoder) != digest:
        raise RuntimeError("the frozen encoder changed during training; the run is not valid")
    export(model, tokenizer, folder / "model")
    return step


def preview(config: SftConfig) -> int:
    """Print what a run would train, and on what, without touching the disk; returns 0 steps."""
    with torch.device("meta"):
        model = AudioReasoner(presets.preset(config.preset, vocab_size=config.vocab_size))
    frozen = sum(p.numel() for p in model.encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    _say(f"{config}")
    _say(f"{total - frozen:,} parameters to train, {frozen:,} frozen in the encoder")
    sample = soundworld.sample(config.data.suites[0], "train", 0)
    for kind in ("think", "direct"):
        if getattr(config.mixture, kind):
            messages, reasoning, answer = dialogue.dialogue(sample, kind, with_choices=True)
            asked = prompt.render(messages, think=reasoning is not None)
            _say(f"{kind}: {asked}{''.join(s.text for s in prompt.completion(answer, reasoning))}")
    return 0


def export(model: AudioReasoner, tokenizer, folder: pathlib.Path) -> None:
    """Write the model in the published layout, bfloat16, with its tokenizer."""
    import copy

    small = copy.deepcopy(model)
    nn.Module.to(small, torch.bfloat16)
    small.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
