"""Recordings past the context: windows, notes with times, one answer, for any engine."""

import io
import json
import tracemalloc

import numpy as np
import pytest
import soundfile

from earwitness import audio, cli, prompt
from earwitness.engines import Engine, Sampling
from earwitness.engines import long_questions as asked
from earwitness.engines.long_audio import ask_long, fits
from earwitness.engines.long_questions import Note
from earwitness.records import Reply

RATE = audio.SAMPLE_RATE
BEEP, BUZZ = 1000.0, 300.0


def recording(seconds, events, level=0.003, seed=0):
    """Return noise with tones, each (start, seconds, hz)."""
    wave = level * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)
    for start, length, hz in events:
        t = np.arange(round(length * RATE)) / RATE
        first = round(start * RATE)
        wave[first : first + len(t)] += (0.2 * np.sin(2 * np.pi * hz * t)).astype(np.float32)
    return wave


class Listener(Engine):
    """Says yes to a window with at least 0.1 s of 1 kHz; writes notes and answers of its own for other questions."""

    name = "listener"

    def __init__(self, context=4000, says=None):
        self.context, self.asked, self._says = context, [], says

    def generate(self, requests, sampling=None, on_event=None):
        for request in requests:
            waves = prompt.clips(request.messages)
            text = " ".join(part["text"] for part in request.messages[0]["content"] if part["type"] == "text")
            seconds = sum(map(len, waves)) / RATE
            self.asked.append((text, seconds, sampling))
            if self._says is not None:
                yield Reply("", self._says(text, waves), audio_tokens=round(seconds * 12.5))
                continue
            yield Reply("a chain", "yes" if any(map(has_beep, waves)) else "no")


def has_beep(wave):
    step = RATE // 10
    t = np.arange(step) / RATE
    rows = wave[: len(wave) // step * step].reshape(-1, step)
    return bool(len(rows)) and float(np.abs(rows @ np.exp(-2j * np.pi * BEEP * t)).max()) > 0.05 * step


@pytest.mark.parametrize(
    ("question", "kind", "window"),
    [
        ("When is there an alarm?", "times", "Is there an alarm?"),
        ("when did the alarm ring?", "times", "Did the alarm ring?"),
        ("At what times does a dog bark?", "times", "Does a dog bark?"),
        ("How often is there a knock?", "count", "Is there a knock?"),
        ("How many times did the phone ring", "count", "Did the phone ring?"),
        ("Is there a siren?", "presence", "Is there a siren?"),
        ("When did the second alarm ring?", "open", "When did the second alarm ring?"),
        ("Is there a knock after the alarm?", "open", "Is there a knock after the alarm?"),
        ("When you hear the alarm, who speaks?", "open", "When you hear the alarm, who speaks?"),
        ("Who speaks most?", "open", "Who speaks most?"),
        (prompt.TASKS["transcribe"], "transcript", prompt.TASKS["transcribe"]),
    ],
)
def test_what_windows_are_asked(question, kind, window):
    found = asked.window_question(question)
    assert (found.kind, found.text) == (kind, window)


def test_notes_have_times_of_the_recording():
    window = audio.Span(600.0, 660.0)
    text = "0:05 a door\n- 0:30-0:35 two people argue\nrain throughout\n[9:99] later\n\nNothing else."
    notes = asked.notes_of(text, window)
    assert [(n.start, n.end, n.text) for n in notes] == [
        (605, 605, "a door"),
        (630, 630, "two people argue"),
        (600, 660, "rain throughout"),
        (600, 660, "later"),
    ]
    assert asked.notes_of("nothing.", window) == []


def test_what_two_windows_heard_is_one_event():
    notes = [Note(0, 10, "yes"), Note(9, 19, "yes"), Note(30, 31, "yes"), Note(31.5, 32, "yes")]
    assert [(n.start, n.end) for n in asked.merge_events(notes)] == [(9, 10), (30, 31), (31.5, 32)]
    said = [Note(5, 5, "A door closes."), Note(6, 6, "a door closes"), Note(90, 90, "A door closes.")]
    assert [n.start for n in asked.merge_open(said, overlap_seconds=4)] == [5, 90]


def test_words_in_an_overlap_are_written_once():
    parts = ["We meet on Monday, at the station.", "at the station. Bring the tickets", "and the map"]
    notes = [Note(i, i + 1, part) for i, part in enumerate(parts)]
    assert asked.join_transcripts(notes) == "We meet on Monday, at the station. Bring the tickets and the map"


# -- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [16000, 44100])
def test_sounds_of_windows_are_those_of_the_whole(rate, tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.1, 70 * rate).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", noise, rate)
    whole = audio.load_audio(tmp_path / "a.flac")
    opened = audio.Recording(tmp_path / "a.flac")
    assert opened.seconds == len(whole) / RATE and len(opened.levels) == -(-len(whole) // 320)
    spans = opened.windows(9.0)
    assert spans[0].start == 0 and spans[-1].end == opened.seconds
    assert all(b.start < a.end and b.end > a.end for a, b in zip(spans, spans[1:])), "noise has no pause: they overlap"
    assert all(2.0 < span.seconds <= 9.0 for span in spans)
    for span, wave in zip(spans, opened.sounds(spans), strict=True):
        np.testing.assert_array_equal(wave, whole[round(span.start * RATE) : round(span.end * RATE)])


def test_windows_end_in_pauses():
    wave = recording(60, [(at, 1.5, BUZZ) for at in np.arange(1, 59, 2)], level=0.0001)
    spans = audio.Recording(wave).windows(10.0)
    assert len(spans) < 10
    for a, b in zip(spans, spans[1:]):
        assert a.end == b.start and (a.end - 1) % 2 > 1.5, "a cut lies between two tones"


def test_events_stand_out_from_a_background_that_changes():
    events = [(20, 0.5, BEEP), (21, 0.5, BUZZ), (70, 1.0, BEEP), (150, 0.2, BUZZ), (175, 0.5, BUZZ)]
    wave = recording(200, events)
    wave[100 * RATE :] += 0.03 * np.random.default_rng(2).standard_normal(100 * RATE).astype(np.float32)
    found = audio.Recording(wave).windows(10.0, events_only=True)
    assert [round(span.start + 0.2) for span in found] == [20, 21, 70, 150, 175]
    assert all(span.seconds < 1.5 for span in found)
    assert not audio.Recording(recording(60, [])).events


def test_every_source_is_read_twice(tmp_path):
    wave = recording(3, [(1, 0.5, BEEP)])
    audio.write_wav(tmp_path / "a.wav", wave)
    data = (tmp_path / "a.wav").read_bytes()
    pipe = io.BytesIO(data)
    pipe.seekable = lambda: False
    for source in (tmp_path / "a.wav", data, io.BytesIO(data), pipe):
        opened = audio.Recording(source)
        (heard,) = opened.sounds([audio.Span(0, 3)])
        assert len(heard) == len(wave) and len(opened.events) == 1


# -- asking ------------------------------------------------------------------------------------------------------------


def test_times_counts_and_presence():
    wave = recording(400, [(30, 0.5, BEEP), (31, 0.5, BUZZ), (100, 0.5, BUZZ), (333, 0.5, BEEP)])
    opened = audio.Recording(wave)
    engine, done = Listener(), []
    reply = ask_long(engine, opened, "When is there a beep?", on_progress=done.append)
    assert reply.answer == "at 0:00:29 and 0:05:32" and reply.status == "complete"
    assert [round((n.start + n.end) / 2) for n in reply.notes] in ([30, 333], [31, 333])
    assert reply.audio_seconds == opened.seconds and reply.windows == len(engine.asked)
    assert done == sorted(done) and done[-1] == opened.seconds
    assert {text for text, _, _ in engine.asked} == {"Is there a beep?\nOptions: yes, no."}
    assert ask_long(Listener(), opened, "How often is there a beep?").answer == "2"
    assert ask_long(Listener(), opened, "Is there a beep?").answer == "yes, at 0:00:29 and 0:05:32"
    silent = audio.Recording(recording(60, [(20, 0.5, BUZZ)]))
    assert ask_long(Listener(), silent, "When is there a beep?").answer == "never"
    assert ask_long(Listener(), silent, "Is there a beep?").answer == "no"


def test_a_long_window_is_narrowed_and_an_overlap_counted_once():
    # Minutes without a pause: windows of 120 s overlap, and 10 s remain around each beep.
    hum = recording(600, [(0, 600, BUZZ), (71, 0.5, BEEP), (200, 0.5, BEEP), (431, 0.5, BEEP)])
    opened = audio.Recording(hum)
    whole = Listener()
    opened.events[:] = [audio.Span(0.0, opened.seconds)]
    reply = ask_long(whole, opened, "When is there a beep?", window_seconds=120.0)
    middles = [(n.start + n.end) / 2 for n in reply.notes]
    assert np.abs(np.array(middles) - [71, 200, 431]).max() <= 5, middles
    assert max(seconds for _, seconds, _ in whole.asked) > 100


def test_a_reply_that_breaks_off_is_no_testimony():
    class Breaks(Listener):
        def generate(self, requests, sampling=None, on_event=None):
            for _ in requests:
                yield Reply("", "yes", status="truncated")

    opened = audio.Recording(recording(60, [(30, 0.5, BEEP)]))
    assert ask_long(Breaks(), opened, "When is there a beep?").answer == "never"


def test_other_questions_are_answered_from_the_notes():
    def says(text, waves):
        return f"0:01 level {np.abs(waves[0]).max():.1f}" if waves else "the final answer"

    engine, notes = Listener(context=2000, says=says), []
    opened = audio.Recording(recording(90, [(60, 1, BEEP)], level=0.0001))
    reply = ask_long(engine, opened, "Who is loudest?", on_note=lambda note, wave: notes.append((note, len(wave))))
    assert reply.answer == "the final answer"
    final = engine.asked[-1][0]
    assert "Who is loudest?" in final and "[0:00:01] level 0.0" in final and final.count("level 0.2") == 1
    assert sum(len(texts) > 0 for texts, _, _ in engine.asked) == reply.windows + 1
    assert "from 0:00:00 to 0:00:0" in engine.asked[0][0] and len(notes) >= len(reply.notes)
    assert sum(seconds for _, seconds, _ in engine.asked) >= 90, "the windows cover the recording"


def test_too_many_notes_are_shortened_first():
    def says(text, waves):
        return "0:01 " + "something quite long was heard here " * 3 + str(len(waves[0])) if waves else "short"

    engine = Listener(context=1200, says=says)
    reply = ask_long(engine, audio.Recording(recording(120, [], level=0.05)), "What happens?")
    condensing = [text for text, _, _ in engine.asked if "Shorten them" in text]
    assert condensing and all(len(text) / 3 < 1200 for text, _, _ in engine.asked)
    assert reply.answer == "short"


def test_what_cannot_fit_is_an_error_before_anything_is_computed():
    engine = Listener(context=1000)
    opened = audio.Recording(recording(30, [(3, 1, BEEP)]))
    with pytest.raises(ValueError, match=r"^a window of 100 s .* 1,3\d\d tokens, 3\d\d more than listener can read"):
        ask_long(engine, opened, "Is there a beep?", window_seconds=100)
    with pytest.raises(ValueError, match="tokens, .* more than listener can read .* shorter question"):
        ask_long(engine, opened, "Is there a beep? " * 400)
    with pytest.raises(ValueError, match="a window of 1 s is out of range; give 2 to 1200 s"):
        ask_long(engine, opened, "Is there a beep?", window_seconds=1)
    assert not engine.asked


def test_what_fits_is_heard_whole():
    engine = Listener(context=4096)
    assert fits(engine, 200.0, "Is there a beep?") and not fits(engine, 300.0, "Is there a beep?")
    assert fits(engine, 300.0, "Is there a beep?", Sampling(max_new_tokens=64))
    assert not fits(engine, 200.0, "Is there a beep? " * 400)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.flac", "w", RATE, 1) as out:
        for i in range(20):
            out.write(recording(60, [(30, 0.5, BEEP if i == 13 else BUZZ)], seed=i))
    tracemalloc.start()
    reply = ask_long(Listener(), audio.Recording(tmp_path / "long.flac"), "When is there a beep?")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reply.answer == "at 0:13:29"
    assert peak < 25e6, f"{peak / 1e6:.0f} MB for a recording of 77 MB"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def listener(monkeypatch):
    engine = Listener()
    monkeypatch.setattr("earwitness.engines.load", lambda *args, **kwargs: engine)
    return engine


def test_command_listens_in_windows_past_the_context(listener, tmp_path, capsys):
    path = tmp_path / "long.wav"
    audio.write_wav(path, recording(400, [(30, 0.5, BEEP), (333, 0.5, BEEP)]))
    assert cli.main(["ask", str(path), "When is there a beep?", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["answer"] == "at 0:00:29 and 0:05:32" and record["audio_seconds"] == 400
    assert [note["text"] for note in record["notes"]] == ["yes", "yes"]
    assert [round(note["start"]) for note in record["notes"]] == [30, 333]
    assert cli.main(["ask", str(path), "When is there a beep?"]) == 0
    said = capsys.readouterr()
    assert said.out == "at 0:00:29 and 0:05:32\n" and "[0:00:29] yes" in said.err


def test_command_hears_short_clips_whole_unless_told(listener, tmp_path, capsys):
    path = tmp_path / "short.wav"
    audio.write_wav(path, recording(30, [(11, 0.5, BEEP)]))
    assert cli.main(["ask", str(path), "Is there a beep?", "--json"]) == 0
    assert "notes" not in json.loads(capsys.readouterr().out) and listener.asked[-1][1] == 30
    assert cli.main(["ask", str(path), "Is there a beep?", "--json", "--window", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "yes, at 0:00:10"
    assert cli.main(["ask", str(path), str(path), "Is there a beep?", "--window", "5"]) == 1
    assert "--window listens to one recording" in capsys.readouterr().err


# -- decoding in pieces ------------------------------------------------------------------------------------------------


def test_decoding_stops_at_a_cap_whatever_the_header_says(tmp_path):
    # A quarter of an hour of silence in some kilobytes, whose header says that the length is not known.
    soundfile.write(tmp_path / "a.flac", np.zeros(900 * 8000, np.int16), 8000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert len(data) < 100_000
    read = 0
    with pytest.raises(ValueError, match="the audio given as bytes is longer than 60 s; cut it into shorter files"):
        for piece in audio.stream_audio(bytes(data), max_seconds=60):
            read += len(piece)
    assert read < 100 * RATE
    with pytest.raises(ValueError, match="longer than 60 s"):
        audio.load_audio(bytes(data), max_seconds=60)
    assert len(audio.load_audio(bytes(data))) == 900 * RATE
    with pytest.raises(ValueError, match="longer than 0.5 s"):
        audio.load_audio(np.zeros(RATE, np.float32), max_seconds=0.5)


def test_many_channels_do_not_multiply_the_memory(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((20_000, 500), np.int16), 8000)
    tracemalloc.start()
    assert len(audio.load_audio(tmp_path / "a.wav")) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
