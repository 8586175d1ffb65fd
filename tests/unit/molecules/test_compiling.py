"""Machine code is kept by all that it is made of."""

import ast
import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import specvae_bench
from numba.core import caching

import specvae
from specvae.molecules.compiling import ingredients

CALLER = """
from specvae.molecules.compiling import compiled
from {name}_parts import STEP, TABLE, further

@compiled
def sums(x):
    return further(x) + STEP + TABLE[0]
"""

PARTS = """
import numpy as np
from specvae.molecules.compiling import inner_with

STEP = 1
TABLE = np.array([10, 20])

@inner_with(error_model="python")
def nearest(x):
    return x + 100

@inner_with(error_model="python")
def further(x):
    return nearest(x) if x < 5 else x
"""


def _import(name: str) -> ModuleType:
    """Import a module and its parts, as a new process would."""
    for module in (name, f"{name}_parts"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        ("x + 100", "x + 1_000", 1012),  # of a function that is called by one that is called
        ("STEP = 1", "STEP = 2_000", 2111),
        ("[10, 20]", "[3_000, 20]", 3102),
        ("x < 5", "x < 0.5", 12),
        ('"python"', '"numpy"', 112),  # an option
    ],
)
def test_code_that_was_kept_is_not_run_where_another_module_changed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    after: str,
    result: int,
) -> None:
    """As after an upgrade: numba compares no file but that of the function itself."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"kept_{result}"
    (tmp_path / f"{name}.py").write_text(CALLER.format(name=name), encoding="utf-8")
    parts = tmp_path / f"{name}_parts.py"
    parts.write_text(PARTS, encoding="utf-8")

    assert _import(name).sums(1) == 112
    kept = _import(name).sums
    assert kept(1) == 112
    assert kept.stats.cache_hits  # nothing has changed

    parts.write_text(PARTS.replace(before, after), encoding="utf-8")
    changed = _import(name).sums
    assert changed(1) == result
    assert not changed.stats.cache_hits


def test_code_that_the_disk_has_no_room_for_is_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.Cache, "save_overload", save)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "full_disk.py").write_text(CALLER.format(name="full_disk"), encoding="utf-8")
    (tmp_path / "full_disk_parts.py").write_text(PARTS, encoding="utf-8")
    assert _import("full_disk").sums(1) == 112


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("left", [0, 40])
def test_code_that_was_kept_and_is_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, left: int
) -> None:
    """Files have no content where the power failed soon after they were written."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"damaged{suffix[1:]}{left}"
    (tmp_path / f"{name}.py").write_text(CALLER.format(name=name), encoding="utf-8")
    (tmp_path / f"{name}_parts.py").write_text(PARTS, encoding="utf-8")
    assert _import(name).sums(1) == 112
    damaged = [path for path in tmp_path.rglob(f"*{suffix}") if name in path.name]
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[:left])
    assert _import(name).sums(1) == 112
    again = _import(name).sums
    assert again(1) == 112
    assert again.stats.cache_hits


def _compiled_modules() -> list[str]:
    """Return the modules that compile functions that are called from Python."""
    found = []
    for package in (specvae, specvae_bench):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "molecules.compiling import" in text:
                tree = ast.parse(text)
                uses = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
                if uses & {"compiled", "compiled_with"}:
                    parts = path.relative_to(root.parent).with_suffix("").parts
                    found.append(".".join(parts))
    return found


def _kept_functions(module: str) -> dict[str, Any]:
    """Return the functions of a module whose machine code is kept, by their names with digests."""
    values = vars(importlib.import_module(module)).values()
    functions = [getattr(value, "py_func", None) for value in values]
    return {
        f"{module}.{function.__qualname__}": function
        for function in functions
        if function and function.__module__ == module and "-" in function.__qualname__
    }


def test_what_compiled_functions_call_is_defined_before_them() -> None:
    """Else it would not count among what their machine code is made of."""
    modules = _compiled_modules()
    assert len(modules) > 10
    for module in modules:
        functions = _kept_functions(module)
        assert functions, module
        for name, function in functions.items():
            assert name.endswith(f"-{ingredients(function)}"), name


def test_processes_agree_on_what_machine_code_is_made_of() -> None:
    """No order of a set and no place in memory is part of it: else all is compiled each time."""
    modules = _compiled_modules()
    here = sorted(name for module in modules for name in _kept_functions(module))
    script = (
        "import json, sys; from importlib import import_module as get\n"
        "print(json.dumps(sorted(f'{m}.{f.py_func.__qualname__}' for m in sys.argv[1:]\n"
        "    for f in vars(get(m)).values() if getattr(f, '__module__', '') == m\n"
        "    and hasattr(f, 'py_func') and '-' in f.py_func.__qualname__)))"
    )
    other = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    done = subprocess.run(
        [sys.executable, "-c", script, *modules],
        env=os.environ | {"PYTHONHASHSEED": other},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == here


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("NUMBA_DISABLE_JIT", "1", "wanted it unset"), ("NUMBA_NUM_THREADS", "0", "must be > 0")],
)
def test_variables_that_keep_numba_from_compiling_are_told(
    name: str, value: str, said: str
) -> None:
    code = """
from specvae.errors import ConfigError
try:
    import specvae.molecules.compiling
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in done.stdout
