"""Signals that end a process: each is heeded, once, and where that does no harm."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

import pytest

from specvae.errors import Interrupted
from specvae.interruption import (
    Ended,
    HeldSignals,
    ending_at_once,
    ending_by_signals,
    heeding_interrupts,
    is_interrupt,
    signals_wait,
    telling,
    undisturbed,
)
from specvae.molecules.quiet import quiet_rdkit


@pytest.fixture(autouse=True)
def as_from_a_shell(ctrl_c: None) -> Iterator[None]:
    """Let signals end this process, whatever started the tests ignores."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def come(number: int) -> None:
    os.kill(os.getpid(), number)


class Something:
    """What a weak reference can point to."""


def lose(number: int) -> None:
    """Let a signal come where Python prints an exception and goes on; wait for a minute."""
    thing = Something()
    reference = weakref.ref(thing, lambda _: come(number))
    del thing
    assert reference() is None
    for _ in range(60_000):
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_work_as_ctrl_c_does(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), ending_by_signals() as received:
        come(number)
    assert received == [number]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_cleared_away_is_not_disturbed_by_the_same_request() -> None:
    """timeout(1) sends a signal to a process and to its group."""
    cleared = []

    def work() -> None:
        try:
            come(signal.SIGTERM)
        finally:
            come(signal.SIGTERM)
            cleared.append(1)

    with pytest.raises(Ended), ending_by_signals():
        work()
    assert cleared == [1]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending_by_signals() as received:
        come(signal.SIGHUP)
    assert received == []


def test_signals_end_the_process_while_compiled_code_waits() -> None:
    with ending_by_signals():
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with ending_at_once():
            for number in (signal.SIGINT, signal.SIGTERM):
                assert signal.getsignal(number) is signal.SIG_DFL
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Ended), (signal.SIGINT, KeyboardInterrupt)]
)
def test_an_exception_that_is_lost_is_raised_again(
    number: signal.Signals, raised: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(raised), ending_by_signals():
        lose(number)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no copies of processes here")
def test_a_copy_of_the_process_ends_at_once() -> None:
    with ending_by_signals() as received:
        copy = os.fork()
        if not copy:
            come(signal.SIGTERM)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == -signal.SIGTERM
    assert received == []


def test_what_compiled_code_makes_of_ctrl_c_is_ctrl_c() -> None:
    """numba: a SystemError, as it `returned a result with an exception set`."""

    def compiled(cause: BaseException | None) -> None:
        raise SystemError("returned a result with an exception set") from cause

    with pytest.raises(Interrupted, match="interrupted; all of it"), telling(lambda: "all of it"):
        compiled(KeyboardInterrupt())
    for cause, kept in ((KeyboardInterrupt(), ""), (ValueError(), "all of it"), (None, "all")):
        with pytest.raises(SystemError) as raised, telling(lambda kept=kept: kept):  # type: ignore[misc]
            compiled(cause)
        assert is_interrupt(raised.value) == isinstance(cause, KeyboardInterrupt)


def test_a_signal_is_kept_while_a_library_calls() -> None:
    done = []

    def called(then: Callable[[], None]) -> None:
        then()
        done.append(1)

    held = HeldSignals([called.__code__])
    called(lambda: come(signal.SIGINT))
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):
        held.deliver()
    held.deliver()
    with pytest.raises(KeyboardInterrupt):
        come(signal.SIGINT)
    held.release()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


needs_masks = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="no signals that wait here"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_disturbs_what_is_cleared_away(number: signal.Signals) -> None:
    """Whichever thread the system gives a signal to: here, to one that does nothing else."""
    done = []

    def work() -> None:
        thread = threading.Thread(target=lambda: signal.raise_signal(number))
        thread.start()
        thread.join()
        come(number)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), ending_by_signals(), undisturbed():
        work()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_held_where_a_signal_came_just_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python heeds it where the handler of the next one is set."""
    install = signal.signal

    def heeding(number: int, handler: object) -> object:
        if number == signal.SIGTERM:
            raise KeyboardInterrupt
        return install(number, handler)  # type: ignore[arg-type]

    with ending_by_signals():
        monkeypatch.setattr(signal, "signal", heeding)
        with pytest.raises(KeyboardInterrupt), undisturbed():
            pass
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_of_a_caller_from_python_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), heeding_interrupts():
        lose(signal.SIGINT)
    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is hook
    with pytest.raises(KeyboardInterrupt), heeding_interrupts():
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
    with pytest.raises(SystemError), heeding_interrupts():
        raise SystemError("of another kind")


@needs_masks
def test_signals_wait_in_their_thread_until_leaving() -> None:
    done = []

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), signals_wait({signal.SIGINT}):
        work()
    assert done == [1]


@needs_masks
def test_no_signal_waits_for_ever_where_one_came_on_entering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python heeds a signal that came just before, when others wait already."""
    masked = signal.pthread_sigmask

    def heeding(how: int, numbers: Iterable[int]) -> object:
        found = masked(how, numbers)
        if list(numbers):
            raise KeyboardInterrupt
        return found

    before = masked(signal.SIG_BLOCK, ())
    monkeypatch.setattr(signal, "pthread_sigmask", heeding)
    for within in (signals_wait({signal.SIGINT}), quiet_rdkit()):
        with pytest.raises(KeyboardInterrupt), within:
            pass
        assert masked(signal.SIG_BLOCK, ()) == before
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), quiet_rdkit():
        # To this thread: another one may be slow to take it, and it would come after the test.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
