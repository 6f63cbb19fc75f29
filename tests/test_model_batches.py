"""What a clip gives must not depend on what is encoded, answered or trained beside it."""

from __future__ import annotations

import pytest
import torch
from model_fixtures import prompt, small_model

LENGTHS = [1, 2, 3, 4, 7, 12, 13, 14, 15, 16, 50, 51, 333, 420, 501, 502, 503, 2999, 3000]


def mels(lengths):
    torch.manual_seed(1)
    return [torch.randn(128, n) for n in lengths]


@torch.no_grad()
@pytest.mark.parametrize("rule", ["serving", "reference"])
def test_encoding_does_not_depend_on_batch_mates(rule):
    model = small_model()
    model.audio_rule = rule
    clips = mels([n for n in LENGTHS if n > 2])
    together = model.encode_audio(clips)
    for clip, features in zip(clips, together):
        torch.testing.assert_close(model.encode_audio([clip])[0], features, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("rule", ["serving", "reference"])
def test_forced_padding_changes_nothing(rule):
    """All clips in one padded batch, as the trainer calls it, give what each gives alone."""
    model = small_model()
    masked = {"serving": 0, "reference": 2}[rule]
    clips = mels([n for n in LENGTHS if n > 2])
    lengths = torch.tensor([c.shape[1] for c in clips])
    batch = torch.zeros(len(clips), 128, int(lengths.max()))
    for row, clip in zip(batch, clips):
        row[:, : clip.shape[1]] = clip
    out = model.encoder.forward_padded(batch, lengths, masked)
    for clip, row in zip(clips, out):
        alone = model.encoder.forward_padded(clip[None], torch.tensor([clip.shape[1]]), masked)[0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_adaptor_sees_the_edge_of_odd_clips():
    model = small_model()
    states = [torch.randn(n, 32) for n in (5, 8, 1)]
    for row, s in zip(model.adapt(states), states):
        torch.testing.assert_close(row, model.adapter(s[None])[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_tokens_per_clip():
    model = small_model()
    for frames in LENGTHS:
        for rule, masked in (("serving", 0), ("reference", 2)):
            model.audio_rule = rule
            T = max(0, frames - masked)
            assert len(model.encode_audio([torch.zeros(128, frames)])[0]) == ((T + 1) // 2 // 2 + 1) // 2


@torch.no_grad()
def test_cached_states_and_features_give_the_same_logits():
    model = small_model()
    clips = mels([100, 77])
    features = model.encode_audio(clips)
    ids = prompt([len(f) for f in features])
    expected = model(ids, audio=clips).logits
    torch.testing.assert_close(model(ids, features=features).logits, expected)
    torch.testing.assert_close(model(ids, audio_states=model.encode_frames(clips)).logits, expected)
    assert (expected - model(ids, features=[f + 1 for f in features]).logits).abs().max() > 1e-3


@torch.no_grad()
def test_padded_rows_generate_what_they_generate_alone():
    model = small_model()
    clips = mels([100, 52])
    rows = [prompt([len(f)])[0] for f in model.encode_audio(clips)]
    width = max(len(r) for r in rows)
    ids = torch.stack([torch.nn.functional.pad(r, (width - len(r), 0)) for r in rows])
    mask = torch.stack([torch.nn.functional.pad(torch.ones_like(r), (width - len(r), 0)) for r in rows])
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    together = model.generate(ids, audio=clips, attention_mask=mask, **options)[:, width:]
    for row, clip, new in zip(rows, clips, together):
        assert model.generate(row[None], audio=[clip], **options)[0, len(row) :].tolist() == new.tolist()
    beams = model.generate(ids, audio=clips, attention_mask=mask, num_beams=2, **options)
    assert beams.shape == (2, width + 6)


def test_gradient_reaches_every_part():
    model = small_model().train()
    clip = mels([100])
    ids = prompt([13])
    model(ids, audio=clip, labels=ids).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "counts, clips, message",
    [
        ([12], [102], "has 13 audio tokens and its place in the prompt has 12"),
        ([13, 13], [102], "2 places for audio (26 placeholders) and 1 clips (13 audio tokens)"),
        ([], [102], "0 places for audio (0 placeholders) and 1 clips"),
        ([13], [], "13 audio placeholders and 0 audio tokens"),
        ([14, 12], [102, 102], "clip 1 has 13 audio tokens"),
    ],
)
def test_placeholders_that_do_not_fit_are_an_error(counts, clips, message):
    with pytest.raises(ValueError) as caught:
        small_model()(prompt(counts), audio=mels(clips))
    assert message in str(caught.value)


def test_a_clip_longer_than_the_encoder_is_an_error():
    with pytest.raises(ValueError, match="split it into chunks"):
        small_model().encode_audio([torch.zeros(128, 3001)])


def test_two_sources_of_audio_are_an_error():
    with pytest.raises(ValueError, match="exclude each other"):
        small_model()(prompt([13]), audio=mels([102]), features=[torch.zeros(13, 32)])
