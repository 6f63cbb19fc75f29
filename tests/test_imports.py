"""Imports run one way, every module can be imported, and importing the package is cheap."""

import ast
import importlib
import pathlib
import subprocess
import sys
import tomllib

import pytest

import earwitness

PACKAGE = pathlib.Path(earwitness.__file__).parent
# A file imports only from units before its own. acoustics and grounding, then serve and realtime, may come in any
# order among themselves, but are listed in one.
ORDER = (
    "records",
    "audio",
    "prompt",
    "model",
    "engines",
    "vllm_plugin",
    "acoustics",
    "grounding",
    "soundworld",
    "data",
    "losses",
    "rewards",
    "train",
    "stages",
    "evaluate",
    "experiments",
    "serve",
    "realtime",
    "commands",
    "cli",
    "__main__",
)
# Needed only by commands, never at import time of the packages below them.
HEAVY = ("torch", "transformers", "numpy", "soundfile", "av", "rich", "matplotlib")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "heldout_voices" not in p.parts)


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: pathlib.Path) -> set[str]:
    """Return the full names of the package's modules that a file imports, also late ones and those for types only."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("earwitness.")}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_direction(path):
    unit = module_name(path).split(".")[1] if path.parent != PACKAGE or path.stem != "__init__" else None
    if unit is None:
        return  # the package itself names everything, late
    assert unit in ORDER, f"{unit} is not in the list of units; add it where it belongs"
    for name in imported(path):
        target = name.split(".")[1]
        if target in ORDER:
            assert ORDER.index(target) <= ORDER.index(unit), f"{module_name(path)} imports {name}, which comes later"
        else:
            assert not (PACKAGE / f"{target}.py").exists() and not (PACKAGE / target).is_dir(), (
                f"{target} is not listed"
            )


def test_no_cycles_at_import_time():
    for path in FILES:
        importlib.import_module(module_name(path))


def test_package_and_help_import_nothing_heavy():
    code = (
        "import sys, earwitness, earwitness.cli; earwitness.cli.build_parser(); dir(earwitness);"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["model", "train", "engines", "engines.local"])
def test_imports_without_audio_libraries(name):
    code = (
        "import sys\n"
        "for m in ('soundfile', 'av', 'soxr', 'parselmouth', 'librosa', 'espeakng_loader', 'rich'):\n"
        "    sys.modules[m] = None\n"
        f"import earwitness.{name}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    assert not [name for name in earwitness.__all__ if getattr(earwitness, name, None) is None]
    assert set(earwitness.__all__) <= set(dir(earwitness))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = earwitness.no_such_name


def test_version_is_that_of_the_project():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert earwitness.__version__ == project["version"]


def test_files_are_short():
    lengths = {module_name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: n for name, n in lengths.items() if n > 600} == {}
