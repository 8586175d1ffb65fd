"""The rules of docs/architecture.md, checked on the imports of every module."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BASE = {
    "errors",
    "counting",
    "report",
    "files",
    "sources",
    "text_encoding",
    "compression",
    "limits",
    "masses",
    "settings",
    "arguments",
    "progress",
    "interruption",
}
ISLANDS = {"spectra", "molecules", "vae"}
# Part of specvae -> the parts that it may import.
MAY_IMPORT = {
    "errors": set(),
    "counting": set(),
    "masses": set(),
    "progress": set(),
    "interruption": {"errors"},
    "files": {"errors", "interruption"},
    "sources": {"errors", "files"},
    "text_encoding": set(),
    "compression": {"errors"},
    "settings": {"errors"},
    "limits": {"errors", "settings"},
    "arguments": {"errors", "settings", "sources"},
    "report": {"errors", "counting", "files", "sources", "limits"},
    **{island: BASE | {island} for island in ISLANDS},
    "annotation": BASE | ISLANDS | {"annotation"},
    "at_hand": BASE | {"spectra", "molecules"},
    "face": BASE | ISLANDS | {"annotation", "at_hand"},
    "similarity": BASE | ISLANDS | {"annotation", "face"},
    "cli": BASE | ISLANDS | {"annotation", "cli"},
    "__main__": {"cli"},
}
# Room of specvae.annotation -> the rooms that it may import.
ROOMS = {
    "library": {"library"},
    "evidence": {"library", "evidence"},
    "ranking": {"library", "evidence", "ranking"},
    "evaluation": {"library", "evidence", "ranking", "evaluation"},
    "output": {"library", "evidence", "ranking", "output"},
    "training": {"library", "evidence", "ranking", "evaluation", "output", "training"},
}
# Part of specvae -> the libraries that it must not import.
CHEMISTRY = {"rdkit", "skfp", "pyteomics"}
MUST_NOT_IMPORT = {
    **{part: CHEMISTRY | {"torch", "pandas", "numpy", "matplotlib", "h5py"} for part in BASE},
    "spectra": {"torch", "rdkit", "skfp", "pandas"},
    "molecules": {"torch", "pyteomics"},
    "vae": CHEMISTRY | {"pandas"},
    "annotation": set(),
    "at_hand": {"torch"},
    "face": set(),
    "similarity": set(),
    "cli": set(),
    "__main__": CHEMISTRY | {"torch", "pandas", "numpy", "matplotlib", "h5py"},
}
MUST_NOT_IMPORT_BY_MODULE = {"specvae.vae.header": {"torch"}}
# Library -> the modules that may import it, and why no other.
ONLY_IN = {
    "click": (("specvae.cli", "specvae_bench"), "click belongs to the command lines"),
    "matchms": (
        (
            "specvae_bench",
            "specvae.spectra.exchange",
            "specvae.at_hand",
            "specvae.face",
            "specvae.similarity",
        ),
        "matchms is a baseline, its spectra are exchanged, and it takes measures of ours, only",
    ),
    "dask": (("specvae.molecules.scheduler",), "schedulers are met in one place"),
    "distributed": (("specvae.molecules.scheduler",), "schedulers are met in one place"),
}
# Packages with names at their top, which are imported when they are first asked for.
FACES = {"specvae", "specvae.vae"}
PICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
PICKLING_CALLS = {("torch", "load"), ("torch", "save")}


def imported_names(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def why_not(module: str, name: str) -> str | None:
    """Return the rule that `module` breaks by importing `name`, or None."""
    top, _, rest = name.partition(".")
    part = module.split(".")[1] if module.startswith("specvae.") else None
    if top in PICKLERS:
        return "no pickle"
    places, reason = ONLY_IN.get(top, ((module,), ""))
    if not is_within(module, places):
        return reason
    if (top, rest.partition(".")[0]) in PICKLING_CALLS:
        return "no pickle"
    if module == "specvae":
        target = rest.partition(".")[0]
        allowed = top != "specvae" or target in BASE | ISLANDS | {"annotation", "face"}
        return None if allowed else f"the top may not import {target or 'itself'}"
    if part is None:
        return None
    if top == "specvae_bench":
        return "nothing in specvae imports the benchmarks"
    target = rest.partition(".")[0]
    if top == "specvae" and target != "__version__" and target not in MAY_IMPORT[part]:
        return f"{part} may not import {target or 'all of specvae'}"
    if top in MUST_NOT_IMPORT[part] | MUST_NOT_IMPORT_BY_MODULE.get(module, set()):
        return f"{part} does without {top}"
    return why_not_room(module, name)


def why_not_room(module: str, name: str) -> str | None:
    """Return the rule of the rooms of specvae.annotation that an import breaks, or None."""
    if not module.startswith("specvae.annotation.") or not name.startswith("specvae.annotation."):
        return None
    room, wanted = module.split(".")[2], name.split(".")[2]
    return None if wanted in ROOMS[room] else f"{room} may not import {wanted}"


def violations(source: str, module: str) -> list[str]:
    """Return one line for each rule that a module's source breaks."""
    tree = ast.parse(source)
    found = [
        f"line {line}: {name}: {rule}"
        for line, name in imported_names(tree, module)
        if (rule := why_not(module, name))
    ]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in PICKLING_CALLS
        ):
            found.append(f"line {node.lineno}: {node.value.id}.{node.attr}: no pickle")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append(f"line {node.value.lineno}: allow_pickle: no pickle")
    return found


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "benchmarks" else relative.parts
    return ".".join(parts).removesuffix(".py").removesuffix(".__init__")


SOURCES = sorted([*(ROOT / "specvae").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MODULES = {module_name(path): path for path in SOURCES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_the_rules(module: str) -> None:
    assert violations(MODULES[module].read_text(encoding="utf-8"), module) == []


def test_every_part_has_its_rule() -> None:
    parts = {module.split(".")[1] for module in MODULES if module.startswith("specvae.")}
    assert parts == set(MAY_IMPORT) == set(MUST_NOT_IMPORT)


def eager_imports(source: str) -> set[str]:
    """Return the names that importing a module imports: not those for types, nor in functions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            node.body = []
    return {name for _, name in imported_names(tree, "specvae")}


@pytest.mark.parametrize(
    "module", [name for name, path in MODULES.items() if path.name == "__init__.py"]
)
def test_init_files_are_empty_or_lazy_faces(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    if module in FACES:
        light = ("__future__", "importlib", "typing")
        assert {name for name in eager_imports(source) if not is_within(name, light)} == set()
    else:
        assert ast.parse(source).body == []


def test_imports_for_types_and_in_functions_are_not_eager() -> None:
    source = """
import os
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def load():
    from rdkit import Chem
"""
    assert eager_imports(source) == {"os", "typing.TYPE_CHECKING"}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("specvae.spectra.msp", "import torch", "spectra does without torch"),
        ("specvae.spectra.msp", "def f():\n    from rdkit import Chem", "without rdkit"),
        ("specvae.spectra.msp", "from pandas import read_csv", "spectra does without pandas"),
        ("specvae.spectra.msp", "from specvae import molecules", "may not import molecules"),
        ("specvae.spectra.msp", "from ..vae import model", "spectra may not import vae"),
        ("specvae.spectra.msp", "import specvae", "may not import all of specvae"),
        ("specvae.molecules.molecule", "import torch.nn", "molecules does without torch"),
        ("specvae.molecules.molecule", "import specvae.spectra.fields", "may not import spectra"),
        ("specvae.vae.model", "from rdkit.Chem import AllChem", "vae does without rdkit"),
        (
            "specvae.vae.model",
            "import specvae.annotation.training.networks",
            "may not import annotation",
        ),
        ("specvae.vae.header", "import torch", "vae does without torch"),
        ("specvae.annotation.training.run", "import click", "click belongs to the command lines"),
        ("specvae.annotation.training.run", "from specvae.cli import main", "may not import cli"),
        ("specvae.annotation.training.run", "import matchms", "matchms is a baseline"),
        (
            "specvae.annotation.evidence.pool",
            "from specvae.annotation.ranking.result import Annotation",
            "evidence may not import ranking",
        ),
        (
            "specvae.annotation.evaluation.hits",
            "from specvae.annotation.output import html",
            "evaluation may not import output",
        ),
        ("specvae.cli.main", "from specvae_bench import casmi", "imports the benchmarks"),
        ("specvae.cli.main", "import importlib\nimportlib.import_module('pickle')", "no pickle"),
        ("specvae.cli.info", "import torch\ntorch.load('x')", "line 2: torch.load: no pickle"),
        ("specvae_bench.speed.command", "from torch import save", "no pickle"),
        (
            "specvae_bench.speed.command",
            "import numpy as np\nnp.load('x', allow_pickle=True)",
            "no pickle",
        ),
        ("specvae.errors", "from specvae.report import Reason", "errors may not import report"),
        ("specvae", "def f():\n    from specvae.cli import main", "top may not import cli"),
    ],
)
def test_walker_flags(module: str, source: str, complaint: str) -> None:
    (found,) = violations(source, module)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("specvae.spectra.msp", "import numpy\nfrom specvae.report import Reason"),
        ("specvae.vae.model", "import torch\nfrom specvae.vae import networks"),
        ("specvae.annotation.training.run", "import specvae.vae.model\nfrom rdkit import Chem"),
        ("specvae.spectra.exchange", "import matchms"),
        ("specvae.cli.main", "import click\nfrom specvae import __version__"),
        ("specvae.cli.main", "TABLE = {'bench': 'specvae_bench.folds.casmi:main'}"),
        ("specvae_bench.speed.command", "import click, matchms\nfrom specvae.spectra import read"),
    ],
)
def test_walker_lets_pass(module: str, source: str) -> None:
    assert violations(source, module) == []


HELP = """
import sys
from specvae.cli.main import main
sys.argv = ["specvae", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )


def test_the_document_names_every_module_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = text.partition("## Modules")[2].split("```")[1]
    named: set[str] = set()
    folders: list[tuple[int, str]] = []  # indentation and name, the innermost last
    for line in listed.strip().splitlines():
        words = line.split()
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        if words[0].endswith("/"):
            folders.append((indent, words[0]))
        inside = "".join(name for _, name in folders)
        named |= {inside + word for word in words if word.endswith(".py")}
    found = {
        path.relative_to(ROOT).as_posix()
        for top in ("specvae", "benchmarks")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert named == found


def test_functions_are_where_the_walks_say() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walks = text.partition("## Two walks")[2].partition("\n## ")[0].split("```")[1::2]
    steps = [line for walk in walks for line in walk.splitlines() if ".py " in line]
    assert len(walks) == 2
    for step in steps:
        path, names = re.split(r" {2,}", step)[:2]
        tree = ast.parse((ROOT / "specvae" / path).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.ClassDef)
        defined = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        named = {part for name in names.split(", ") for part in name.split(".")}
        assert named <= defined, f"{path}: {named - defined}"


def test_examples_import_from_the_top() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    examples = [
        example
        for page in pages
        for example in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]
    imported = {
        name
        for example in examples
        for name in re.findall(r"^\s*(?:from|import) (specvae[\w.]*)", example, re.M)
    }
    assert {"specvae", "specvae.vae"} <= imported <= {"specvae", "specvae.vae"}


# Steps that fail or are counted in a test, where nothing public stands for them.
PATCHED = {
    "_Board", "_IGNORING_CASE", "_IS_POSIX", "_SOURCES", "_VERSIONS", "_compute", "_constants_made",
    "_copy", "_fit_probability", "_generator", "_installed", "_known", "_limit", "_locator_classes",
    "_opener", "_plan", "_rank", "_run", "_set_all", "_width_of", "_write",
}  # fmt: skip
_PATCH = re.compile(r"setattr\(\s*(?:[\w.]+,\s*\"|\"[\w.]+\.)(_[a-zA-Z]\w*)\"")


def test_tests_patch_public_names() -> None:
    """What a test lowers or replaces is public, so that it is not renamed unawares."""
    paths = (ROOT / "tests").rglob("*.py")
    found = {name for path in paths for name in _PATCH.findall(path.read_text(encoding="utf-8"))}
    assert found == PATCHED


def test_help_loads_no_heavy_library() -> None:
    result = run(f"{HELP}print('loaded:', *sys.modules)")
    text, _, loaded = result.stdout.partition("loaded:")
    assert "annotate" in text
    heavy = {"torch", "rdkit", "pandas", "matplotlib", "h5py", "numpy", "skfp", "pyteomics"}
    assert heavy & set(loaded.split()) == set()


def test_help_answers_within_three_times_import_click() -> None:
    """A ratio of processor times, which load on the machine hardly moves: least of five runs."""

    def used() -> float:
        children = os.times()
        return children.children_user + children.children_system

    best = {"import click": float("inf"), HELP: float("inf")}
    for _ in range(5):
        for code in best:
            start = used()
            run(code)
            best[code] = min(best[code], used() - start)
    assert best[HELP] < 3 * best["import click"], best
