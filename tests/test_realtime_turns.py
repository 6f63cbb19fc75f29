"""Turns from scripted probabilities, and Silero VAD on synthetic voices."""

import subprocess
import sys

import numpy as np
import pytest

from earwitness.realtime.configuration import default_session, updated
from earwitness.realtime.turns import FRAME_MS, TurnConfig, Turns


def play(turns: Turns, script: list[tuple[float, int]], **flags) -> list[tuple[str, int]]:
    """Return (kind, milliseconds of sound) for probabilities that last so many milliseconds each."""
    found = []
    for probability, length in script:
        for _ in range(-(-length // FRAME_MS)):
            found += [(turn.kind, turns.sample // 16) for turn in turns.step(probability, **flags)]
    return found


def test_a_turn_has_a_soft_and_a_hard_end():
    turns = Turns(TurnConfig())
    assert play(turns, [(0.1, 320), (0.9, 960), (0.1, 640)]) == [
        ("started", 384),
        ("soft", 1280 + 96),
        ("stopped", 1280 + 320),
    ]
    assert turns.state == "quiet"


def test_the_turn_begins_with_its_prefix():
    turns = Turns(TurnConfig(prefix_ms=100))
    for _ in range(10):
        assert not turns.step(0.0)
    turns.step(0.9)
    assert [t.sample for t in turns.step(0.9)] == [320 * 16 - 1600]
    early = Turns(TurnConfig(prefix_ms=5000))
    early.step(0.9)
    assert early.step(0.9)[0].sample == 0


def test_speech_after_a_soft_end_revises_and_a_blip_does_not():
    pause = play(Turns(TurnConfig()), [(0.9, 640), (0.1, 224), (0.9, 320), (0.1, 320)])
    assert [kind for kind, _ in pause] == ["started", "soft", "revised", "soft", "stopped"]
    blip = play(Turns(TurnConfig()), [(0.9, 640), (0.1, 224), (0.9, 32), (0.1, 320)])
    assert blip[1:] == [("soft", 736), ("stopped", 640 + 224 + 32 + 320)]


def test_inner_pauses_below_the_hard_end_never_end_a_turn():
    script = [(0.9, 320), (0.1, 288)] * 20
    assert "stopped" not in dict(play(Turns(TurnConfig()), script))


def test_once_begun_speech_goes_on_at_a_lower_bar():
    assert play(Turns(TurnConfig()), [(0.4, 960)]) == []
    assert [k for k, _ in play(Turns(TurnConfig()), [(0.6, 96), (0.4, 3200)])] == ["started"]


def test_a_click_is_no_turn():
    assert play(Turns(TurnConfig()), [(0.1, 96), (0.9, 32), (0.1, 320)] * 5) == []


def test_a_backchannel_holds_and_resumes_and_longer_speech_interrupts():
    turns = Turns(TurnConfig())
    assert play(turns, [(0.1, 320), (0.9, 320), (0.1, 640)], playing=True) == [("hold", 384), ("resume", 640 + 192)]
    assert play(turns, [(0.9, 640)], playing=True) == [("hold", 1280 + 64), ("started", 1280 + 384)]
    halting = play(Turns(TurnConfig()), [(0.9, 192), (0.1, 96), (0.9, 192)], playing=True)
    assert halting == [("hold", 64), ("started", 480)]


def test_an_answer_that_ends_while_held_leaves_the_turn_to_the_speaker():
    turns = Turns(TurnConfig())
    assert play(turns, [(0.9, 96)], playing=True) == [("hold", 64)]
    assert play(turns, [(0.9, 32)], playing=False) == [("started", 128)]


def test_a_turn_has_a_greatest_length():
    ends = [at for kind, at in play(Turns(TurnConfig(longest_ms=3200)), [(0.9, 9600)]) if kind == "stopped"]
    assert len(ends) >= 2 and ends[0] == 3200


def test_idle_time_counts_only_while_waiting():
    turns = Turns(TurnConfig(idle_ms=1024))
    assert play(turns, [(0.0, 2048)]) == []
    assert play(turns, [(0.0, 992), (0.9, 32), (0.0, 992)], waiting=True) == []
    assert [kind for kind, _ in play(turns, [(0.0, 2048)], waiting=True)] == ["idle", "idle"]


def test_thresholds_come_from_the_session():
    detection = default_session("s", "m")["audio"]["input"]["turn_detection"]
    config = TurnConfig.of({**detection, "silence_duration_ms": 64, "idle_timeout_ms": 5000})
    assert (config.hard_ms, config.soft_ms, config.prefix_ms, config.idle_ms) == (64, 64, 300, 5000)
    semantic = updated(default_session("s", "m"), {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    assert TurnConfig.of(semantic["audio"]["input"]["turn_detection"], interrupt_ms=500).interrupt_ms == 500
    with pytest.raises(ValueError, match="interrupt_ms is 32"):
        TurnConfig(interrupt_ms=32)
    with pytest.raises(ValueError, match="soft_ms is 0"):
        TurnConfig(soft_ms=0)


def test_any_probabilities_keep_the_order_of_events():
    follows = {
        "quiet": {"started": "turn", "hold": "held", "idle": "quiet"},
        "held": {"started": "turn", "resume": "quiet"},
        "turn": {"soft": "soft", "stopped": "quiet"},
        "soft": {"revised": "turn", "stopped": "quiet"},
    }
    for seed in range(40):
        rng = np.random.default_rng(seed)
        turns, state, playing = Turns(TurnConfig(longest_ms=4000, idle_ms=500)), "quiet", False
        level = 0.0
        for _ in range(300):
            if rng.random() < 0.2:
                level = float(rng.random())
            if rng.random() < 0.05:
                playing = not playing
            for turn in turns.step(level, playing, not playing):
                assert turn.kind in follows[state], (seed, state, turn)
                state = follows[state][turn.kind]


@pytest.fixture(scope="module")
def silero():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("espeakng_loader")
    from earwitness.realtime.vad import Silero

    return Silero


def test_silero_hears_where_a_voice_begins_and_ends(silero):
    from earwitness.soundworld.voices import synthesise

    for voice in ("en-US+m3",):
        speech, _ = synthesise("How many apples does Mary have after lunch?", voice)
        rng = np.random.default_rng(0)
        wave = np.concatenate([np.zeros(8000, np.float32), speech, np.zeros(16000, np.float32)])
        wave = wave + 1e-4 * rng.standard_normal(len(wave)).astype(np.float32)
        detector, turns, found = silero(), Turns(TurnConfig(prefix_ms=0)), []
        for start in range(0, len(wave) - 511, 512):
            found += [(t.kind, t.sample / 16000) for t in turns.step(detector(wave[start : start + 512]))]
        end = 0.5 + len(speech) / 16000
        assert [kind for kind, _ in found if kind != "soft" and kind != "revised"] == ["started", "stopped"]
        assert abs(found[0][1] - 0.5) < 0.15 and 0.25 < found[-1][1] - end < 0.6


def test_silero_streams_are_apart_and_start_anew(silero):
    noise = np.random.default_rng(0).standard_normal((20, 512)).astype(np.float32) * 0.1
    one, two = silero(), silero()
    alone = [one(frame) for frame in noise]
    one.reset()
    mixed = []
    for frame in noise:
        mixed.append(one(frame))
        two(frame[::-1])
    assert mixed == alone and all(0 <= p <= 1 for p in alone)


def test_silero_loads_neither_its_package_nor_torch(silero):
    code = (
        "import sys, numpy; from earwitness.realtime.vad import Silero; Silero()(numpy.zeros(512, 'f4'));"
        "print([m for m in ('torch', 'torchaudio', 'silero_vad') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
