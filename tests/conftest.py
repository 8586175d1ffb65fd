"""What all tests share: one thread each, a cache of fingerprints, and small trained models.

The workers of pytest-xdist share the cache and the models too: the worker that needs one first
makes it, and the others wait for it.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import gzip
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock

from specvae import files
from specvae.cli.main import main

# Workers and the processes that they start share the cores, so that each keeps to one thread. This
# must be said before numpy or torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
# What `specvae demo` shows; its model takes no time to make (see the fixture `demo_model`).
SHIPPED = Path(__file__).resolve().parents[1] / "specvae" / "demo"
# Options of `train` for networks that learn the demo library in seconds.
SMALL = (
    "--set", "model.spectrum_encoder=[64]", "--set", "model.spectrum_decoder=[32]",
    "--set", "model.fingerprint_encoder=[64]", "--set", "model.fingerprint_decoder=[64]",
    "--set", "model.n_latent=64", "--set", "inputs.fine_bin_width=0",
    "--set", "optim.batch_size=128", "--set", "optim.learning_rate=0.003",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without collecting garbage, and leave what is loaded by then out of it.

    What torch, RDKit and thousands of tests consist of stays to the end. To look through it again
    and again is a tenth of the work of collecting.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def run_specvae(
    *arguments: object, cwd: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process; fail unless it exits with `code`.

    A process of its own would need some seconds to import torch and the others: see
    :func:`run_process`.
    """
    command = ["specvae", *map(str, arguments)]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))  # a test may have used RDKit
    taker = _taker_of_ctrl_c()
    out, err = (TextIOWrapper(BytesIO(), "utf-8", newline="") for _ in range(2))
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", command))
        stack.enter_context(patch.object(logging, "lastResort", logging.lastResort))
        stack.enter_context(patch.object(sys, "excepthook", sys.excepthook))
        stack.enter_context(chdir(cwd or Path.cwd()))
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        try:
            main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
        except KeyboardInterrupt:
            found = 128 + signal.SIGINT  # as a shell shows it
    logger = logging.getLogger("specvae")
    logger.handlers, logger.level = [], logging.NOTSET
    assert _taker_of_ctrl_c() == taker, "RDKit has taken Ctrl-C, which nobody gets from it"
    return _ended_with(
        code, subprocess.CompletedProcess(command, int(str(found)), *map(_text, (out, err)))
    )


def _taker_of_ctrl_c() -> int | None:
    """Return the address of the function in C that gets SIGINT; None where that is not known."""
    if not sys.platform.startswith("linux"):
        return None
    action = (ctypes.c_void_p * 32)()  # whose first field it is
    ctypes.CDLL(None).sigaction(signal.SIGINT, None, ctypes.byref(action))
    return action[0]


def run_process(
    *arguments: object, cwd: Path | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; fail unless it exits with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "specvae", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    return _ended_with(code, done)


def _text(stream: TextIOWrapper) -> str:
    """Return what was written, its line ends as a process in text mode gives them."""
    stream.seek(0)
    return stream.read().replace("\r\n", "\n")


def _ended_with(
    code: int, done: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt: a shell's background job, as tests may be one, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this run of the tests that all its workers see."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(common_folder: Path) -> None:
    """Keep the tests' fingerprints out of the user's cache."""
    os.environ["SPECVAE_CACHE"] = str(common_folder / "cache")


@pytest.fixture(scope="session")
def made_once(common_folder: Path) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a function that gives a named folder, which the first worker to ask for it fills."""

    def folder_of(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = common_folder / name, common_folder / f"{name}.done"
        with FileLock(common_folder / f"{name}.lock"):
            if not done.exists():
                fill(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def library(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return the demo library's first compound and every third, which are enough to learn from."""

    def fill(folder: Path) -> None:
        records = (DEMO / "library.msp").read_text().rstrip("\n").split("\n\n")
        names = [record.partition("\n")[0] for record in records]
        kept = set(list(dict.fromkeys(names))[::3])
        folder.mkdir()
        chosen = [record for record, name in zip(records, names, strict=True) if name in kept]
        (folder / "library.msp").write_text("\n\n".join(chosen) + "\n\n")

    return made_once("library", fill) / "library.msp"


@pytest.fixture(scope="session")
def few(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Return a folder of the demo's first twelve queries, their truths and their candidates."""

    def fill(folder: Path) -> None:
        from specvae.molecules.molecule import parse_molecule
        from specvae.report import ReadReport
        from specvae.spectra.read import read_spectra

        folder.mkdir()
        records = (DEMO / "queries.mgf").read_text().split("END IONS\n")[:12]
        (folder / "queries.mgf").write_text("END IONS\n".join([*records, ""]))
        masses = [s.neutral_mass for s in read_spectra(folder / "queries.mgf", ReadReport())]
        head, *rows = (DEMO / "candidates.csv").read_text().splitlines(keepends=True)
        within = [
            row
            for row in rows
            for mass in [parse_molecule(smiles=row.split(",")[0]).exact_mass]
            if any(m is not None and abs(m - mass) <= 1e-5 * m for m in masses)
        ]
        (folder / "candidates.csv").write_text(head + "".join(within))
        truths = (DEMO / "truth.csv").read_text().splitlines(keepends=True)
        (folder / "truth.csv").write_text("".join(truths[:13]))

    return made_once("few", fill)


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the model that `specvae demo` ships, which ranks by all that it knows."""
    path = tmp_path_factory.mktemp("demo-model") / "model.safetensors"
    path.write_bytes(gzip.decompress((SHIPPED / "model.safetensors.gz").read_bytes()))
    return path


@pytest.fixture(scope="session")
def model(made_once: Callable[[str, Callable[[Path], None]], Path], own_cache: None) -> Path:
    """Return the folder of a model, trained for a few epochs, that ranks by fingerprint alone.

    Most tests are not about what candidates are ranked by, and this takes half the time.
    """
    return made_once("model", lambda folder: _train(folder, "--set", "evidence.library=false"))


@pytest.fixture(scope="session")
def full_model(made_once: Callable[[str, Callable[[Path], None]], Path], own_cache: None) -> Path:
    """Return the folder of a model, trained for a few epochs, that ranks by all that it knows."""
    options = ("--structures", str(DEMO / "candidates.csv"))
    return made_once("full-model", lambda folder: _train(folder, *options))


def _train(folder: Path, *options: str) -> None:
    run_specvae(
        "train", "--spectra", DEMO / "library.msp", "-o", folder, "--epochs", 5, "--seed", 1,
        "--jobs", 1, *SMALL, *options,
    )  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a file, by default of candidates, and gives its path."""

    def write_file(content: str | bytes, name: str = "candidates.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


_DESCRIPTORS = Path("/proc/self/fd")


def _is_open(path: str | os.PathLike[str]) -> bool:
    """Return whether this process has a file open or mapped."""
    real = os.path.realpath(path)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.endswith(f" {real}") for line in maps) or real in map(
        os.path.realpath, _DESCRIPTORS.iterdir()
    )


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be removed or replaced while this process has it open."""
    if not _DESCRIPTORS.is_dir():
        pytest.skip("no /proc to see open files in")

    def guarded(do: Callable[..., None]) -> Callable[..., None]:
        def guard(*paths: str | os.PathLike[str]) -> None:
            for path in paths:
                if _is_open(path):
                    raise PermissionError(errno.EACCES, "used by another process", str(path))
            do(*paths)

        return guard

    for name in ("unlink", "replace"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    monkeypatch.setattr(files, "_IS_POSIX", False)
