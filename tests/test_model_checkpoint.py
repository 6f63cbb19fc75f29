"""Strict loading, whole-or-nothing saving, placement, and models assembled from parts."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from model_fixtures import prompt, small_model
from safetensors.torch import load_file, save_file

from earwitness.model import AudioReasoner, checkpoint
from earwitness.model.assemble import assemble


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    small_model().save_pretrained(folder, max_shard_size="40KB")
    return folder


def rewrite(folder, change):
    """Apply ``change`` to the tensors of a checkpoint and write it as one file."""
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
        file.unlink()
    (folder / checkpoint.INDEX).unlink()
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_round_trip_with_shards_and_index(saved):
    index = json.loads((saved / checkpoint.INDEX).read_text())
    files = sorted(f.name for f in saved.glob("*.safetensors"))
    assert len(files) > 1
    assert sorted(set(index["weight_map"].values())) == files
    assert {key.split(".")[0] for key in index["weight_map"]} == {"encoder", "adapter", "model", "lm_head"}
    loaded, original = AudioReasoner.from_pretrained(saved), small_model()
    for (name, a), (_, b) in zip(loaded.state_dict().items(), original.state_dict().items()):
        assert torch.equal(a, b), name
    assert loaded.generation_config.eos_token_id == [2]
    assert json.loads((saved / "config.json").read_text())["architectures"] == ["StepAudio2ForCausalLM"]


def test_a_small_model_has_an_index_too_and_replaces_an_older_save(saved):
    (saved / "tokenizer.json").write_text("{}")
    model = small_model(seed=3).to(torch.bfloat16)
    model.save_pretrained(saved)
    assert [f.name for f in saved.glob("*.safetensors")] == ["model-00001-of-00001.safetensors"]
    assert (saved / "tokenizer.json").exists()
    assert not list(saved.glob(".partial*"))
    loaded = AudioReasoner.from_pretrained(saved)
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_every_wrong_key_is_listed(saved):
    def change(tensors):
        del tensors["encoder.conv1.bias"], tensors["model.norm.weight"]
        tensors["lm_head.weight"] = tensors["lm_head.weight"][:60]
        tensors["adapter.norm.weight"] = torch.ones(3)

    rewrite(saved, change)
    with pytest.raises(ValueError) as caught:
        AudioReasoner.from_pretrained(saved)
    for part in (
        "encoder.conv1.bias is missing",
        "model.norm.weight is missing",
        "adapter.norm.weight is unexpected",
        "lm_head.weight has shape (60, 32) where the config gives (64, 32)",
    ):
        assert part in str(caught.value)


def damage_truncate(folder):
    file = sorted(folder.glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-100])


def damage_shard(folder):
    sorted(folder.glob("*.safetensors"))[1].unlink()


def damage_text(folder):
    sorted(folder.glob("*.safetensors"))[0].write_text("version https://git-lfs.github.com/spec/v1")


def damage_all_weights(folder):
    for file in (*folder.glob("*.safetensors"), folder / checkpoint.INDEX):
        file.unlink()


@pytest.mark.parametrize(
    "damage, message",
    [
        (damage_truncate, "cut short or not a safetensors file"),
        (damage_text, "cut short or not a safetensors file"),
        (damage_shard, "cannot be found; download the checkpoint again"),
        (damage_all_weights, "model.safetensors) in"),
        (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
        (lambda f: (f / "config.json").write_text('{"model_type": '), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "does not hold a JSON object"),
        (lambda f: (f / checkpoint.INDEX).write_text("{"), "cannot be read as JSON"),
    ],
)
def test_a_damaged_folder_gives_one_sentence(saved, damage, message):
    damage(saved)
    with pytest.raises(OSError) as caught:
        AudioReasoner.from_pretrained(saved)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_that_are_no_model(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import errors

    with pytest.raises(FileNotFoundError, match="does not exist"):
        AudioReasoner.from_pretrained(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        AudioReasoner.from_pretrained(tmp_path / "file")

    class Answer:
        headers: dict = {}
        request = None

    for error, message in (
        (errors.GatedRepoError("401", response=Answer()), "is gated: accept its conditions at https://"),
        (errors.RepositoryNotFoundError("404", response=Answer()), "neither a folder here nor a model on the hub"),
        (ConnectionError("no route"), "check the network or give a local folder"),
    ):

        def fail(*args, failure=error, **kwargs):
            raise failure

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(OSError) as caught:
            AudioReasoner.from_pretrained("stepfun-ai/Step-Audio-R1", token=False)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_hub_name_loads_what_was_downloaded(saved, monkeypatch):
    import huggingface_hub

    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    AudioReasoner.from_pretrained("stepfun-ai/Step-Audio-2-mini", revision="v1")
    assert (asked["name"], asked["revision"]) == ("stepfun-ai/Step-Audio-2-mini", "v1")


@pytest.mark.parametrize("fresh", [True, False])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, fresh):
    import resource

    folder = tmp_path / "model"
    if not fresh:
        small_model(seed=5).save_pretrained(folder)
        before = {f.name: f.read_bytes() for f in folder.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a write past this fails, as on a full disk
    try:
        with pytest.raises(OSError) as caught:
            small_model().save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "was not saved" in str(caught.value) and "\n" not in str(caught.value)
    if fresh:
        assert not folder.exists()
    else:
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == before


def test_too_little_space_is_noticed_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: _Usage())
    with pytest.raises(OSError, match="are needed and 0.00 GB are free"):
        small_model().save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class _Usage:
    free = 10


def test_saving_onto_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="give a folder"):
        small_model().save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_an_error_of_the_writer_is_one_sentence(tmp_path):
    with pytest.raises(OSError, match="No space left on device"):
        with checkpoint.staged(tmp_path / "model", 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("kind", ["cpu", "disk"])
@torch.no_grad()
def test_placement_and_offload(saved, tmp_path, kind):
    pytest.importorskip("accelerate")
    model = small_model()
    here = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    away = dict.fromkeys(("encoder", "adapter", "model.layers"), "disk")
    device_map = {"": "cpu"} if kind == "cpu" else here | away
    placed = AudioReasoner.from_pretrained(saved, device_map=device_map, offload_folder=tmp_path / "offload")
    clip, ids = torch.randn(128, 102), prompt([13])
    torch.testing.assert_close(placed(ids, audio=[clip]).logits, model(ids, audio=[clip]).logits)
    out = placed.generate(ids, audio=[clip], max_new_tokens=3, do_sample=False)
    assert out.tolist() == model.generate(ids, audio=[clip], max_new_tokens=3, do_sample=False).tolist()


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_assemble(tmp_path, tied):
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    encoder = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "vocab_size": 100}
    text = Qwen2Config(**small, tie_word_embeddings=tied, rms_norm_eps=1e-5, max_position_embeddings=128)
    decoder = Qwen2ForCausalLM(text)
    decoder.save_pretrained(tmp_path / "qwen")
    audio_model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=encoder, text_config={**small, "model_type": "qwen2"})
    )
    audio_model.save_pretrained(tmp_path / "audio", max_shard_size="200KB")

    assemble(tmp_path / "audio", tmp_path / "qwen", tmp_path / "out", dtype=torch.float32, shard_bytes=6_000_000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    model = AudioReasoner.from_pretrained(tmp_path / "out")
    tower = {k.split("audio_tower.")[1]: v for k, v in audio_model.state_dict().items() if "audio_tower." in k}
    assert torch.equal(model.encoder.blocks[1].attn.query.weight, tower["layers.1.self_attn.q_proj.weight"])
    assert torch.equal(model.encoder.after_norm.weight, tower["layer_norm.weight"])
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(model(ids).logits[..., :100], decoder.eval()(ids).logits)
    assert model.config.vocab_size == 158_720
    assert model.adapter.linear1.weight.std() > 0
    with pytest.raises(ValueError, match="unexpected|missing|not a key"):
        assemble(tmp_path / "qwen", tmp_path / "qwen", tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
