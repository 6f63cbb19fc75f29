"""Measurements agree with known settings, say how sure they are, and are made only when asked for."""

import argparse
import json
import sys
import wave

import numpy as np
import pytest
import recordings
import synths

from earwitness.acoustics import Measurements, note_name, same_pulse
from earwitness.acoustics.quantity import Quantity
from earwitness.commands import measure

pytest.importorskip("parselmouth")


@pytest.fixture(scope="module")
def checks():
    return recordings.measure()


def test_twenty_recordings_agree_with_their_settings(checks):
    assert len({c.recording for c in checks}) == 20
    assert [c for c in checks if not c.holds] == []


def test_recordings_of_installed_programs_agree():
    checks = recordings.installed()
    if not checks:
        pytest.skip("neither flite nor fluidsynth is installed")
    assert [c for c in checks if not c.holds] == []


def test_wrong_settings_are_noticed(checks):
    import dataclasses

    numbers = [c for c in checks if isinstance(c.expected, float)]
    moved = [dataclasses.replace(c, expected=c.expected + 2 * c.tolerance + 1e-3) for c in numbers]
    assert sum(c.holds for c in moved) < 0.3 * len(moved)


def test_only_what_is_asked_for_is_measured(monkeypatch):
    found = Measurements(synths.place([(0.1, synths.tone(300, 0.5))], 0.8))
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    monkeypatch.setitem(sys.modules, "librosa", None)
    assert found.num_events.number == 1
    assert found.level().unit == "dB"
    with pytest.raises(ModuleNotFoundError, match="parselmouth"):
        _ = found.pitch


def test_a_measurement_is_made_once():
    found = Measurements(synths.place([(0.1, synths.tone(300, 0.5))], 0.8))
    assert found.pitch is found.pitch
    assert found.centroid(0.1, 0.4) is found.centroid(0.1, 0.4)


@pytest.mark.parametrize(
    "wave", [np.zeros((2, 100), np.float32), np.zeros(0, np.float32), np.zeros(100, np.int16), np.full(100, np.nan)]
)
def test_what_is_no_waveform_is_refused(wave):
    with pytest.raises(ValueError, match="load_audio"):
        Measurements(wave)


@pytest.mark.parametrize("samples", [1, 80, 1000, 16_000])
def test_silence_and_tiny_clips_are_measured_without_error(samples):
    from earwitness.acoustics import summary

    for clip in (np.zeros(samples, np.float32), synths.noise(samples / 16_000, -20).astype(np.float32)):
        found = Measurements(clip)
        assert all(isinstance(q, Quantity) for q in summary.quantities(found))
        json.dumps([q.to_json() for q in summary.quantities(found)])
        json.dumps(summary.events(found))
    assert Measurements(np.zeros(samples, np.float32)).num_notes.number == 0


def test_doubtful_counts_have_an_interval():
    clear, _ = synths.row([synths.tone(330, 0.3) for _ in range(3)], gap=0.3)
    assert (Measurements(clear).num_events.low, Measurements(clear).num_events.high) == (3, 3)
    doubtful, _ = synths.row([synths.tone(330, 0.3) for _ in range(3)], gap=0.09)
    count = Measurements(doubtful).num_events
    assert count.low < count.high


def test_loudness_moves_no_pitch_and_gain_moves_no_count():
    clip, _ = synths.row([synths.pluck(synths.hz_of(m), 0.3) for m in (60, 64, 67)])
    loud, soft = Measurements(clip), Measurements(clip * np.float32(0.05))
    assert [n.name for n in loud.notes] == [n.name for n in soft.notes] == ["C4", "E4", "G4"]
    assert loud.level().number - soft.level().number == pytest.approx(26.0, abs=0.1)


def test_two_speakers_of_distant_pitch_keep_their_own():
    low, high = recordings.klatt([(0, 95), (1.2, 95)]), recordings.klatt([(0, 240), (1.2, 240)])
    found = Measurements(np.concatenate([low, high]))
    assert found.voice_pitch(0, 1.6).number == pytest.approx(95, rel=0.04)
    assert found.voice_pitch(1.6, 3.2).number == pytest.approx(240, rel=0.04)


def test_names_and_pulses():
    assert [note_name(hz) for hz in (440, 261.63, 277.2, 987.8)] == ["A4", "C4", "C#4", "B5"]
    assert same_pulse(144, 72, 0.02) and not same_pulse(100, 72, 0.02)


def test_key_of_a_tune_and_none_of_noise():
    tune = (0, 4, 7, 12, 11, 9, 7, 5, 4, 2, 0, 7, 0, 4, 0)
    clip, _ = synths.row([synths.tone(synths.hz_of(62 + s), 0.3, synths.PIPE) for s in tune], gap=0.03)
    assert Measurements(clip).key.value == "D major"
    assert Measurements(synths.noise(4, -20).astype(np.float32)).key.value is None


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path):
    samples, _ = synths.row([synths.tone(440, 0.4), synths.tone(660, 0.4)])
    with wave.open(str(tmp_path / "clip.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(tmp_path / "clip.wav")


def run(module, *argv):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.run(parser.parse_args([str(a) for a in argv]))


def test_command_prints_json_and_a_table(clip, capsys):
    assert run(measure, clip, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    notes = [e["pitch"] for e in record["events"] if e["what"] == "note"]
    assert notes == ["A4", "E5"]
    assert {q["name"]: q["value"] for q in record["measurements"]}["notes"] == 2
    assert all({"unit", "start", "end", "low", "high"} <= q.keys() for q in record["measurements"])
    assert run(measure, clip) == 0
    out = capsys.readouterr().out
    assert "A4" in out and "spectral centroid" in out


def test_command_draws_a_picture(clip, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(measure, clip, "--plot", tmp_path / "a.png") == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="picture format"):
        run(measure, clip, "--plot", tmp_path / "a.nonsense")
