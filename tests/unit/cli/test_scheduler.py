"""Processes of this computer, and workers of a Dask scheduler, give what one process gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from shard_examples import write_run

from specvae.annotation.ranking.options import RunOptions
from specvae.annotation.ranking.pieces import Job, Piece, rank_piece
from specvae.cli.annotate import annotate
from specvae.cli.pool import pool
from specvae.errors import ConfigError, InputError, SpecvaeError
from specvae.molecules import pool_build
from specvae.molecules.scheduler import DaskEngine, parse_scheduler
from specvae.molecules.workers import LocalEngine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("scheduler"))


def annotated(folder: Path, output: Path, *options: str) -> list[bytes]:
    """Annotate; return the table, the report and the list of skips."""
    report = output.with_suffix(".html")
    done = CliRunner().invoke(
        annotate,
        [
            str(folder / "q.mgf"), "--candidates", str(folder / "c.csv"),
            "--model", str(folder / "m.safetensors"), "-o", str(output), "--report", str(report),
            "--device", "cpu", "--jobs", "1", *options,
        ],
        catch_exceptions=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    skips = output.with_name("out.skipped.csv")
    page = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+", b"", report.read_bytes())  # says when it was made
    return [output.read_bytes(), page, skips.read_bytes()]


def test_processes_annotate_as_one_does(folder: Path, tmp_path: Path) -> None:
    counts = ("--counts", str(folder / "counts.csv"))
    whole = annotated(folder, tmp_path / "out.csv", *counts)
    assert annotated(folder, tmp_path / "out.csv", *counts, "--scheduler", "local:2") == whole
    made = json.loads((tmp_path / "out.csv.json").read_text(encoding="utf-8"))
    assert made["options"]["top"] == 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], None]]]:
    """Start a scheduler and two workers; yield its address and what kills one of the workers."""
    pytest.importorskip("distributed", reason="distributed is not installed (extra dask)")
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"

    def start(command: str, *options: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "dask", command, "--scheduler-file", str(file), *options]
        with (folder / f"{command}.log").open("ab") as log:
            return subprocess.Popen(line, cwd=folder, stdout=log, stderr=log)

    running = [start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")]
    try:
        while not file.exists():
            assert running[0].poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        workers = [
            start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
            for name in ("a", "b")
        ]
        running += workers
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2)
        yield address, workers[0].kill
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_what_a_killed_worker_had_in_hand_is_neither_lost_nor_twice(
    folder: Path,
    cluster: tuple[str, Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, kill = cluster
    whole = annotated(folder, tmp_path / "out.csv")
    in_order = DaskEngine.in_order
    pieces: list[Piece] = []

    def disturbed(
        engine: DaskEngine, function: Callable[[Job], Piece], batches: Iterable[Job]
    ) -> Iterator[Piece]:
        for piece in in_order(engine, function, batches):
            pieces.append(piece)
            if len(pieces) == 2:
                kill()
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(DaskEngine, "in_order", disturbed)
        assert annotated(folder, tmp_path / "out.csv", "--scheduler", address) == whole
    places = [place for piece in pieces for place, _ in piece.placed]
    assert len(places) == len(set(places)) == pieces[0].n_records


def test_workers_build_the_pool_that_one_process_builds(
    folder: Path,
    cluster: tuple[str, Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_build, "PIECE_ROWS", 2)

    def built(name: str, *options: str) -> bytes:
        line = ["build", str(folder / "c.csv"), "-o", str(tmp_path / name), *options]
        done = CliRunner().invoke(pool, line, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return (tmp_path / name).read_bytes()

    assert built("a.h5", "--scheduler", cluster[0]) == built("b.h5", "--jobs", "1")


def test_what_names_an_engine() -> None:
    assert parse_scheduler("local:4", "rank") == LocalEngine(4, "rank")
    assert parse_scheduler("tcp://host:8786", "rank") == DaskEngine("tcp://host:8786", "rank")
    for text in ("local", "local:0", "host:8786", "tcp://"):
        with pytest.raises(ConfigError, match=r"wanted 'local:4' or one like 'tcp://host:8786'"):
            parse_scheduler(text, "rank")


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed (extra dask)")
    monkeypatch.setattr("specvae.molecules.scheduler.PATIENCE", 0.2)
    with pytest.raises(SpecvaeError, match=r"tcp://127\.0\.0\.1:9: no scheduler answers"):
        list(DaskEngine("tcp://127.0.0.1:9", "rank").in_order(abs, [1]))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Any]", sys.modules), "distributed", None)
    with pytest.raises(SpecvaeError, match=r"pip install 'specvae\[dask\]'"):
        list(DaskEngine("tcp://127.0.0.1:9", "rank").in_order(abs, [1]))


def test_files_that_a_worker_reads_are_those_of_the_run(folder: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q.mgf"
    queries.write_bytes((folder / "q.mgf").read_bytes())
    options = RunOptions(candidates=folder / "c.csv")
    job = Job(options, folder / "m.safetensors", False, "cpu", queries, 1, False, tmp_path)
    measured = job.measured()
    with queries.open("a", encoding="utf-8") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match=r"q\.mgf: .* bytes where it is ranked, but .* wanted"):
        rank_piece(measured)


def test_a_worker_elsewhere_finds_every_file_of_the_run(tmp_path: Path) -> None:
    names = ("m.safetensors", "q.mgf", "c.csv", "l.msp", "x.txt", "n.csv")
    model, queries, candidates, library, exclude, counts = map(Path, names)
    options = RunOptions(
        candidates=candidates, library=(library,), exclude=(exclude,), counts=counts
    )
    job = Job(options, model, False, "cpu", queries, 1, False, tmp_path)
    assert job.files == tuple(map(Path, names))
    assert job.resolved().files == tuple(tmp_path / name for name in names)
