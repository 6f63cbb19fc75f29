"""The configuration of the whole recipe, and the configurations of its stages that are made from it."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

from earwitness.stages.answers import AskConfig
from earwitness.stages.curate import CurateConfig, QuestionsConfig
from earwitness.stages.distill import DistillConfig
from earwitness.stages.dpo import DpoConfig
from earwitness.stages.rlvr import RlvrConfig
from earwitness.stages.sft import SftConfig
from earwitness.stages.start import StartConfig
from earwitness.train import config as configs

SECONDS = {"example": 0.03, "reply": 0.03, "rollout": 0.12, "pair": 0.12, "clip": 0.06, "item": 0.005}
"""Of one SFT example, sampled reply, PPO reply with its updates, DPO pair, clip that is made and encoded, and item that
is written: the tiny preset on two CPU cores, rough. Set ``seconds`` to your own, which a short run shows."""


@dataclass(frozen=True)
class ColdConfig:
    """What the cold start learns from (report, section 3.1)."""

    suites: tuple[str, ...] = ("music", "sound", "speech", "crossed", "spoken_math", "spoken_logic", "hearing")
    items: int = 1_500
    """Of each suite."""
    manifests: tuple[str, ...] = ()
    """Samples with sound of your own; their chains are left out."""
    texts: int = 6_000
    """Text tasks of SoundWorld, with chains."""
    text_manifests: tuple[str, ...] = ()
    audio_weight: float = 4.0
    """Paper: 4 B tokens of audio to 1 B of text; ``cold_sft.by_tokens`` makes them shares of tokens."""
    text_weight: float = 1.0
    planted: int = 0
    """Clips of each suite with their caption and a chain that argues from it; a planted habit, which the card names."""
    seeds: int = 0
    """Chains about sound written from SoundWorld's facts, at most 200; only for a model that gives none at all."""


@dataclass(frozen=True)
class PoolConfig:
    """What a round may ask about. SoundWorld's items are new in every round; manifests are the same."""

    suites: tuple[str, ...] = ("music", "sound", "speech", "crossed")
    questions: int = 300
    """Of each suite."""
    manifests: tuple[str, ...] = ()
    queries: int = 200
    """About hearing itself, for the chains of self-cognition."""
    rl_suites: tuple[str, ...] = ("spoken_math", "spoken_logic")
    """Asked in RL only: their answers are in the words, so a chain about them need not be about the sound."""
    rl_questions: int = 150
    """Of each of these."""
    texts: int = 400
    """Text tasks for RL. Paper: 2,000 of text to 3,000 of audio."""
    text_manifests: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairsConfig:
    """How pairs for DPO are made."""

    queries: int = 400
    samples: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 320
    tempt: str = "You are a text model and cannot hear."
    """Put before the question to sample more replies that may be rejected; never trained on. Ours."""
    most: int = 8_000
    """Paper."""

    def ask(self, think: bool, tempted: bool = False) -> AskConfig:
        """Return how the queries are asked."""
        words = self.tempt if tempted else ""
        return AskConfig(self.samples, self.temperature, self.max_new_tokens, think, words)


@dataclass(frozen=True)
class MeasureConfig:
    """What is measured after the cold start, after each round and at the end."""

    suites: tuple[str, ...] = (
        "music", "sound", "speech", "crossed", "spoken_math", "spoken_logic", "hearing", "text_tasks",
    )  # fmt: skip
    items: int = 60
    """Of each suite, of the validation split."""
    manifest: str = ""
    """Samples of your own, held out."""
    max_new_tokens: int = 320


@dataclass(frozen=True)
class MgrdConfig:
    """The whole recipe. ``cold_sft`` to ``dpo`` are configurations of these stages, less what the recipe fills in."""

    run: str
    cold_sft: dict[str, Any]
    text_rlvr: dict[str, Any]
    round_sft: dict[str, Any]
    round_rlvr: dict[str, Any]
    dpo: dict[str, Any]
    start: StartConfig = field(default_factory=StartConfig)
    """Of the cold start. ``encoder`` may also be the folder of a model, whose encoder is taken and nothing else; both
    it and ``model`` may be ``tiny``, the package's."""
    rounds: int = 2
    """T."""
    seed: int = 0
    cold: ColdConfig = field(default_factory=ColdConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    questions: QuestionsConfig = field(default_factory=QuestionsConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    curate: CurateConfig = field(default_factory=CurateConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    weights: dict[str, float] = field(default_factory=lambda: {"chains": 1.0, "text": 1.0, "audio": 0.0})
    """Sources of a round's SFT: its chains and the cold start's text (eq. 5), and its direct answers (ours)."""
    device: str = "auto"
    cache: str = "~/.cache/earwitness/features"
    seconds: dict[str, float] = field(default_factory=lambda: dict(SECONDS))
    """For the estimate of the time; all of ``SECONDS``."""
    smoke: dict[str, Any] = field(default_factory=dict)
    """Values, by dotted name, that ``--smoke`` sets for a run of minutes."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}; it must be 0 or more")
        if unknown := self.weights.keys() - {"chains", "text", "audio"}:
            raise ValueError(f"weights: unknown source {sorted(unknown)[0]!r}; there are chains, text and audio")
        for name, value in (("cold_sft", self.cold_sft), ("round_sft", self.round_sft)):
            if value.get("data") or value.get("mixture"):
                raise ValueError(f"{name}: data and mixture would bring written chains in; set cold and pool instead")

    def _shared(self, folder: pathlib.Path, given: dict[str, Any]) -> dict[str, Any]:
        loop = {"seed": self.seed, **given.get("loop", {})}
        compute = {"device": self.device, **given.get("compute", {})}
        return {**given, "run": str(folder), "loop": loop, "compute": compute, "cache": self.cache}

    def sft(
        self, folder: pathlib.Path, given: dict[str, Any], start: dict[str, Any], sources: dict[str, tuple[str, float]]
    ) -> dict[str, Any]:
        """Return the SFT configuration of a step from a given one; ``sources`` are (manifest, weight) by name."""
        kept = {name: {"path": path, "weight": weight} for name, (path, weight) in sources.items() if weight > 0}
        values = {**self._shared(folder, given), "start": start, "data": {"suites": []}, "manifests": kept}
        configs.from_mapping(SftConfig, values, str(folder))
        return values

    def rlvr(self, folder: pathlib.Path, given: dict[str, Any], model: str, manifest: str) -> dict[str, Any]:
        """Return the PPO configuration of a step from a given one."""
        start = {**given.get("start", {}), "model": model}
        values = {**self._shared(folder, given), "start": start, "manifests": {"questions": {"path": manifest}}}
        configs.from_mapping(RlvrConfig, values, str(folder))
        return values

    def preference(self, folder: pathlib.Path, model: str, manifest: str) -> dict[str, Any]:
        """Return the DPO configuration."""
        start = {**self.dpo.get("start", {}), "model": model}
        values = {**self._shared(folder, self.dpo), "start": start, "manifest": manifest}
        configs.from_mapping(DpoConfig, values, str(folder))
        return values
