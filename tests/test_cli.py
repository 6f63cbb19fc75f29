"""The command line: results on stdout, one sentence on stderr for what goes wrong, exit codes 0, 1 and 2."""

import csv
import http.server
import io
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time
import wave

import numpy as np
import pytest

from earwitness import cli
from earwitness.commands import ask, progress
from earwitness.commands.answer_file import FIELDS, AnswerFile
from earwitness.engines import Engine, Event
from earwitness.records import Reply

QUESTION = "Which note is higher?"


def write_wav(path, seconds=1.0, hz=440.0):
    samples = 0.2 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(path)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small random model in the published layout, with a tokenizer."""
    import torch

    from earwitness.model import AudioReasoner, EarwitnessConfig
    from earwitness.model.presets import preset
    from earwitness.model.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([QUESTION, "the first note is lower than the second"] * 20, 320)
    fields = preset("tiny", tokenizer).to_dict()
    fields["text_config"] |= {"num_hidden_layers": 1, "max_position_embeddings": 256}
    fields["audio_encoder_config"]["n_audio_layer"] = 1
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    model = AudioReasoner(EarwitnessConfig.from_dict(fields))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clip(tmp_path):
    return write_wav(tmp_path / "clip.wav")


@pytest.fixture
def run(capsys, model_folder):
    """Run the command line with the small random model; return (exit code, stdout, stderr)."""

    def call(*argv, model=None):
        argv = [str(a) for a in argv]
        if argv[0] == "ask" and model is not False and "--model" not in argv:
            argv += ["--model", str(model or model_folder), "--max-tokens", "8"]
        capsys.readouterr()
        try:
            code = cli.main(argv)
        except SystemExit as left:
            code = left.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def assert_one_sentence(err, *words):
    lines = [line for line in err.splitlines() if line.startswith("earwitness: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert str(word) in lines[0], lines[0]


# ---- the parser ------------------------------------------------------------------------------------------------------


def test_help_is_fast():
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "earwitness.cli", "-h"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.3


@pytest.mark.parametrize("command", [[name] for name in cli.COMMANDS] + [["soundworld", a] for a in ("write", "show")])
def test_help_has_an_example(run, command):
    code, out, _ = run(*command, "-h", model=False)
    assert code == 0
    assert "earwitness " + " ".join(command) in out.split("example")[1]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["ask"],
        ["no-such-command"],
        ["ask", "Which note is higher?"],
        ["ask", "{clip}"],
        ["ask", "{clip}", "{clip}"],
        ["ask", "{clip}", "q", "--no-such-option"],
        ["ask", "{clip}", "q", "--think-budget", "3", "--no-think"],
        ["ask", "{clip}", "q", "--out", "a.csv"],
        ["ask", "{folder}", "q", "--out", "a.txt"],
        ["ask", "{folder}"],
        ["ask", "{folder}", "q", "--verify"],
        ["ask", "{clip}", "{clip}", "q", "--verify"],
        ["train", "no-such-stage", "--config", "c"],
        ["soundworld"],
    ],
)
def test_wrong_usage_is_2(run, clip, tmp_path, argv):
    code, out, err = run(*[a.format(clip=clip, folder=tmp_path) for a in argv] or ["--debug"], model=False)
    assert code == 2 and out == ""
    assert "Traceback" not in err


def test_a_file_without_a_question_says_so(run, clip):
    _, _, err = run("ask", clip, model=False)
    assert f"{clip} is a file and no question follows it" in err


def test_debug_shows_the_traceback(clip, tmp_path):
    with pytest.raises((ValueError, OSError)):
        cli.main(["ask", str(tmp_path / "absent.wav"), QUESTION, "--debug"])


# ---- one question ----------------------------------------------------------------------------------------------------


def test_ask_json(run, clip):
    code, out, err = run("ask", clip, "--json", QUESTION, "--think-budget", "3")
    reply = json.loads(out)
    assert tuple(reply) == ask.JSON_FIELDS
    assert reply["audio_seconds"] == 1.0 and reply["audio_tokens"] == 13
    assert code == (0 if reply["answer"] else 1)
    assert "Traceback" not in err


def test_ask_streams_the_chain_to_stderr_and_the_answer_to_stdout(run, clip):
    _, reply, _ = run("ask", clip, QUESTION, "--json", "--think-budget", "4", "--temperature", "1", "--seed", "3")
    code, out, err = run("ask", clip, QUESTION, "--think-budget", "4", "--temperature", "1", "--seed", "3")
    reply = json.loads(reply)
    assert out.strip() == reply["answer"]
    assert reply["thinking"].strip() in err
    assert ask._DIM not in err  # not a terminal


def test_a_terminal_sees_the_chain_dimmed_and_no_control_characters(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = ask._Stream()
    for kind, text in (("thinking", "a\x1b[31m"), ("thinking", " b"), ("answer", "fir"), ("answer", "st\x07")):
        stream(Event(0, kind, text))
    stream.finish(Reply("a b", "first\x07"))
    assert err.getvalue() == ask._DIM + "a[31m b" + ask._PLAIN + "\n"
    assert out.getvalue() == "first\n"


class Says(Engine):
    """An engine that says two sentences about two notes, in pieces."""

    pieces = ("Note 1 is A3. The second note is ", "lower than the first. I am", " sure")

    def generate(self, requests, sampling=None, on_event=None):
        for piece in self.pieces if on_event else ():
            on_event(Event(0, "thinking", piece))
        yield Reply(thinking="".join(self.pieces), answer="first")


def test_claims_are_marked_while_they_stream(run, monkeypatch):
    monkeypatch.setattr(ask, "load_engine", lambda args: Says())
    two_notes = pathlib.Path(__file__).parent.parent / "examples" / "two_notes.wav"
    code, out, err = run("ask", two_notes, QUESTION, "--verify")
    assert code == 0 and out.strip() == "first"
    assert "Note 1 is A3 ✓. The second note is lower than the first ✗. I am sure\n" in err
    assert "claims: 1 verified ✓, 1 refuted ✗, 0 uncheckable ?\n  'The second note is lower than" in err
    reply = json.loads(run("ask", two_notes, QUESTION, "--verify", "--json")[1])
    assert [claim["outcome"] for claim in reply["claims"]] == ["verified", "refuted"]
    assert tuple(reply) == (*ask.JSON_FIELDS, "claims")


def test_interruption_and_surprises(run, clip, monkeypatch):
    for error, code, words in ((KeyboardInterrupt(), 130, "stopped"), (RuntimeError("odd"), 1, "RuntimeError: odd")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(ask, "_ask_one", fail)
        got, _, err = run("ask", clip, QUESTION)
        assert got == code
        assert_one_sentence(err, words)


def test_a_missing_extra_is_named():
    assert "earwitness[world]" in cli.sentence(ModuleNotFoundError("x", name="espeakng_loader"))
    assert "no such file" in cli.sentence(FileNotFoundError(2, "No such file or directory", "a.wav"))


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_the_time_left_on_stderr(capsys, monkeypatch, terminal):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress.Progress(10, "clips") as shown:
        shown.advance()
        assert capsys.readouterr().err == ""  # nothing for what is over at once
        now[0] = 30.0
        shown.advance(4, note="7 s of audio")
    captured = capsys.readouterr()
    assert captured.out == ""
    if not terminal:
        assert captured.err == "5 of 10 clips, 30 s left, 7 s of audio\n"


def test_ask_several_clips_in_one_turn(run, clip, tmp_path):
    other = write_wav(tmp_path / "other.wav", 2.0)
    _, out, _ = run("ask", clip, other, QUESTION, "--json", "--no-think")
    assert json.loads(out)["audio_seconds"] == 3.0


def test_ask_task_needs_no_question(run, clip):
    code, out, _ = run("ask", clip, "--task", "caption", "--dry-run")
    assert code == 0
    assert "Describe the sound." in out and "</think>" in out


def test_dry_run_loads_no_model(run, clip):
    code, out, _ = run("ask", clip, QUESTION, "--dry-run", "--model", "no/such-model")
    assert code == 0
    assert "1 clips, 1.00 s, 13 audio tokens" in out
    assert "<audio_patch> x 13" in out and out.rstrip().endswith("<think>")


# ---- many questions --------------------------------------------------------------------------------------------------


def test_ask_folder_as_csv_and_resume(run, tmp_path):
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.wav", "b.wav", "deep/c.wav"):
        write_wav(folder / name)
    (folder / "notes.txt").write_text("no audio")
    out = tmp_path / "answers.csv"
    run("ask", folder, QUESTION, "--out", out, "--limit", 2)
    first = out.read_text()
    code, _, err = run("ask", folder, QUESTION, "--out", out)
    assert code == 0 and "2 of 3 are answered already" in err
    assert out.read_text().startswith(first)
    with open(out, newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [r["id"] for r in rows] == ["a.wav", "b.wav", "deep/c.wav"]
    assert {r["question"] for r in rows} == {QUESTION}


def test_ask_manifest_as_json_lines(run, tmp_path):
    write_wav(tmp_path / "a.wav")
    manifest = tmp_path / "questions.jsonl"
    items = [
        {"id": "one", "audio": ["a.wav"], "question": QUESTION, "choices": ["first", "second"], "answer": "first"},
        {"id": "two", "audio": ["absent.wav"], "question": QUESTION},
        {"id": "three", "audio": ["a.wav"], "question": "word " * 300},
        {"id": "four", "audio": ["a.wav", "a.wav"], "question": QUESTION},
    ]
    manifest.write_text("".join(json.dumps(item) + "\n" for item in items))
    code, out, err = run("ask", manifest)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [r["id"] for r in rows] == ["one", "four"]
    assert rows[0]["expected"] == "first" and rows[1]["audio_seconds"] == 2.0
    # The failures are named, and do not stop the others.
    assert (
        code == 1 and "two: " in err and "absent.wav" in err and "three: " in err and "2 of 4 questions failed" in err
    )


def test_answer_file_drops_a_row_that_was_cut_off(tmp_path):
    row = dict.fromkeys(FIELDS, "") | {"thinking": "two\nlines", "answer": 'a "b", c'}
    for suffix in ("jsonl", "csv"):
        path = tmp_path / f"answers.{suffix}"
        table = AnswerFile(path)
        for name in ("one", "two"):
            table.append(row | {"id": name})
        whole = path.read_bytes()
        for cut in range(1, len(whole)):
            path.write_bytes(whole[:cut])
            again = AnswerFile(path)
            assert again.answered <= {"one", "two"}
            for name in ("one", "two"):
                if name not in again.answered:
                    again.append(row | {"id": name})
            assert path.read_bytes() == whole, (suffix, cut)


def test_a_full_disk_leaves_whole_rows(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "answers.jsonl"
    table = AnswerFile(path)
    table.append({"id": "one", "answer": "a"})
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"answers.jsonl cannot be written .* free space and run again"):
            table.append({"id": "two", "answer": "a" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole


def test_answer_file_refuses_another_table(run, tmp_path):
    write_wav(tmp_path / "a.wav")
    for name, text in (("x.csv", "a,b\n1,2\n"), ("x.jsonl", '{"a": 1}\n')):
        (tmp_path / name).write_text(text)
        code, _, err = run("ask", tmp_path, QUESTION, "--out", tmp_path / name)
        assert code == 1
        assert_one_sentence(err, name, "give another --out file")
        assert (tmp_path / name).read_text() == text


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["absent.wav", "empty.wav", "text.wav", "zero.wav", "cut.wav"])
def test_bad_clip(run, tmp_path, name):
    path = tmp_path / name
    if name == "empty.wav":
        path.write_bytes(b"")
    elif name == "text.wav":
        path.write_text("not a recording\n" * 20)
    elif name == "zero.wav":
        write_wav(path, 0.0)
    elif name == "cut.wav":
        whole = tmp_path / "whole.wav"
        write_wav(whole)
        path.write_bytes(whole.read_bytes()[:20])
    code, out, err = run("ask", path, QUESTION)
    assert code == 1 and out == ""
    assert_one_sentence(err, path)


def test_folder_among_clips(run, clip, tmp_path):
    code, _, err = run("ask", clip, tmp_path, QUESTION)
    assert code == 1
    assert_one_sentence(err, tmp_path)


def test_folder_without_audio(run, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    code, _, err = run("ask", tmp_path, QUESTION)
    assert code == 1
    assert_one_sentence(err, tmp_path, "without audio files")


def test_prompt_past_the_context(run, clip):
    code, _, err = run("ask", clip, "word " * 400)
    assert code == 1
    assert_one_sentence(err, "context of 256")


@pytest.mark.parametrize("kind", ["absent", "empty", "not json", "no weights", "cut weights", "no tokenizer", "file"])
def test_bad_model(run, clip, tmp_path, model_folder, kind):
    import pathlib
    import shutil

    folder = tmp_path / "model"
    if kind == "file":
        folder.write_text("x")
    elif kind != "absent":
        shutil.copytree(model_folder, folder)
        if kind == "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        elif kind == "not json":
            (folder / "config.json").write_text("{")
        elif kind == "no tokenizer":
            (folder / "tokenizer.json").unlink()
        else:
            for weights in pathlib.Path(folder).glob("*.safetensors"):
                data = weights.read_bytes()
                weights.unlink()
                if kind == "cut weights":
                    weights.write_bytes(data[: len(data) // 2])
    code, out, err = run("ask", clip, QUESTION, model=folder)
    assert code == 1 and out == ""
    assert_one_sentence(err, folder)


@pytest.mark.parametrize("option", [("--dtype", "float99"), ("--temperature", "-1"), ("--think-budget", "-1")])
def test_bad_option(run, clip, option):
    code, _, err = run("ask", clip, QUESTION, *option)
    assert code in (1, 2) and option[1].lstrip("-") in err and "Traceback" not in err


def test_endpoint_down(run, clip):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
    code, out, err = run("ask", clip, QUESTION, model=url)
    assert code == 1 and out == ""
    assert_one_sentence(err, url.removesuffix("/v1"))


def test_endpoint_speaks_garbage_and_endpoint_is_slow(run, clip):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            if "slow" in self.path:
                time.sleep(2)
            body = b"<html>it works</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        for url, *more in ((f"{base}/v1",), (f"{base}/slow/v1", "--timeout", "0.5")):
            code, out, err = run("ask", clip, QUESTION, *more, model=url)
            assert code == 1 and out == ""
            assert_one_sentence(err, base)
        server.shutdown()


# ---- the other commands ----------------------------------------------------------------------------------------------


def test_doctor(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert out.startswith("```") and "r1 in bfloat16: 33.487 B" in out and "mini in float32: 8.315 B" in out


def test_doctor_checks_a_model(run, model_folder, tmp_path):
    code, out, _ = run("doctor", "--model", model_folder, "--json")
    report = json.loads(out)["model"]
    assert code == 0
    assert "keys and shapes fit the config" in report["weights"] and "exact" in report["round_trip"]
    assert "<|EOT|> 2" in report["ids"] and report["prompt"]
    assert run("doctor", "--model", tmp_path)[0] == 1


def test_doctor_names_what_is_wrong(run, model_folder, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 2
    (folder / "config.json").write_text(json.dumps(config))
    code, out, _ = run("doctor", "--model", folder)
    assert code == 1
    assert "model weights: FAILED" in out and "gate_proj" in out and "model tokenizer: 320 ids" in out


def test_train_reports_a_bad_config(run, tmp_path):
    code, _, err = run("train", "sft", "--config", tmp_path / "absent.yaml")
    assert code == 1
    assert_one_sentence(err, "absent.yaml")
    code, _, err = run("train", "sft", "--config", "c.yaml", "--resume", tmp_path / "absent")
    assert code == 1
    assert_one_sentence(err, "absent", "leave out --resume")


def test_assemble_reports_a_missing_folder(run, tmp_path):
    code, _, err = run("assemble", tmp_path / "encoder", tmp_path / "decoder", tmp_path / "out")
    assert code == 1
    assert "Traceback" not in err and str(tmp_path / "encoder") in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv", [("--suite", "opera"), ("--suite", "music", "--split", "exam"), ("--suite", "music", "--count", "0")]
)
def test_soundworld_reports_bad_names(run, tmp_path, argv):
    code, _, err = run("soundworld", "write", *argv, "--out", tmp_path / "out")
    assert code == 1
    assert_one_sentence(err, argv[-1])


def test_soundworld_write_resumes(run, tmp_path):
    from earwitness import soundworld
    from earwitness.records import read_manifest

    out = tmp_path / "out"
    assert run("soundworld", "write", "--suite", "music", "--count", 3, "--out", out)[0] == 0
    manifest = out / "music-test.jsonl"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-40])  # cut in the middle of the last line
    (out / "audio" / "music-test-0.wav").unlink()
    kept = out / "audio" / "music-test-1.wav"
    before = kept.stat().st_mtime_ns
    assert run("soundworld", "write", "--suite", "music", "--count", 3, "--out", out)[0] == 0
    assert manifest.read_bytes() == whole and kept.stat().st_mtime_ns == before
    samples = list(read_manifest(manifest))
    assert [s.id for s in samples] == [f"music-test-{i}" for i in range(3)]
    with wave.open(str(out / samples[0].audio[0])) as clip:
        pcm = np.frombuffer(clip.readframes(clip.getnframes()), "<i2") / 32768
    assert np.abs(pcm - soundworld.waveform(soundworld.sample("music", "test", 0))).max() < 1e-4
    assert not list(out.rglob("*.partial"))


def test_soundworld_show(run, tmp_path):
    picture = tmp_path / "sheet.png"
    code, _, err = run("soundworld", "show", "--suite", "music", "--count", 2, "--out", picture)
    assert code == 0, err
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, _, err = run("soundworld", "show", "--suite", "music", "--out", tmp_path / "sheet.jpg")
    assert code == 1
    assert_one_sentence(err, "sheet.jpg", ".png")
