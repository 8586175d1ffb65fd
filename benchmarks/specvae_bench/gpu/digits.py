"""The steps on digits: trainings side by side, each on a stream of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from specvae.errors import InputError
from specvae.vae.device import CudaOptions, computing, pick_device
from specvae.vae.state import EpochRecord
from specvae_bench.gpu import equality
from specvae_bench.gpu.plan import Plan, Result, told
from specvae_bench.paper.images import ImageSet
from specvae_bench.paper.loaders import LOADERS
from specvae_bench.paper.oracles import Oracle, OracleSettings, oracle_for
from specvae_bench.paper.runs import RunSettings, finished, run
from specvae_bench.paper.tasks import Task


class Turns:
    """Threads that run one at a time, in the order in which they asked."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._last = 0
        self._serving = 0

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` when the turn comes."""
        self._wait()
        try:
            work()
        finally:
            self._end()

    def pass_on(self) -> None:
        """Let every thread that waits have a turn before the caller goes on."""
        self._end()
        self._wait()

    def _wait(self) -> None:
        with self._condition:
            mine = self._last
            self._last += 1
            self._condition.wait_for(lambda: self._serving == mine)

    def _end(self) -> None:
        with self._condition:
            self._serving += 1
            self._condition.notify_all()


def digits_step(
    plan: Plan, result: Result, experiment: str, runs: Sequence[RunSettings], folder: str
) -> None:
    """Train kinds on digits and what goes with them, side by side in threads with a stream each.

    One thread at a time issues work, and passes the turn on after each step: a step cannot be
    recorded while another thread touches the device. What was issued runs side by side.

    Parameters
    ----------
    plan, result
        What the call was given; what the step writes.
    experiment
        One of `LOADERS`.
    runs
        Trainings.
    folder
        Gets theirs, in the plan's output.
    """
    device = pick_device(plan.device)
    task = LOADERS[experiment](_Request(plan, result))
    if plan.kinds:
        runs = [settings for settings in runs if settings.kind in plan.kinds]
    if plan.epochs:
        runs = [replace(settings, epochs=plan.epochs) for settings in runs]
    runs = runs[:1] if plan.limit else runs
    lanes = _Lanes(task, plan.output / folder, device, result)
    # Lanes share what torch is set to; whoever ends first must not reset it for the others.
    with computing(device, CudaOptions()), equality.notes() as logged:
        lanes.run(runs)
    ended = [state.get("epoch", 0) >= state.get("wanted", 1e9) for state in lanes.states.values()]
    result.write(
        notes=sorted(set(logged)),
        settings=[asdict(settings) for settings in runs],
        done=len(ended) == len(runs) and all(ended),
    )


class _Lanes:
    """Runs of one task, on a GPU side by side in threads; what each has is written as it comes.

    Attributes
    ----------
    states, failures
        By the folder of a run: its last epoch, or its figures once it has ended; why it failed.
    """

    def __init__(self, task: Task, folder: Path, device: torch.device, result: Result) -> None:
        self._task = task
        self._folder = folder
        self._device = device
        self._result = result
        self._lock = threading.Lock()
        self._turns = Turns()
        self.states: dict[str, Any] = {}
        self.failures: dict[str, str] = {}

    def run(self, runs: Sequence[RunSettings]) -> None:
        """Do all runs."""
        lanes = [partial(self._turns.run, partial(self._lane, settings)) for settings in runs]
        if self._device.type != "cuda":
            for lane in lanes:
                lane()
            return
        threads = [threading.Thread(target=lane) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, settings: RunSettings) -> None:
        label, folder = settings.folder, self._folder / settings.folder
        try:
            found = finished(self._task, settings, folder)
            if found is None:
                found = run(
                    self._task,
                    settings,
                    folder,
                    device=self._device,
                    on_epoch=partial(self._after_epoch, label),
                    on_step=lambda *_: self._turns.pass_on(),
                    stop=self._result.is_late,
                )
        except Exception as error:
            with self._lock:
                self.failures[label] = told(error)
                self._write()
            return
        state = {
            "epoch": len(found["epochs"]),
            "wanted": found["settings"]["epochs"],
            "best_epoch": found["best_epoch"],
            "seconds_per_epoch": found["seconds_per_epoch"],
        }
        figures = ("validation", "test", "oracle_in_training")
        self._note(label, state | {name: found[name] for name in figures if name in found})

    def _after_epoch(self, label: str, record: EpochRecord, measured: Mapping[str, float]) -> None:
        self._note(
            label,
            {
                "epoch": record.epoch,
                "seconds": record.seconds,
                "validation_seconds": record.validation_seconds,
                "loss": record.total,
                **measured,
            },
        )

    def _note(self, label: str, state: dict[str, Any]) -> None:
        with self._lock:
            self.states[label] = state
            self._write()

    def _write(self) -> None:
        self._result.write(runs=self.states, failures=self.failures)


class _Request:
    """Data and judges of a step's task, as the plan says; the judges' cards go into the result."""

    def __init__(self, plan: Plan, result: Result) -> None:
        if plan.data is None:
            raise InputError("the steps on digits need --data, a folder with MNIST's files")
        self.data = plan.data
        self.cache = plan.output / "oracles"
        self.limit = plan.limit
        self._plan, self._result = plan, result
        self._cards: dict[str, Any] = {}

    def oracle(self, kind: str, name: str, train: ImageSet, test: ImageSet) -> Oracle:
        """Return the oracle of these images, trained now if there is none yet."""
        if self.limit:
            train, test = train.take(slice(self.limit)), test.take(slice(2 * self.limit))
        started = time.monotonic()
        oracle = oracle_for(
            OracleSettings(kind, epochs=self._plan.oracle_epochs),
            train,
            test,
            self.cache,
            device=pick_device(self._plan.device),
        )
        waited = round(time.monotonic() - started, 1)
        self._cards[name] = {**oracle.card.to_json(), "waited": waited}
        self._result.write(oracles=self._cards)
        return oracle

    def log(self, text: str) -> None:
        """Keep what takes time in the result."""
        self._result.write(doing=text)
