"""The wheel, installed beside nothing but what it asks for, runs the README's commands offline.

The environment is a new one: its site-packages hold the installed wheel and links to the
distributions that the wheel requires, and those that these require in turn. What only the
development tools bring cannot be imported there. Look-ups of names and connections are refused.
The commands are run once, and several tests look at what they wrote.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePath

import pytest
from conftest import SMALL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from readme import readme_commands, write_readme_files
from spectra_files import mgf_record, msp_record, mzml_file, mzml_scan, mzxml_file, mzxml_scan

ROOT = Path(__file__).resolve().parents[2]
COMPILED_THERE = ROOT / "specvae/annotation/evidence/fingerprint.py"
REFUSE = """
import socket

def refused(*arguments, **named):
    raise OSError(f"network refused: {arguments}")

socket.getaddrinfo = socket.gethostbyname = socket.gethostbyname_ex = refused
socket.socket.connect = socket.socket.connect_ex = refused
"""
# Runs commands one after another, as importing torch takes a while, and stops at the first failure.
DRIVER = """
import json, sys
from specvae.cli.main import main

for command in json.load(sys.stdin):
    print("$", *command, file=sys.stderr)
    sys.argv = command
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def required(found: Distribution, extras: Sequence[str] = ()) -> Iterator[Requirement]:
    """Yield what a distribution requires here, with the extras that are asked for."""
    for text in found.requires or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield wanted


def runtime_distributions(found: Distribution) -> dict[str, Distribution]:
    """Return by name what a distribution requires, and what that requires in turn."""
    closure: dict[str, Distribution] = {}
    pending = list(required(found))
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        if name not in closure or wanted.extras:
            is_new = name not in closure
            closure[name] = distribution(name)
            assert wanted.specifier.contains(closure[name].version, prereleases=True), wanted
            pending += (
                each
                for each in required(closure[name], sorted(wanted.extras))
                if is_new or canonicalize_name(each.name) not in closure
            )
    return closure


def link_distributions(closure: dict[str, Distribution], site: Path) -> None:
    """Link the files of distributions into a folder, and those of no other distribution."""
    owners: dict[str, set[str]] = defaultdict(set)
    files: dict[str, list[tuple[PurePath, Path]]] = defaultdict(list)
    for found in distributions():
        name = canonicalize_name(found.name)
        for file in found.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not top.endswith(".pth"):
                owners[top].add(name)
                if name in closure:
                    files[top].append((file, Path(str(found.locate_file(file)))))
    for top, own in files.items():
        if owners[top] <= closure.keys():
            inner, path = own[0]
            (site / top).symlink_to(path.parents[len(inner.parts) - 2] if inner.parts[1:] else path)
            continue
        for inner, path in own:
            (site / inner).parent.mkdir(parents=True, exist_ok=True)
            (site / inner).symlink_to(path)


def share_compiled(site: Path) -> None:
    """Copy what numba has compiled from the sources here, which are the same, to those installed.

    To compile all takes half a minute; all but the functions of one module are copied, so that
    numba is seen to compile there. It knows sources by their content, and did by their times.
    """
    for index in ROOT.glob("specvae/**/__pycache__/*.nb[ci]"):
        source = index.parents[1] / f"{index.name.partition('.')[0]}.py"
        if source != COMPILED_THERE:
            installed = site / source.relative_to(ROOT)
            shutil.copystat(source, installed)
            (installed.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copy(index, installed.parent / "__pycache__")


def install_bare(folder: Path) -> None:
    """Build the wheel and install it into an environment without development tools."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("specvae", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    (source / "docs").mkdir()
    for page in (ROOT / "docs").glob("*.md"):
        shutil.copy(page, source / "docs")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    offline = ["--quiet", "--no-deps", "--no-index"]
    wheels = folder / "wheels"
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, source], check=True
    )
    (wheel,) = wheels.glob("specvae-*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env/bin/python"
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    (site,) = folder.glob("env/lib/python*/site-packages")
    (installed,) = site.glob("specvae-*.dist-info")
    link_distributions(runtime_distributions(Distribution.at(installed)), site)
    share_compiled(site)
    (site / "refuse_network.py").write_text(REFUSE)
    (site / "refuse_network.pth").write_text("import refuse_network\n")


@pytest.fixture(scope="session")
def bare(made_once: Callable[[str, Callable[[Path], None]], Path], full_model: Path) -> Path:
    """Return the folder of the programs of a bare environment.

    When `full_model` is trained, numba has compiled here what the environment is to share.
    """
    return made_once("bare", install_bare) / "env" / "bin"


def run(*command: object, cwd: Path, given: str = "") -> str:
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, input=given, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_what_the_wheel_requires_is_there(bare: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*(found.name for found in m.distributions()))"
    names = set(map(canonicalize_name, run(bare / "python", "-c", code, cwd=tmp_path).split()))
    assert {"specvae", "torch", "rdkit", "click"} <= names
    absent = ("pytest", "mypy", "ruff", "psims", "pyteomics", "matchms", "gensim")
    assert not names & set(absent)
    code = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"
    assert run(bare / "python", "-c", code, *absent, cwd=tmp_path) == "\n"


def test_look_ups_are_refused(bare: Path, tmp_path: Path) -> None:
    code = """
import socket

try:
    socket.create_connection(("localhost", 9))
except OSError as error:
    print(error)
"""
    assert run(bare / "python", "-c", code, cwd=tmp_path).startswith("network refused")


# m/z and heights of a spectrum that is written in every format.
PEAKS = ((69.0447, 124.0505, 181.072), (30.0, 100.0, 50.0))


def spectra_files() -> dict[str, str]:
    """Return by file name one spectrum in every format."""
    peaks = "".join(f"{x} {y}\n" for x, y in zip(*PEAKS, strict=True))
    msp = msp_record("x", "Ion_mode: P", "Collision_energy: 20 eV")
    mzxml = mzxml_file([mzxml_scan(1, 2, *PEAKS)])
    return {
        "x.mgf": mgf_record("x", "CHARGE=1+", "COLLISION_ENERGY=20", peaks=peaks),
        "x.msp": re.sub("Num Peaks.*", f"Num Peaks: 3\n{peaks}", msp, flags=re.S),
        "x.mzML": mzml_file([mzml_scan(0, 2, *PEAKS, negative=False)]),
        "x.mzXML": mzxml.replace('polarity="-"', 'polarity="+"'),
    }


@pytest.fixture(scope="session")
def after_the_commands(
    made_once: Callable[[str, Callable[[Path], None]], Path], bare: Path
) -> Path:
    """Return the folder where all commands of the README ran, and `annotate` on every format."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        write_readme_files(folder, n_library=90, n_queries=4)
        commands = readme_commands()
        for command in commands:
            # One epoch of small networks is enough to see that a command works.
            if command[1] == "train":
                command += ["--epochs", "1", *SMALL]
            if command[1:3] == ["bench", "mnist-split"]:
                command += ["--epochs", "1", "--oracle-epochs", "1", "--limit", "20"]
        for name, text in spectra_files().items():
            (folder / name).write_text(text)
            commands.append(
                ["specvae", "annotate", name, "--candidates", "cands.csv", "--model", "my-model",
                 "--ppm", "20", "-o", f"{name}.csv"]
            )  # fmt: skip
        run(bare / "python", "-c", DRIVER, cwd=folder, given=json.dumps(commands))

    return made_once("readme", fill)


def test_every_command_of_the_readme_works(after_the_commands: Path) -> None:
    commands = readme_commands()
    assert {command[0] for command in commands} == {"specvae"}
    assert {command[1] for command in commands} >= {
        "train", "annotate", "evaluate", "predict", "embed", "pool", "library", "info", "bench",
    }  # fmt: skip
    for name in (
        "ranked.csv", "report.html", "from-pool.csv", "bits.csv", "latent.parquet", "my-model.zip",
        "first-look/ranked.csv", "first-look/report.html", "figures.json", "topk.png",
        "split/result.json", "split/table.md",
    ):  # fmt: skip
        assert (after_the_commands / name).stat().st_size > 0, name


def test_every_format_of_spectra_is_ranked_alike(bare: Path, after_the_commands: Path) -> None:
    rankings = {}
    for name in spectra_files():
        with (after_the_commands / f"{name}.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        rankings[name] = [(row["inchikey"], row["score"]) for row in rows]
        assert all(row["status"].startswith("ok") for row in rows), (name, rows[0]["status"])
    assert len(rankings["x.mgf"]) > 1
    assert all(ranking == rankings["x.mgf"] for ranking in rankings.values())
    # The program that pip has put there, beside the module.
    assert "my-model" in run(bare / "specvae", "info", "my-model", cwd=after_the_commands)


def test_the_documentation_is_installed(bare: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
    listed = run(bare / "specvae", "docs", cwd=tmp_path)
    assert [line.split()[0] for line in listed.splitlines()] == names
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert run(bare / "specvae", "docs", "settings", cwd=tmp_path) == page
