"""RDKit without its log lines, and with Ctrl-C in Python's hands."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
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
    """Restore the handler of SIGINT that was there before RDKit replaced it.

    A substructure search of RDKit 2026.03, or an InChIKey, leaves RDKit's own handler of SIGINT
    behind, which swallows the first Ctrl-C for the rest of the process's life, whichever thread
    searched.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is None:  # not Python's, but that of the program that Python runs in
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
        _python.learn()
    else:
        _python.restore(handler)


class _PythonsHandler:
    """The function in C by which Python takes signals, for other threads than the main one.

    `signal.signal` is for the main thread alone, but a caller's threads rank, too.
    """

    def __init__(self) -> None:
        python = getattr(ctypes, "pythonapi", None)  # of CPython
        self._get = getattr(python, "PyOS_getsig", None)
        self._set = getattr(python, "PyOS_setsig", None)
        self._address: int | None = None
        if self._get is None or self._set is None:
            return
        self._get.argtypes, self._get.restype = (ctypes.c_int,), ctypes.c_void_p
        self._set.argtypes = (ctypes.c_int, ctypes.c_void_p)
        self._set.restype = ctypes.c_void_p

    def learn(self) -> None:
        """Keep the function's address, once Python handles SIGINT."""
        if self._address is None and self._get and callable(signal.getsignal(signal.SIGINT)):
            self._address = self._get(signal.SIGINT)

    def restore(self, handler: Callable[..., object] | int) -> None:
        """Let Python, the system or nobody handle SIGINT again, as `handler` has it."""
        address = self._address if callable(handler) else int(handler)
        if self._set and address is not None:
            self._set(signal.SIGINT, address)


_python = _PythonsHandler()
_python.learn()  # before RDKit has been used, mostly
