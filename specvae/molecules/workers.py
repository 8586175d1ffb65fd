"""Processes that share long work over molecules, and end with the one that started them."""

from __future__ import annotations

import gc
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from specvae.errors import SpecvaeError

_T = TypeVar("_T")
_R = TypeVar("_R")


class Engine(Protocol):
    """Distributes long work: to processes of this computer, or workers of a scheduler."""

    @property
    def n_workers(self) -> int:
        """How many batches are dealt with at a time."""
        ...

    def in_order(self, function: Callable[[_T], _R], batches: Iterable[_T]) -> Iterator[_R]:
        """Yield what a function returns for each batch, in their order."""


_AHEAD = 3  # batches that wait for each process


def usable_cores() -> int:
    """Return how many cores this process may use."""
    # sched_getaffinity knows about batch queues, but only exists on Linux.
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min(cores, cores_of_quota()))


@cache
def cores_of_quota(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int:
    """Return how many cores' time a container leaves to this process (``docker run --cpus 2``).

    Parameters
    ----------
    groups
        The control groups of the process, of Linux' version 1 or 2.
    root
        Where groups are described.

    Returns
    -------
    int
        Rounded up; `sys.maxsize` if nothing limits it.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return sys.maxsize
    cores = sys.maxsize
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers or "cpu" in controllers.split(","):
            base = root / ("cpu" if controllers else "")
            # Inside a container the group itself may be the root.
            group = base / path.lstrip("/")
            own = [group, *(folder for folder in group.parents if folder.is_relative_to(base))]
            cores = min([cores, *(quota for folder in own if (quota := _quota_of(folder)))])
    return cores


def _quota_of(folder: Path) -> int | None:
    """Return how many cores' time a control group may use, None if it does not say."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if float(quota) > 0:  # "max" and -1 are none
                return math.ceil(float(quota) / float(period))
    return None


class _WaitingProcesses(threading.local):
    """The processes that wait for the next work of this thread, and how many they may be."""

    is_asked = False
    pool: ProcessPoolExecutor | None = None
    n = 0


_kept = _WaitingProcesses()


@contextmanager
def kept_processes() -> Iterator[None]:
    """Let the processes of one work do the next one too, until leaving.

    A new process needs seconds to import the chemistry libraries and load compiled code. This holds
    for what its thread does; within another one, the outer one ends them.
    """
    if _kept.is_asked:
        yield
        return
    _kept.is_asked = True
    try:
        yield
    finally:
        _kept.is_asked = False
        pool, _kept.pool = _kept.pool, None
        if pool is not None:
            pool.shutdown()


def collect_rarely() -> None:
    """Make Python's garbage collector run less often in this process.

    Candidates are many objects that stay in use and form no cycles. With the default settings the
    collector takes a twentieth of the time of ranking long lists.
    """
    gc.set_threshold(100_000, 50, 50)


def start_ahead(n_jobs: int | None, modules: Sequence[str]) -> None:
    """Start processes, one per core for None, that load modules while this one does other work.

    They wait for the first work of this thread. Nothing is started for a single process, or if
    processes are waiting already.
    """
    n = n_jobs or usable_cores()
    if n > 1 and _kept.pool is None and not _kept.is_asked:
        _kept.pool, _kept.n = _started(n, modules), n


def end_waiting() -> None:
    """End the processes that were started in advance, if there is no work for them.

    It does not wait until they have loaded their modules.
    """
    pool, _kept.pool = _kept.pool, None
    if pool is not None:
        _kill(pool)
        pool.shutdown(cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool, and what its threads wait for from them."""
    # Before Python 3.14 there is no public way. A caller may have other processes.
    for process in tuple((getattr(pool, "_processes", None) or {}).values()):
        process.kill()
    _free_reader(pool)
    _free_writer(pool)


def _free_reader(pool: ProcessPoolExecutor) -> None:
    """End the thread that reads results, where a process was killed in the middle of one.

    It would wait for the rest for ever: the pipe has no end while this process can write to it.
    """
    queue = getattr(pool, "_result_queue", None)
    if queue is not None:
        with suppress(OSError):
            queue._writer.close()


def n_waiting() -> int:
    """Return how many processes may wait for work already; see `kept_processes`."""
    return 0 if _kept.pool is None else _kept.n


@contextmanager
def processes(n: int, purpose: str) -> Iterator[ProcessPoolExecutor]:
    """Give `n` processes, or more that wait already; on leaving they end, or are kept.

    They are spawned, because a forked copy of a process with threads (torch, OpenMP) may hang. If
    the work is given up, by an error or a signal to this process alone, they are not waited for.

    Raises
    ------
    SpecvaeError
        If the system ends one of them; `purpose` is what they do, in the plural.
    """
    n = max(n, n_waiting())
    pool = _kept.pool if n == n_waiting() else None
    if pool is None:
        pool = _started(n)
    else:
        _kept.pool = None  # no second work at the same time
    is_whole = False
    try:
        yield pool
        is_whole = True
    except BrokenProcessPool:
        raise SpecvaeError(
            f"one of {n} processes that {purpose} was ended by the system, mostly for want of "
            "memory: run again with fewer (--jobs, n_jobs)"
        ) from None
    finally:
        if is_whole and _kept.is_asked and n > n_waiting():
            _kept.pool, pool = pool, _kept.pool
            _kept.n = n
        if pool is not None:
            if not is_whole:
                _kill(pool)
            pool.shutdown(cancel_futures=True)


def _free_writer(pool: ProcessPoolExecutor) -> None:
    """End the thread that writes batches for processes that are gone.

    Before Python 3.11.5 it would wait for a reader, and the end of the pool for it, for ever.
    """
    queue = getattr(pool, "_call_queue", None)
    if sys.version_info < (3, 11, 5) and queue is not None:
        with suppress(OSError):
            queue._reader.close()


def in_order(
    function: Callable[[_T], _R], batches: Iterable[_T], n: int, purpose: str
) -> Iterator[_R]:
    """Yield the results of a function for batches, in their order, computed by `n` processes.

    At most a few batches are taken in advance, so that a long file is never held as a whole.

    Raises
    ------
    SpecvaeError
        See `processes`.
    """
    waiting: deque[Future[_R]] = deque()
    with processes(n, purpose) as pool:
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) > _AHEAD * n:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def begun(
    function: Callable[[_T], _R], batches: Iterable[_T], n: int, purpose: str
) -> Iterator[Iterator[_R]]:
    """Give an iterator over the results of a function for batches, in their order.

    Processes begin with all batches at once, whenever the first result is asked for.

    Raises
    ------
    SpecvaeError
        See `processes`.
    """
    with processes(n, purpose) as pool:
        waiting = deque(pool.submit(function, batch) for batch in batches)
        yield (waiting.popleft().result() for _ in range(len(waiting)))


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this computer; one batch, or one process, is dealt with here.

    Attributes
    ----------
    n_jobs
        How many; None for one per core.
    purpose
        What they do, in the plural.
    """

    n_jobs: int | None
    purpose: str

    @property
    def n_workers(self) -> int:
        """How many batches are dealt with at a time."""
        return self.n_jobs or usable_cores()

    def in_order(self, function: Callable[[_T], _R], batches: Iterable[_T]) -> Iterator[_R]:
        """Yield what a function returns for each batch, in their order; see `in_order`."""
        n = self.n_workers
        rest = iter(batches)
        head = list(islice(rest, 2)) if n > 1 else []
        if len(head) < 2:
            return map(function, chain(head, rest))
        return in_order(function, chain(head, rest), n, self.purpose)


class _Process(SpawnProcess):
    """A process that does not import the script that started it.

    A script without the ``if __name__ == "__main__"`` guard would run again in each process. The
    processes need nothing of the script, as no work is defined there.
    """

    _starting = threading.Lock()

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: ANN401, N802 (as its base)
        with _Process._starting:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = script


class _Context(SpawnContext):
    Process = _Process


def _started(n: int, modules: Sequence[str] = ()) -> ProcessPoolExecutor:
    """Start processes that load modules; Ctrl-C waits until they are prepared for it."""
    n = min(n, MOST_PROCESSES)
    pool = ProcessPoolExecutor(n, mp_context=_Context(), initializer=_prepare_process)
    with _ctrl_c_held_back():
        for _ in range(n):
            pool.submit(_load, modules)  # each starts one, as long as none is idle
    return pool


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Block Ctrl-C in processes that are started meanwhile, until they unblock it.

    Windows has no such mechanism: a process that is just starting prints a traceback there.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # A process takes over which signals are held back. What starts it first starts this tracker, if
    # it does not run, and holds back none from then on.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# Windows waits for no more at a time, and Python refuses to start them.
MOST_PROCESSES = 61 if sys.platform == "win32" else sys.maxsize


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)


def _prepare_process() -> None:
    """Make this process end silently at Ctrl-C, which its parent process reports."""
    collect_rarely()
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()


def _end_with_parent() -> None:
    """Make this process end when its parent process is gone, even if that was killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
