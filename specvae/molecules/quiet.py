"""RDKit without its log lines, and with Ctrl-C in Python's hands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rdkit import rdBase


class _Quiet(threading.local):
    """Whether this thread is within `quiet_rdkit`."""

    is_entered = False


_quiet = _Quiet()


@contextmanager
def quiet_rdkit() -> Iterator[None]:
    """Keep RDKit's log lines off stderr, and Ctrl-C in Python's hands (`take_interrupts`).

    What RDKit's handler gets is lost: Ctrl-C waits until leaving. Of several threads the system may
    choose another one for it, so that it is lost now and then.

    Entering and leaving takes a tenth of the time of parsing a small molecule, so that callers with
    many molecules enter it once for several of them. Within another one it does nothing.
    """
    if _quiet.is_entered:
        yield
        return
    _quiet.is_entered = True
    held = _hold_interrupts()
    try:
        with rdBase.BlockLogs():
            yield
    finally:
        _quiet.is_entered = False
        take_interrupts()
        if held is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _hold_interrupts() -> set[int | signal.Signals] | None:
    """Let SIGINT wait in the main thread; return which signals waited before, None elsewhere."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "pthread_sigmask"):  # Windows
        return None
    return signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def take_interrupts() -> None:
    """Restore Python's handler of SIGINT, which RDKit replaces; only in the main thread.

    A substructure search of RDKit 2026.03 leaves RDKit's own handler of SIGINT behind, which
    swallows the first Ctrl-C for the rest of the process's life. Only the main thread may put
    Python's in its place again.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
