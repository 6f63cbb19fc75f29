"""The golden arrays, under both rules and both config shapes, and transformers' Qwen2-Audio encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_fixtures import golden_cases, small_config, waves, write_golden

from earwitness import audio
from earwitness.model import AudioReasoner
from earwitness.model.assemble import encoder_key
from earwitness.model.encoder import AudioEncoder

PREFIX = {"reference": "", "serving": "serving_"}


@pytest.fixture(scope="module")
def cases():
    return golden_cases()


@pytest.fixture(scope="module", params=["nested", "flat"])
def folder(request, tmp_path_factory):
    return write_golden(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module", params=["reference", "serving"])
def model(request, folder):
    return AudioReasoner.from_pretrained(folder, dtype=torch.float32, audio_rule=request.param)


@torch.no_grad()
def test_features(model, cases):
    clips = waves(cases)
    states, features = model.encode_frames(clips), model.encode_audio(clips)
    for i, clip in enumerate(clips):
        np.testing.assert_allclose(audio.log_mel(clip), cases[f"clip{i}_log_mel"], atol=1e-4)
        if model.audio_rule == "reference":
            np.testing.assert_allclose(states[i], cases[f"clip{i}_encoder"], atol=1e-4)
        golden = cases[f"{PREFIX[model.audio_rule]}clip{i}_adapter"]
        assert features[i].shape == golden.shape
        assert len(features[i]) == audio.audio_token_count(len(clip), rule=model.audio_rule)
        np.testing.assert_allclose(features[i], golden, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("i", range(4))
def test_logits_and_greedy(model, cases, i):
    name = f"{PREFIX[model.audio_rule]}clip{i}"
    ids, clip = torch.from_numpy(cases[f"{name}_input_ids"])[None], waves(cases)[i]
    _same_top(model(ids, audio=[clip]).logits[0, -1], cases, name)
    for use_cache in (True, False):
        out = model.generate(ids, audio=[clip], max_new_tokens=12, do_sample=False, use_cache=use_cache)
        assert out[0, ids.shape[1] :].tolist() == cases[f"{name}_greedy_ids"].tolist()


@torch.no_grad()
def test_four_clips_in_one_prompt(model, cases):
    if model.audio_rule == "reference":
        ids = torch.from_numpy(cases["batch_input_ids"])[None]
        _same_top(model(ids, audio=waves(cases)).logits[0, -1], cases, "batch")


def _same_top(logits, cases, name):
    top = logits.topk(64)
    assert top.indices.tolist() == cases[f"{name}_last_logits_top64_ids"].tolist()
    np.testing.assert_allclose(top.values, cases[f"{name}_last_logits_top64"], atol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("frames", [100, 3000])
def test_qwen2_audio_encoder_agrees(frames):
    from transformers import Qwen2AudioEncoderConfig
    from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

    torch.manual_seed(0)
    theirs = Qwen2AudioEncoder(
        Qwen2AudioEncoderConfig(
            d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128, max_source_positions=1500
        )
    ).eval()
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.2)
    ours = AudioEncoder(small_config()).eval()
    ours.load_state_dict({encoder_key(k).removeprefix("encoder."): v for k, v in theirs.state_dict().items()})
    mel_1MT = torch.zeros(1, 128, 3000)  # their window is always 30 s
    mel_1MT[:, :, :frames] = torch.randn(1, 128, frames)
    hidden = (frames + 1) // 2
    mask_11SS = torch.where(torch.arange(1500) < hidden, 0.0, -torch.inf).expand(1, 1, 1500, 1500)
    expected = theirs(mel_1MT, attention_mask=mask_11SS).last_hidden_state[:, : hidden // 2]
    # Their convolutions see the zero-padded window, so the clip's edge differs unless the window is full.
    edge = 0 if frames == 3000 else 1
    got = ours.forward_padded(mel_1MT[:, :, : frames + edge], torch.tensor([frames + edge]), masked_frames=edge)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
