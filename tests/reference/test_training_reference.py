"""Training against TRL 1.16 itself, where it is installed: whole DPO runs, token log-probabilities, ``base_model``."""

import copy
import json
import pathlib
import sys

import pytest

pytest.importorskip("trl", minversion="1.16", reason="trl is not installed; pip install -e '.[tests-ref]'")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import engine_fixture  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import Qwen2ForCausalLM  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402
from trl.trainer.utils import add_fused_lm_head, entropy_from_logits, selective_log_softmax  # noqa: E402

from earwitness.data import dialogue  # noqa: E402
from earwitness.data.collate import collate, collate_fans, collate_packed  # noqa: E402
from earwitness.data.manifest import Manifest  # noqa: E402
from earwitness.data.mixture import Shuffle  # noqa: E402
from earwitness.losses import dpo_loss, sequence_log_probs  # noqa: E402
from earwitness.model import AudioReasoner  # noqa: E402
from earwitness.records import Sample  # noqa: E402
from earwitness.stages import dpo  # noqa: E402
from earwitness.train.modules import Policy  # noqa: E402

STEPS, PAIRS, BATCH, SEED = 6, 10, 4, 4
# TRL's sigmoid loss with smoothed labels is its "aot", which sorts the pairs of a pass: with one pair they are equal.
RUNS = {
    "plain": ({"beta": 0.1}, {"per_device_train_batch_size": BATCH}),
    "smoothed": (
        {"beta": 0.2, "label_smoothing": 0.2},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH, "loss_type": ["aot"]},
    ),
}


@pytest.fixture(scope="module")
def tokenizer():
    return engine_fixture.build_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A small random model and pairs of replies of many lengths, half of them with a chain."""
    place = tmp_path_factory.mktemp("dpo")
    engine_fixture.build_model(tokenizer).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    rows = []
    for i in range(PAIRS):
        chain = f"<think>{engine_fixture.WORDS[i]}</think>" if i % 2 else ""
        good, bad = (chain + " ".join(engine_fixture.question(i + n).split()[:2]) for n in (100, 200))
        rows.append({"id": f"p{i}", "question": engine_fixture.question(i) + "?", "chosen": good, "rejected": bad})
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture(scope="module")
def double(folder):
    return AudioReasoner.from_pretrained(folder / "model", dtype=torch.float64)


def run_ours(folder, settings, monkeypatch):
    """Run the stage through its entry; return the numbers of every update and the trained weights."""
    config = {
        "run": str(folder / f"run{len(list(folder.iterdir()))}"),
        "start": {"model": str(folder / "model")},
        "compute": {"device": "cpu"},
        "manifest": str(folder / "pairs.jsonl"),
        "cache": str(folder / "cache"),
        "loop": {"steps": STEPS, "seed": SEED, "log_every": 1},
        "optimiser": {
            "bf16": False, "muon": False, "warmup_steps": 0, "schedule": "constant", "lr": 1e-4, "beta2": 0.98,
            "weight_decay": 0.05, "grad_clip": 1.0,
        },
        "batch": BATCH,
        "max_tokens": 120,  # several passes an update
        **settings,
    }  # fmt: skip
    path = folder / "dpo.yaml"
    path.write_text(yaml.safe_dump(config))
    steps, weights = [], {}
    update = dpo.update

    def watched(*args):
        steps.append(update(*args))
        return steps[-1]

    def kept(policy, *_):  # an export is in bfloat16
        weights.update({name: value.clone() for name, value in policy.state_dict().items()})

    published = dpo.published
    monkeypatch.setattr(dpo, "published", lambda start: (lambda t, m: (t, m.double()))(*published(start)))
    monkeypatch.setattr(dpo, "update", watched)
    monkeypatch.setattr(dpo, "export", kept)
    assert dpo.main(str(path)) == STEPS
    return steps, weights


class Ordered(DPOTrainer):
    """TRL's trainer on ids as they are; it would render and tokenise texts of its own."""

    def _prepare_dataset(self, dataset, *args):
        return dataset


def text_model(ours):
    """Return the decoder and head of ours as transformers' own model."""
    model = Qwen2ForCausalLM(ours.model.config).double()
    model.load_state_dict({n: v for n, v in ours.state_dict().items() if n.startswith(("model.", "lm_head."))})
    return model


def run_trl(folder, tokenizer, start, settings):
    """Run TRL's trainer on the same pairs in the same order; return what it logged and the trained model."""
    model = text_model(start)
    manifest, order = Manifest(folder / "pairs.jsonl"), Shuffle(PAIRS, SEED)
    rows = []
    for n in range(STEPS * BATCH):
        chosen, rejected = dialogue.preference(tokenizer, manifest[order.at(n)[1]])
        prompt, good = chosen.ids[~chosen.learned].tolist(), chosen.ids[chosen.learned].tolist()
        assert rejected.ids[~rejected.learned].tolist() == prompt
        rows.append({"prompt_ids": prompt, "chosen_ids": good, "rejected_ids": rejected.ids[rejected.learned].tolist()})
    config = DPOConfig(
        str(folder / "trl"), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none",
        max_steps=STEPS, train_sampling_strategy="sequential", max_length=None,
        learning_rate=1e-4, lr_scheduler_type="constant", warmup_steps=0, optim="adamw_torch", adam_beta1=0.9,
        adam_beta2=0.98, weight_decay=0.05, max_grad_norm=1.0, logging_steps=1, save_strategy="no",
        disable_tqdm=True, **settings,
    )  # fmt: skip
    trainer = Ordered(
        model=model, ref_model=copy.deepcopy(model), args=config, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row], trainer.model


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_of_dpo_is_a_run_of_trl(folder, tokenizer, double, kind, monkeypatch):
    ours, theirs = RUNS[kind]
    steps, weights = run_ours(folder, ours, monkeypatch)
    logged, model = run_trl(folder, tokenizer, double, {**ours, **theirs})
    for mine, other in zip(steps, logged, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert mine["margin"] == pytest.approx(other["rewards/margins"], abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-6)
    # Before the first update policy and reference are one, and which side of 0 a margin falls on is rounding.
    assert [s["accuracy"] for s in steps[1:]] == [other["rewards/accuracies"] for other in logged[1:]]
    assert len({round(s["loss"], 4) for s in steps}) == STEPS
    for name, value in model.state_dict().items():
        mine = weights[name.replace("model.", "decoder.", 1)]
        assert (mine - value).abs().max() <= 1e-6, name
        assert (mine - double.state_dict()[name]).abs().max() > 1e-5, name


def trls_scores(model, examples, temperature):
    """Return TRL's (log-probabilities, entropies) of all learned tokens, from its fused head and from whole logits."""
    model, batch = copy.deepcopy(model), collate(examples, 0, -1)
    mask = torch.arange(batch.ids.shape[1]) < torch.tensor([[e.length] for e in examples])
    given, kept = {"input_ids": batch.ids, "attention_mask": mask.long()}, batch.learned[:, 1:]
    with torch.no_grad():
        logits = model(**given).logits[:, :-1]
        add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
        labels = batch.ids.masked_fill(~batch.learned, -100)
        fused = model(**given, labels=labels, fused_lm_head=True)
    chosen = selective_log_softmax(logits, batch.ids[:, 1:], temperature)
    entropy = entropy_from_logits(logits / temperature)
    return (fused.log_probs[kept], fused.entropy[kept]), (chosen[kept], entropy[kept])


@pytest.mark.parametrize("layout", ["padded", "packed", "fanned"])
def test_log_probabilities_are_trls_in_every_layout(folder, tokenizer, double, layout):
    pairs = [dialogue.preference(tokenizer, sample) for sample in Manifest(folder / "pairs.jsonl")]
    examples = [example for pair in pairs for example in pair]
    policy = Policy(double, temperature=0.7)
    if layout == "padded":
        batch = collate(examples, 0, policy.patch_id)
    elif layout == "packed":
        batch = collate_packed([examples[:8], examples[8:]], 0, policy.patch_id)
    else:
        batch = collate_fans(pairs, 0, policy.patch_id)
    with torch.no_grad():
        scores = policy(batch, entropy=True)
    for theirs in trls_scores(text_model(double), examples, 0.7):
        for mine, other in zip((scores.log_probs_BT, scores.entropy_BT), theirs):
            assert (mine[batch.learned] - other).abs().max() <= 1e-6


@pytest.fixture(scope="module")
def heard(tokenizer, double):
    """Two replies to one clip as TRL's trainer takes them, and as our policy does; and two clips of one length."""
    clips = [torch.from_numpy(engine_fixture.tone(1.3, hz)) for hz in (440, 700)]
    with torch.no_grad():
        states = [state.double() for state in copy.deepcopy(double).float().encode_frames(clips)]
    said = {"chosen": "<think>a bell</think>first", "rejected": "second"}
    sample = Sample(id="a", question="which is higher?", audio=("a.wav",), **said)
    pair = dialogue.preference(tokenizer, sample, [[states[0]]])
    batch = collate(pair, 0, double.config.audio_patch_token_id)
    mask = torch.arange(batch.ids.shape[1]) < torch.tensor([[e.length] for e in pair])
    theirs = {"input_ids": batch.ids, "attention_mask": mask.long(), "completion_mask": batch.learned.long()}
    return theirs, batch, states


def test_trls_dpo_on_our_model_hears(folder, tokenizer, double, heard):
    theirs, batch, (state, other) = heard
    config = DPOConfig(
        str(folder / "trl"), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none", beta=0.1
    )
    rows = [{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}]
    trained = copy.deepcopy(double)
    with torch.no_grad():
        trained.lm_head.weight.mul_(1.1)
    trainer = Ordered(
        model=trained, ref_model=copy.deepcopy(double), args=config, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    loss, deceived = (
        trainer.compute_loss(trainer.model, {**theirs, "audio_states": [given, given]}) for given in (state, other)
    )
    policy = Policy(copy.deepcopy(trained))
    now, before = (sequence_log_probs(p(batch).log_probs_BT, batch.learned) for p in (policy, Policy(double)))
    ours = dpo_loss(*now[:, None], *before[:, None], 0.1).loss
    assert loss.item() == pytest.approx(ours.item(), abs=1e-6)
    assert abs(loss - deceived) > 1e-3
    (grad,), (our_grad,) = (
        torch.autograd.grad(value, module.adapter.linear1.weight) for value, module in ((loss, trained), (ours, policy))
    )
    assert grad.abs().max() > 1e-4 and (grad - our_grad).abs().max() <= 1e-6  # it learns to hear, too


def test_base_model_hears(double, heard):
    theirs, _, (state, other) = heard
    given = {"input_ids": theirs["input_ids"], "attention_mask": theirs["attention_mask"]}
    with torch.no_grad():
        whole = double(**given, audio_states=[state, state], output_hidden_states=True)
        hidden = double.base_model(**given, audio_states=[state, state]).last_hidden_state
        elsewhere = double.base_model(**given, audio_states=[other, other]).last_hidden_state
    assert torch.equal(hidden, whole.hidden_states[-1]) and (hidden - elsewhere).abs().max() > 0.1
    assert torch.equal(double.lm_head(hidden), whole.logits)
    assert double.get_decoder() is double.model  # takes embeddings, into which audio has gone already
