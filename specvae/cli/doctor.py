"""`specvae doctor`."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from specvae import __version__
from specvae.cli.console import echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import DEFAULT_MODEL, INPUT, device_option, model_file
from specvae.counting import counted
from specvae.errors import SpecvaeError
from specvae.molecules.workers import usable_cores

# Modules that are imported to test a distribution, if their name is not its own. Those that need a
# shared library of the system are included, as such a library is what is usually missing.
_MODULES = {
    "matplotlib": "matplotlib.figure",
    "pyarrow": "pyarrow.parquet",
    "rdkit": "rdkit.Chem.Draw.rdMolDraw2D",
    "safetensors": "safetensors.torch",
    "scikit-fingerprints": "skfp.fingerprints",
    "scipy": "scipy.optimize",
}
# Used where the metadata of the installation cannot be found.
_REQUIREMENTS = (
    "click", "h5py", "jinja2", "matplotlib", "numba", "numpy", "pandas", "pyarrow", "rdkit",
    "safetensors", "scikit-fingerprints", "scipy", "torch", "tqdm",
)  # fmt: skip
_EXTRAS = {
    "bench": "benchmarks against peers",
    "dask": "--scheduler over many machines",
    "matchms": "spectra of matchms, specvae.similarity",
    "peers": "comparisons of model kinds",
    "serve": "specvae serve",
    "zstd": "files compressed by Zstandard",
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_LEAST_FREE = 1 << 30  # bytes of a disk that a run may fill


@dataclass(frozen=True)
class Problem:
    """A problem of an installation.

    Attributes
    ----------
    found
        What is wrong.
    advice
        What to do.
    is_broken
        Whether a command fails because of it.
    """

    found: str
    advice: str
    is_broken: bool = True


@dataclass
class Diagnosis:
    """Facts and problems of an installation.

    Attributes
    ----------
    facts
        Section -> name -> value, as JSON values.
    problems
        The problems, worst first.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        """Whether a command fails."""
        return any(problem.is_broken for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        problems = [
            {"found": p.found, "advice": p.advice, "broken": p.is_broken} for p in self.problems
        ]
        return {"ok": not self.is_broken, **self.facts, "problems": problems}

    def lines(self) -> Iterator[str]:
        """Yield everything as text."""
        for section, facts in self.facts.items():
            yield section
            yield from (f"  {name:<20} {_text(value)}" for name, value in facts.items())
        yield ""
        if not self.problems:
            yield "Nothing is wrong."
        for problem in self.problems:
            yield f"{'BROKEN' if problem.is_broken else 'note'}: {problem.found}"
            yield f"  {problem.advice}"


@click.command(cls=Command)
@click.option(
    "--model",
    type=INPUT,
    default=None,
    help="Model folder or model.safetensors file.  [default: specvae-model, if there is one]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@device_option
@settings_options
@verbosity
def doctor(model: Path | None, as_json: bool, device: str) -> None:
    """Show what is installed, which device and cache are used, and what is wrong.

    Checks versions, device, threads, cache and model. Problems come last, with what to do about
    them. The exit code is 1 if something is broken.

    \b
    Example:
      specvae doctor --model my-model
    """
    found = Diagnosis()
    _check_program(found)
    _check_packages(found)
    _check_machine(found, device)
    _check_cache(found)
    _check_model(found, model)
    found.problems.sort(key=lambda problem: not problem.is_broken)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        for line in found.lines():
            echo(line)
    if found.is_broken:
        raise click.exceptions.Exit(1)


def _check_program(found: Diagnosis) -> None:
    found.facts["program"] = {
        "specvae": __version__,
        "place": str(Path(__file__).resolve().parents[1]),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "system": platform.platform(),
    }


def _check_packages(found: Diagnosis) -> None:
    """Compare the installed distributions with the required ones, and import them."""
    needed, optional = _requirements()
    packages: dict[str, str] = {}
    for name, least in needed.items():
        packages[name] = _version(name) or "not installed"
        problem = _missing_or_old(name, least, packages[name]) or _failing_import(name)
        if problem is not None:
            found.problems.append(problem)
    found.facts["packages"] = packages
    found.facts["extras"] = {
        f"{extra} ({_EXTRAS[extra]})": {name: _version(name) or "not installed" for name in names}
        for extra, names in optional.items()
        if extra in _EXTRAS
    }


def _requirements() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return name -> lowest version of required distributions, and extra -> names."""
    try:
        texts = metadata.requires("specvae") or list(_REQUIREMENTS)
    except metadata.PackageNotFoundError:
        texts = list(_REQUIREMENTS)
    return parse_requirements(texts)


def parse_requirements(texts: Iterable[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return name -> lowest version of requirements without an extra, and extra -> names.

    Parameters
    ----------
    texts
        As in the metadata of a distribution: ``torch>=2.3``, ``matchms>=0.33; extra == "bench"``.
    """
    needed: dict[str, str] = {}
    optional: dict[str, list[str]] = {}
    for text in texts:
        wanted, _, marker = text.partition(";")
        name = re.split(r"[^A-Za-z0-9._-]", wanted.strip(), maxsplit=1)[0]
        least = re.search(r">=\s*([\d.]+)", wanted)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if extra is None:
            needed[name] = least[1] if least else ""
        else:
            optional.setdefault(extra[1], []).append(name)
    return needed, optional


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing_or_old(name: str, least: str, version: str) -> Problem | None:
    wanted = f"{name}>={least}" if least else name
    if version == "not installed":
        return Problem(f"{name} is not installed", f"pip install '{wanted}'")
    if least and _numbers(version) < _numbers(least):
        return Problem(f"{name} is {version}, wanted {least} or newer", f"pip install '{wanted}'")
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.3.1 of 2.3.1+cpu."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def _failing_import(name: str) -> Problem | None:
    module = _MODULES.get(name, name.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken package raises is the finding
        cause = f"{type(error).__name__}: {error}"
        return Problem(
            f"{name} is installed but cannot be imported ({cause})",
            f"install it again: pip install --force-reinstall '{name}'; a name of a shared library "
            "(lib....so) stands for a package of the system that is missing",
        )
    return None


def _check_machine(found: Diagnosis, device: str) -> None:
    machine: dict[str, Any] = {"cores": usable_cores()}
    set_by_user = {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ}
    try:
        import torch

        from specvae.vae.device import pick_device
    except Exception:  # _check_packages has said so
        found.facts["machine"] = machine
        return
    machine["threads of torch"] = torch.get_num_threads()
    if set_by_user:
        machine["set by"] = ", ".join(f"{name}={value}" for name, value in set_by_user.items())
    machine["torch's CUDA"] = torch.version.cuda or "none: a build for the CPU"
    try:
        chosen = pick_device(device)
        machine["device"] = torch.cuda.get_device_name() if chosen.type == "cuda" else "cpu"
    except SpecvaeError as error:
        machine["device"] = f"not {device}"
        found.problems.append(Problem(str(error), "leave --device out to compute on the CPU"))
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        found.problems.append(
            Problem(
                "there is a GPU, but this build of torch is for the CPU",
                "pip install --force-reinstall torch (without an index of CPU builds)",
                is_broken=False,
            )
        )
    found.facts["machine"] = machine


def _check_cache(found: Diagnosis) -> None:
    from specvae.molecules.entry_store import default_cache_directory

    folder = default_cache_directory()
    files: list[Path] = []
    with suppress(OSError):  # another user's
        files = [path for path in folder.rglob("*") if path.is_file()]
    n_bytes = 0
    for path in files:
        with suppress(OSError):  # removed by another process
            n_bytes += path.stat().st_size
    existing = next(path for path in (folder, *folder.parents) if _is_there(path))
    free = shutil.disk_usage(existing).free
    found.facts["cache"] = {
        "folder": str(folder),
        "size": f"{n_bytes / 1e6:,.1f} MB in {counted(len(files), 'files')}",
        "free on its disk": f"{free / 1e9:,.1f} GB",
        "to clear it": "delete the folder; it is made again when it is needed",
        "to move it": "set SPECVAE_CACHE to another folder",
    }
    if free < _LEAST_FREE:
        found.problems.append(
            Problem(
                f"{existing}: {free / 1e6:,.0f} MB are free",
                "make room, or set SPECVAE_CACHE to a folder on another disk",
                is_broken=False,
            )
        )
    if not _is_writable(existing):
        found.problems.append(
            Problem(
                f"{folder}: cannot be written; every run computes all fingerprints again",
                "set SPECVAE_CACHE to a folder that you may write to",
                is_broken=False,
            )
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder of another user's
        return False


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_model(found: Diagnosis, model: Path | None) -> None:
    """Load the model; loading compares its weights and fingerprints with their digests."""
    if model is None and not DEFAULT_MODEL.exists():
        found.facts["model"] = {
            str(DEFAULT_MODEL): "none here; 'specvae train' makes one, --model names another"
        }
        return
    wanted = model or DEFAULT_MODEL
    try:
        path = model_file(wanted)
        from specvae.annotation.ranking.annotator import Annotator

        annotator = Annotator.load(path, "cpu")
    except SpecvaeError as error:
        found.facts["model"] = {str(wanted): "cannot be used"}
        advice = "train it again, or name another one with --model"
        found.problems.append(Problem(str(error), advice))
        return
    except ImportError:  # _check_packages has said so
        found.facts["model"] = {str(wanted): "not tried"}
        return
    header = annotator.header
    pool = annotator.evidence_pool
    remembered = (
        counted(len(pool.library.first_blocks), "compounds") if pool is not None else "nothing"
    )
    found.facts["model"] = {
        "file": str(path),
        "written by": header.program or "unknown",
        "digest": header.weights_sha256,
        "trained on": header.trained_on,
        "remembers": remembered,
    }
    now = {name: _version(name) for name in header.provenance.versions}
    changed = {
        name: f"{then}, now {now[name]}"
        for name, then in header.provenance.versions.items()
        if now[name] not in (None, then)
    }
    if changed:
        found.facts["model"]["trained with"] = changed


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return str(value)
