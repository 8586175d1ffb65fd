"""Threads that share a GPU take turns."""

from __future__ import annotations

import itertools
import threading
import time
from functools import partial

import pytest
from specvae_bench.gpu.digits import Turns


def test_threads_run_one_at_a_time_and_in_rotation() -> None:
    turns, order = Turns(), []
    inside = threading.Semaphore(1)
    ready = threading.Barrier(3)

    def work(name: str) -> None:
        for n_done in range(20):
            assert inside.acquire(blocking=False), "another thread has the turn"
            order.append(name)
            inside.release()
            turns.pass_on(n_done / 20)

    def begin(name: str) -> None:
        ready.wait()
        turns.run(partial(work, name))

    threads = [threading.Thread(target=begin, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(order) == sorted("abc" * 20)
    # Once all have begun nobody has two turns while another waits.
    start = max(order.index(name) for name in "abc")
    end = min(len(order) - order[::-1].index(name) for name in "abc")
    busy = order[start:end]
    assert all(first != second for first, second in itertools.pairwise(busy))


def test_those_with_more_to_do_have_more_turns() -> None:
    turns = Turns()
    order: list[str] = []
    ready = threading.Barrier(2)
    has_begun = threading.Event()

    def work(name: str, n_steps: int) -> None:
        has_begun.set()
        waiting.wait()
        for n_done in range(1, n_steps + 1):
            order.append(name)
            turns.pass_on(n_done / n_steps)

    def begin(name: str, n_steps: int) -> None:
        ready.wait()
        turns.run(partial(work, name, n_steps))

    waiting = threading.Event()
    threads = [
        threading.Thread(target=begin, args=(name, n)) for name, n in (("long", 40), ("short", 10))
    ]
    for thread in threads:
        thread.start()
    has_begun.wait(timeout=60)
    while not turns.n_waiting:
        time.sleep(0.001)
    waiting.set()
    for thread in threads:
        thread.join(timeout=60)
    # At any time both have done the same share, to within one step of the short one.
    for place in range(1, len(order) + 1):
        done = order[:place]
        assert abs(done.count("long") / 40 - done.count("short") / 10) <= 0.1 + 1e-9


def test_a_failure_ends_the_turn() -> None:
    turns = Turns()

    def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            turns.run(fail)
