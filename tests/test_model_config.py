"""Both published config shapes, what is refused, the presets and the Auto classes."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from model_fixtures import GOLDEN, small_config, small_model

from earwitness.model import AudioReasoner, EarwitnessConfig, FlatEarwitnessConfig, presets


def published(shape: str) -> dict:
    return json.loads((GOLDEN / f"config_{shape}.json").read_text())


@pytest.mark.parametrize("shape, kind", [("nested", EarwitnessConfig), ("flat", FlatEarwitnessConfig)])
def test_both_shapes_are_read_and_written_back(shape, kind, tmp_path):
    fields = published(shape)
    config = EarwitnessConfig.from_dict(copy.deepcopy(fields))
    assert type(config) is kind
    assert (config.text_config.num_key_value_heads, config.text_config.rms_norm_eps) == (2, 1e-5)
    assert config.text_config.rope_parameters["rope_theta"] == 1e6
    assert (config.audio.state, config.audio.adapter_hidden, config.audio.output) == (64, 2048, 48)
    assert (config.audio_start_token_id, config.audio_end_token_id) == (151_688, 151_689)
    assert config.audio_patch_token_id == 151_690
    assert config.eos_token_ids == [151_643, 151_645, 151_665]
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    written.pop("transformers_version")
    assert written == fields
    assert type(EarwitnessConfig.from_pretrained(tmp_path)) is kind


def test_both_shapes_say_the_same():
    nested, flat = (EarwitnessConfig.from_dict(published(s)) for s in ("nested", "flat"))
    assert nested.text_config.to_dict() == flat.text_config.to_dict()
    assert nested.audio == flat.audio


def test_keys_of_the_published_files_pass():
    fields = published("nested")
    fields |= {"auto_map": {"AutoConfig": "configuration_step_audio_2.StepAudio2Config"}, "use_cache": True}
    fields |= {"use_sliding_window": False, "sliding_window": 2048, "max_window_layers": None}
    fields["text_config"] |= {"max_seq_len": 65536, "bos_token_id": None, "initializer_range": 0.02}
    EarwitnessConfig.from_dict(fields)


def test_groups_stand_for_key_value_heads():
    fields = published("flat")
    del fields["num_key_value_heads"]
    assert EarwitnessConfig.from_dict(fields).text_config.num_key_value_heads == 2


@pytest.mark.parametrize(
    "part, change, message",
    [
        ("text_config", {"rms_norm_eps": None}, "lacks 'rms_norm_eps'"),
        ("text_config", {"rope_theta": None}, "lacks 'rope_theta'"),
        ("text_config", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "only None is implemented"),
        ("text_config", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "only the default kind"),
        ("text_config", {"hidden_act": "gelu"}, "only 'silu' is implemented"),
        ("text_config", {"num_attention_groups": 3}, "they must be equal"),
        ("text_config", {"num_attention_heads": 5}, "do not divide"),
        ("text_config", {"use_sliding_window": True}, "only False is implemented"),
        ("text_config", {"tie_word_embeddings": True}, "only False is implemented"),
        ("text_config", {"qk_norm": True}, "does not understand: qk_norm"),
        ("audio_encoder_config", {"kernel_size": 7}, "only 3 is implemented"),
        ("audio_encoder_config", {"adapter_stride": 4}, "only 2 is implemented"),
        ("audio_encoder_config", {"n_mels": 80}, "only 128 is implemented"),
        ("audio_encoder_config", {"llm_dim": 64}, "they must be equal"),
        ("audio_encoder_config", {"n_audio_head": 7}, "not a multiple"),
        ("audio_encoder_config", {"n_audio_layer": None}, "lacks 'n_audio_layer'"),
        (None, {"audio_encoder_config": None}, "lacks 'audio_encoder_config'"),
        (None, {"vision_config": {}}, "does not understand: vision_config"),
        (None, {"tie_word_embeddings": True}, "only False is implemented"),
        (None, {"model_type": "qwen2_audio"}, "not one of step_audio_2, step_audio_qwen2"),
    ],
)
def test_what_is_not_understood_is_refused(part, change, message):
    fields = published("nested")
    (fields[part] if part else fields).update(change)
    with pytest.raises(ValueError) as caught:
        EarwitnessConfig.from_dict(fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_own_vocabulary_must_name_its_audio_ids():
    fields = published("flat")
    fields["vocab_size"] = 2048
    with pytest.raises(ValueError, match="audio_start_token_id"):
        EarwitnessConfig.from_dict(fields)


def test_published_sizes_are_exact():
    # reference: 33.487 B and 8.315 B; the encoder and adaptor counts are the published ones
    for name, total, adaptor in (("r1", 33_487_033_600, 18_030_848), ("mini", 8_315_179_264, 14_883_584)):
        with torch.device("meta"):
            model = AudioReasoner(presets.preset(name))
        count = {part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()}
        assert sum(count.values()) == total
        assert (count["encoder"], count["adapter"]) == (636_968_960, adaptor)


def test_tiny_preset():
    model = AudioReasoner(presets.preset("tiny"))
    assert sum(p.numel() for p in model.parameters()) <= 11_500_000
    assert model.generation_config.eos_token_id == [2]
    with pytest.raises(ValueError, match="not one of tiny, mini, r1"):
        presets.preset("huge")


def test_tiny_preset_takes_ids_from_the_tokenizer():
    from earwitness.model.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["which note is higher"], 400)
    config = presets.preset("tiny", tokenizer=tokenizer)
    assert config.vocab_size == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(config.audio_patch_token_id) == "<audio_patch>"
    assert tokenizer.convert_ids_to_tokens(config.eos_token_ids) == ["<|EOT|>"]


@pytest.mark.parametrize("shape", ["nested", "flat"])
def test_auto_classes_need_no_remote_code(shape, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = small_config()
    fields = config.to_dict()
    if shape == "flat":
        text = fields.pop("text_config")
        fields = {**fields, **text, "model_type": "step_audio_qwen2"}
        config = EarwitnessConfig.from_dict(copy.deepcopy(fields))
    model = small_model()
    model.config = config
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    # as published: the files that auto_map names are not even there
    written["auto_map"] = {
        "AutoConfig": "configuration_step_audio_2.StepAudio2Config",
        "AutoModelForCausalLM": "modeling_step_audio_2.StepAudio2ForCausalLM",
    }
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(config)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager", audio_rule="reference")
    assert type(loaded) is AudioReasoner
    assert (loaded.audio_rule, loaded.model.config._attn_implementation) == ("reference", "eager")
    ids = torch.tensor([[10, 11, 12]])
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
