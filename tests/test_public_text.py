"""Nothing that is committed names a machine's folders or hosts, and code is plain ASCII."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Joined here, so that this file does not contain what it forbids.
FORBIDDEN = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/ho", "me/"),
        ("/Us", "ers/"),
        ("../sha", "red"),
        ("sha", "red/refer", "ence"),
        ("/opt/", "wheels"),
        ("py", "pi.org"),
        ("download.py", "torch.org"),
        ("files.python", "hosted"),
    )
)
BINARY = {".npz", ".wav", ".ogg", ".flac", ".mp3", ".m4a", ".png", ".safetensors"}


def committed() -> list[pathlib.Path]:
    """Return the files that are, or would be, committed."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_paths_or_hosts():
    found = []
    for path in committed():
        if path.suffix in BINARY:
            continue
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert found == []


def test_code_is_ascii():
    """Tests may hold other scripts as data; everything that is read as code or documentation may not."""
    kinds = {".py", ".toml", ".yaml", ".md", ".txt", ""}
    code = [p for p in committed() if p.suffix in kinds and p.relative_to(ROOT).parts[0] != "tests"]
    assert [str(p.relative_to(ROOT)) for p in code if not p.read_bytes().isascii()] == []


def test_no_large_files():
    """The weights are the only large thing: at most 25 MB; everything else stays below 3 MB."""
    sizes = {str(p.relative_to(ROOT)): p.stat().st_size for p in committed()}
    assert {n: s for n, s in sizes.items() if s > (25e6 if n.endswith(".safetensors") else 3e6)} == {}
