"""Processes that share long work: but for Ctrl-C, threads stand for them here."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from specvae.errors import SpecvaeError
from specvae.molecules import workers
from specvae.molecules.workers import (
    begun,
    collect_rarely,
    cores_of_quota,
    end_waiting,
    in_order,
    kept_processes,
    n_waiting,
    processes,
    start_ahead,
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ThreadPoolExecutor]]:
    """Size and executor of all that are started."""
    found: list[tuple[int, ThreadPoolExecutor]] = []

    def start(n: int, **_: object) -> ThreadPoolExecutor:
        found.append((n, ThreadPoolExecutor(n)))
        return found[-1][1]

    monkeypatch.setattr(workers, "ProcessPoolExecutor", start)
    return found


def ended(executor: ThreadPoolExecutor) -> bool:
    try:
        executor.submit(abs, 1)
    except RuntimeError:
        return True
    return False


def work(n: int, function: Callable[[Any], Any] = abs) -> list[int]:
    return list(in_order(function, [-1, 2, -3], n, "work"))


def test_processes_end_with_their_work(started: list[tuple[int, ThreadPoolExecutor]]) -> None:
    assert work(2) == work(2) == [1, 2, 3]
    assert len(started) == 2
    assert all(ended(executor) for _, executor in started)


def test_processes_are_kept_for_the_next_work(
    started: list[tuple[int, ThreadPoolExecutor]],
) -> None:
    with kept_processes():
        assert n_waiting() == 0
        assert work(2) == work(2) == [1, 2, 3]
        with kept_processes():
            work(1)  # two wait already
        assert n_waiting() == 2
        assert [n for n, _ in started] == [2]
        work(3)
        assert [n for n, _ in started] == [2, 3]
        assert ended(started[0][1])
    assert n_waiting() == 0
    assert all(ended(executor) for _, executor in started)


def test_a_second_work_at_the_same_time_has_its_own(
    started: list[tuple[int, ThreadPoolExecutor]],
) -> None:
    with kept_processes():
        first = in_order(abs, range(30), 2, "work")
        assert next(first) == 0
        assert work(2) == [1, 2, 3]
        assert list(first) == list(range(1, 30))
        assert len(started) == 2
        assert sorted(ended(executor) for _, executor in started) == [False, True]
    assert all(ended(executor) for _, executor in started)


def test_what_has_failed_is_not_kept(started: list[tuple[int, ThreadPoolExecutor]]) -> None:
    def fail(_: int) -> int:
        raise BrokenProcessPool

    with kept_processes():
        with pytest.raises(SpecvaeError, match="one of 2 processes that work was ended"):
            work(2, fail)
        assert n_waiting() == 0
        assert work(2) == [1, 2, 3]
    assert len(started) == 2


UNGUARDED = """
from specvae.molecules.workers import in_order

print(list(in_order(abs, [-1, -2, -3], 2, "work")), flush=True)
"""


@pytest.mark.parametrize("how", ["file", "module", "stdin"])
def test_a_script_needs_no_guard(tmp_path: Path, how: str) -> None:
    (tmp_path / "unguarded.py").write_text(UNGUARDED, encoding="utf-8")
    arguments = {"file": ["unguarded.py"], "module": ["-m", "unguarded"], "stdin": ["-"]}
    done = subprocess.run(
        [sys.executable, *arguments[how]],
        cwd=tmp_path,
        input=UNGUARDED,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("[1, 2, 3]\n", 0), done.stderr


WAITING = """
import signal
import time

from specvae.molecules.workers import in_order, kept_processes

if __name__ == "__main__":
    # What started the tests may have it ignored, which is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with kept_processes():
            print(list(in_order(abs, [-1, -2, -3], 2, "work")), flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")
"""


def _give_up(pool: ProcessPoolExecutor) -> None:
    waiting = [pool.submit(time.sleep, seconds) for seconds in (0, 100_000, 100_000)]
    waiting[0].result()
    raise KeyboardInterrupt


@pytest.mark.parametrize("is_kept", [False, True])
def test_processes_are_not_waited_for_where_the_work_is_given_up(is_kept: bool) -> None:
    """A signal reaches this process alone, which may have seconds until it is killed."""
    with (
        pytest.raises(KeyboardInterrupt),
        kept_processes() if is_kept else nullcontext(),
        processes(2, "work") as pool,
    ):
        _give_up(pool)


def _begin_result(begun: Path) -> None:
    """Write the beginning of a long result, as a process that is killed within it."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    frame.f_locals["result_queue"]._writer._send(bytes([0, 0, 255, 255]))
    begun.touch()
    time.sleep(100_000)


def _give_up_within_result(pool: ProcessPoolExecutor, begun: Path) -> None:
    pool.submit(_begin_result, begun)
    while not begun.exists():
        time.sleep(0.01)
    time.sleep(0.1)  # until the thread reads it
    raise KeyboardInterrupt


def test_a_result_that_is_cut_off_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), processes(2, "work") as pool:
        _give_up_within_result(pool, tmp_path / "begun")


def _end(_: bytes) -> int:
    os._exit(1)


def test_processes_that_are_gone_are_not_written_to() -> None:
    """Batches of a megabyte are on their way when they end; before Python 3.11.5, for ever."""
    with pytest.raises(SpecvaeError, match="one of 2 processes that do work was ended"):
        list(in_order(_end, [bytes(1_000_000)] * 6, 2, "do work"))


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here")
def test_processes_that_wait_say_nothing_at_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "[1, 2, 3]\n"
        os.killpg(running.pid, signal.SIGINT)
        assert running.communicate(timeout=60)[0] == "interrupted\n"


def test_processes_that_were_started_ahead_do_the_first_work(
    started: list[tuple[int, ThreadPoolExecutor]],
) -> None:
    start_ahead(1, ["math"])
    assert not started
    start_ahead(2, ["math"])
    start_ahead(2, ["math"])
    assert [n for n, _ in started] == [2]
    assert n_waiting() == 2
    with kept_processes():
        assert work(2) == work(2) == [1, 2, 3]
        assert len(started) == 1
    assert n_waiting() == 0
    assert ended(started[0][1])


def test_processes_without_work_end(started: list[tuple[int, ThreadPoolExecutor]]) -> None:
    end_waiting()
    start_ahead(2, ["math"])
    end_waiting()
    assert n_waiting() == 0
    assert ended(started[0][1])


def test_only_own_processes_are_ended() -> None:
    """A caller's own ones go on."""
    pipe, other = multiprocessing.get_context("spawn").Pipe()
    theirs = multiprocessing.get_context("spawn").Process(target=other.recv)
    theirs.start()
    start_ahead(2, ["math"])
    ours = set(multiprocessing.active_children()) - {theirs}
    assert len(ours) == 2
    end_waiting()
    assert not any(process.is_alive() for process in ours)
    assert theirs.is_alive()
    pipe.send("end")
    theirs.join(60)
    assert theirs.exitcode == 0


def test_all_batches_are_begun_at_once(started: list[tuple[int, ThreadPoolExecutor]]) -> None:
    seen: list[int] = []
    with begun(abs, (seen.append(n) or n for n in range(-20, 0)), 2, "work") as results:  # type: ignore[func-returns-value]
        assert len(seen) == 20
        assert list(results) == list(range(20, 0, -1))
    assert ended(started[0][1])
    with (
        pytest.raises(SpecvaeError, match="one of 2 processes that work was ended"),
        begun(abs, [1], 2, "work"),
    ):
        raise BrokenProcessPool


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, sys.maxsize),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "150000 100000\n", "job/step/cpu.max": "max 1\n"}, 2),
        (
            "4:memory:/docker/1a\n3:cpu,cpuacct:/docker/1a\n",
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "1\n"},
            sys.maxsize,
        ),
        ("odd\n", {"cpu.max": "odd"}, sys.maxsize),
    ],
)
def test_a_container_s_quota_is_no_more_cores(
    tmp_path: Path, groups: str, files: dict[str, str], cores: int
) -> None:
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cores_of_quota(tmp_path / "groups", tmp_path / "root") == cores
    assert cores_of_quota(tmp_path / "absent", tmp_path / "root") == sys.maxsize


def test_cycles_are_looked_for_less_often() -> None:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # Python's own: a test before may have raised them
    try:
        collect_rarely()
        assert all(
            rarely > often for rarely, often in zip(gc.get_threshold(), (700, 10, 10), strict=True)
        )
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
