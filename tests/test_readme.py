"""The README's shell blocks run; those that cannot be are marked in the README with the reason."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from shipped import needs_weights

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:<!-- not run by the tests: (?P<reason>[^>]+) -->\n)?```(?P<kind>sh|python)\n(?P<code>.*?)```", re.S
)
BLOCKS = list(BLOCK.finditer(README))
RUN = [b for b in BLOCKS if not b["reason"]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that looks like a checkout from inside, so that what the blocks write stays out of it."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("examples", "configs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def _case(block):
    asks = "earwitness ask" in block["code"] or "ew.load" in block["code"]
    return pytest.param(block, id=block["code"].splitlines()[0][:60], marks=needs_weights if asks else ())


# In the README's order: a later block may read what an earlier one wrote.
@pytest.mark.parametrize("block", [_case(block) for block in RUN])
def test_block_runs(block, workplace):
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c"] if block["kind"] == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, block["code"]], cwd=workplace, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_most_blocks_are_run_and_none_is_unmarked():
    assert len(RUN) >= 4
    assert README.count("```sh") + README.count("```python") == len(BLOCKS)


def test_readme_is_short():
    assert len(README.splitlines()) < 200


def test_named_files_exist():
    named = re.findall(r"(?<![\w/.-])((?:configs|examples|docs)/[\w./-]+\.\w+)", README)
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_documented_commands_exist():
    from earwitness import cli

    used = set(re.findall(r"^earwitness (\w+)", README, re.M))
    assert used == set(cli.COMMANDS)
