"""Threads that share a GPU take turns."""

from __future__ import annotations

import itertools
import threading
from functools import partial

import pytest
from specvae_bench.gpu.digits import Turns


def test_threads_run_one_at_a_time_and_in_rotation() -> None:
    turns, order = Turns(), []
    inside = threading.Semaphore(1)
    ready = threading.Barrier(3)

    def work(name: str) -> None:
        for _ in range(20):
            assert inside.acquire(blocking=False), "another thread has the turn"
            order.append(name)
            inside.release()
            turns.pass_on()

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


def test_a_failure_ends_the_turn() -> None:
    turns = Turns()

    def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            turns.run(fail)
