"""What goes wrong on long runs: one line, nothing half-written, and the same command goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from conftest import DEMO, run_process, run_specvae
from pool_files import write_pool
from shard_examples import write_run

from specvae.annotation.output import tables
from specvae.annotation.ranking import rank
from specvae.cli import address_space
from specvae.errors import SpecvaeError
from specvae.interruption import Ended
from specvae.molecules import pool_build
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.pool_pieces import Piece, Spool
from specvae.molecules.workers import LocalEngine

CANDIDATES = DEMO / "candidates.csv"
BUILD = ("pool", "build", CANDIDATES, "--fingerprint", "morgan4096", "--jobs", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "pool.h5"
    run_specvae(*BUILD, "-o", path)
    return path.read_bytes()


def one_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("specvae: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


def annotate(folder: Path, output: object, candidates: Path | None = None) -> tuple[object, ...]:
    return (
        "annotate", folder / "q.mgf", "--candidates", candidates or folder / "c.csv",
        "--model", folder / "m.safetensors", "--jobs", 1, "--device", "cpu", "-o", output,
    )  # fmt: skip


def test_a_full_disk_ends_a_build_which_leaves_nothing_and_works_when_there_is_room(
    tmp_path: Path, whole: bytes
) -> None:
    output = tmp_path / "pool.h5"
    limit = len(whole) - 1000  # no file may be longer
    done = subprocess.run(
        [sys.executable, "-m", "specvae.cli.main", *map(str, BUILD), "-o", str(output)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    assert "File too large" in one_line(done.stderr)
    # Not even the first piece of its rows fits, so there is nothing to go on from.
    assert list(tmp_path.iterdir()) == []
    run_specvae(*BUILD, "-o", output)
    assert output.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool.h5"]


def test_a_pool_that_is_replaced_is_told(tmp_path: Path) -> None:
    table, output = tmp_path / "x.csv", tmp_path / "pool.h5"
    table.write_text("smiles\nCCO\n", encoding="utf-8")
    build = ("pool", "build", table, "--jobs", 1, "-o", output)
    said = "was there already and is replaced"
    assert said not in run_specvae(*build).stderr
    assert said in run_specvae(*build).stderr
    assert said not in run_specvae(*build, "--append").stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_a_ranking(folder: Path) -> None:
    done = run_process(*annotate(folder, "/dev/full"), code=1)
    assert "/dev/full: No space left on device" in one_line(done.stderr)


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_full_disk_names_the_file(folder: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    output = tmp_path / "out.csv"
    arguments = (*annotate(folder, output), *options)
    done = subprocess.run(
        [sys.executable, "-m", "specvae.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        env={**os.environ, "SPECVAE_CACHE": "/dev/null/none"},
    )
    assert done.returncode == 1
    name = f"{output}.unfinished" if options else output
    assert one_line(done.stderr) == f"specvae: {name}: File too large"


def test_ctrl_c_ends_a_build_which_goes_on(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.h5"
    monkeypatch.setattr(pool_build, "PIECE_ROWS", 100)
    add = Spool.add
    added: list[Piece] = []

    def interrupted(spool: Spool, piece: Piece) -> None:
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(piece)
        add(spool, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "add", interrupted)
        done = run_specvae(*BUILD, "-o", output, code=130)
    line = one_line(done.stderr)
    assert line.startswith(f"specvae: interrupted; what is done is kept in {output}.building")
    assert not output.exists()
    done = run_specvae(*BUILD, "-o", output)
    assert "200 rows are done" in done.stderr
    assert output.read_bytes() == whole


@pytest.mark.parametrize("is_compiled", [False, True])
def test_ctrl_c_ends_a_ranking_without_a_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compiled: bool
) -> None:
    def interrupted(*_: object) -> None:
        if is_compiled:
            raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
        raise KeyboardInterrupt

    monkeypatch.setattr(rank, "log_likelihoods", interrupted)
    done = run_specvae(*annotate(folder, tmp_path / "out.csv"), code=130)
    assert one_line(done.stderr) == "specvae: interrupted"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_ctrl_c_ends_a_loop_of_the_shell_too(ctrl_c: None, tmp_path: Path) -> None:
    """A shell goes on behind a command that only returns 130; it has to end by the signal."""
    pipe = tmp_path / "queries.mgf"
    os.mkfifo(pipe)
    running = subprocess.Popen(
        [sys.executable, "-m", "specvae", "check", pipe], stderr=subprocess.PIPE, text=True
    )
    with running, pipe.open("w"):  # which waits until it is read
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=60)[1].strip() == "specvae: interrupted"
    assert running.returncode == -signal.SIGINT


@pytest.mark.parametrize(("done", "code"), [(None, 143), (0, 0), (1, 1)])
def test_a_signal_at_the_end_of_a_command_gives_no_traceback(
    monkeypatch: pytest.MonkeyPatch, done: int | None, code: int
) -> None:
    """It comes while the end is said, or when the command has ended: then that end counts."""

    def run(received: list[int]) -> int:
        if done is None:
            received.append(signal.SIGTERM)
            raise Ended
        return done

    @contextmanager
    def ended_late() -> Iterator[list[int]]:
        received: list[int] = []
        yield received
        if not received:
            raise Ended

    monkeypatch.setattr("specvae.cli.main._run", run)
    monkeypatch.setattr("specvae.cli.main.ending_by_signals", ended_late)
    run_specvae("docs", code=code)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), ""),
        (MemoryError("Unable to allocate 9.3 GiB"), " (Unable to allocate 9.3 GiB)"),
        (RuntimeError("alloc_cpu: can't allocate memory: 8 bytes\nmore"), " (alloc_cpu: can't"),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            " (libtorch_cpu",
        ),
    ],
)
def test_want_of_memory_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(rank, "log_likelihoods", failing)
    done = run_specvae(*annotate(folder, tmp_path / "out.csv"), code=1)
    assert one_line(done.stderr).startswith(f"specvae: not enough memory{said}")
    assert not list(tmp_path.iterdir())


def test_what_a_library_says_of_the_system_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As matplotlib where no folder takes files, and llvmlite whose own libraries cannot load."""

    def failing(*_: object) -> NoReturn:
        raise OSError("a writable cache directory is required\nand more")

    monkeypatch.setattr(rank, "log_likelihoods", failing)
    done = run_specvae(*annotate(folder, tmp_path / "out.csv"), code=1)
    assert one_line(done.stderr) == "specvae: a writable cache directory is required"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited in another way here")
@pytest.mark.parametrize("command", ["annotate", "check"])
def test_too_little_memory_to_load_libraries_is_one_line(folder: Path, command: str) -> None:
    """OpenBLAS went on for ever, torch ended the process, and Numba gave a traceback."""
    asked = annotate(folder, "-") if command == "annotate" else ("check", folder / "c.csv")
    done = subprocess.run(
        [sys.executable, "-m", "specvae", *map(str, asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (300_000_000, -1)),
    )
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(
        "specvae: not enough memory: a process may address 300 MB here (ulimit -v)"
    )


@pytest.mark.parametrize(
    ("environment", "n_threads"),
    [({"OMP_NUM_THREADS": "1"}, "1 thread "), ({"OPENBLAS_NUM_THREADS": "9"}, "9 threads ")],
)
def test_threads_take_memory(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], n_threads: str
) -> None:
    def too_much(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(address_space, "_limit", lambda: 10**9)
    monkeypatch.setattr("mmap.mmap", too_much)
    address_space.require_address_space("docs", environment)
    with pytest.raises(SpecvaeError, match=f"and with {n_threads}"):
        address_space.require_address_space("annotate", environment)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_ranking_without_a_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """As of a batch system; the process just ended, and left a temporary file."""
    write = tables.write_annotations

    def interrupted(*arguments: object, **options: object) -> None:
        write(*arguments, **options)  # type: ignore[arg-type]
        os.kill(os.getpid(), number)

    monkeypatch.setattr(tables, "write_annotations", interrupted)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        done = run_specvae(*annotate(folder, tmp_path / "out.csv"), code=128 + number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert done.stderr.splitlines()[-1] == "specvae: interrupted"
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_is_one_line() -> None:
    engine = LocalEngine(2, "compute fingerprints")
    with pytest.raises(SpecvaeError, match="one of 2 processes that compute fingerprints"):
        list(engine.in_order(os._exit, [9, 9, 9]))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that takes no files")
def test_a_folder_that_takes_no_files(folder: Path) -> None:
    for command in ((*BUILD, "-o", "/proc/pool.h5"), annotate(folder, "/proc/out.csv")):
        done = run_specvae(*command, code=1)
        assert "cannot be written" in one_line(done.stderr)


def test_a_pool_that_was_cut_off_ranks_nothing(folder: Path, tmp_path: Path) -> None:
    pool = folder / "pool.h5"
    write_pool(folder / "c.csv", get_layout("morgan4096"), pool)
    content = pool.read_bytes()
    for share in (0.2, 0.6, 0.99):
        pool.write_bytes(content[: int(share * len(content))])
        done = run_specvae(*annotate(folder, tmp_path / "out.csv", pool), code=1)
        assert "not a complete HDF5 file; a candidate pool is wanted" in one_line(done.stderr)
    assert not list(tmp_path.iterdir())


def test_output_that_nobody_reads_any_more_is_no_error() -> None:
    """``specvae docs formats | head -1`` in a shell that stops at the first error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "specvae.cli.main", "docs", "formats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(), errors) == (0, b"")
