"""The steps on digits: trainings side by side, each on a stream of its own."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
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


@dataclass(frozen=True)
class Trainings:
    """What a step on digits trains.

    Attributes
    ----------
    experiment
        One of `LOADERS`.
    runs
        Trainings.
    folder
        Gets theirs, in the plan's output.
    """

    experiment: str
    runs: tuple[RunSettings, ...]
    folder: str

    def of(self, kinds: Collection[str]) -> list[RunSettings]:
        """Return the trainings of some model kinds; of all if none is named."""
        return [settings for settings in self.runs if not kinds or settings.kind in kinds]


# Seconds in which a training that stops is measured, drawn and written; they do it in turns.
_TO_END = 1.5


class Turns:
    """Threads that run one at a time; whoever has done least of its work goes next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._asked = itertools.count()
        # Each waits for an event of its own: woken together, all would ask for the lock each time.
        self._waiting: list[tuple[float, int, threading.Event]] = []

    @property
    def n_waiting(self) -> int:
        """How many threads wait for their turn."""
        return len(self._waiting)

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` when the turn comes."""
        with self._lock:
            event = self._ask(0.0) if self._busy else None
            self._busy = True
        if event is not None:
            event.wait()
        try:
            work()
        finally:
            with self._lock:
                self._busy = bool(self._waiting)
                self._wake_next()

    def pass_on(self, done: float) -> None:
        """Let threads that wait have their turns before the caller goes on.

        Parameters
        ----------
        done
            Share of its work that the caller has done. Of equal shares, who asked first goes first.
        """
        with self._lock:
            event = self._ask(done)
            self._wake_next()
        event.wait()

    def _ask(self, done: float) -> threading.Event:
        event = threading.Event()
        heapq.heappush(self._waiting, (done, next(self._asked), event))
        return event

    def _wake_next(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[-1].set()


def digits_steps(plan: Plan, steps: Sequence[tuple[Trainings, Result]]) -> None:
    """Train kinds on digits and what goes with them, side by side in threads with a stream each.

    One thread at a time issues work, and passes the turn on after each step: a step cannot be
    recorded while another thread touches the device. What was issued runs side by side. Turns are
    given so that all trainings have the same share of their epochs at any time, and end together.

    Parameters
    ----------
    plan
        What the call was given.
    steps
        What is trained, and where its results go. A step whose data or judges cannot be had says
        so there, and the others run.
    """
    device = pick_device(plan.device)
    turns = Turns()
    boards, failure = [], None
    for trainings, result in steps:
        try:
            boards.append(_Board(plan, trainings, result))
        except Exception as error:
            result.write(error=told(error))
            failure = error
    if failure is not None and not boards:
        raise failure
    runs = [(board, settings) for board in boards for settings in board.runs]
    begin_to_end = min(result.deadline for _, result in steps) - _TO_END * len(runs)

    def is_late() -> bool:
        return time.monotonic() >= begin_to_end

    lanes = [
        partial(turns.run, partial(board.train, settings, device, turns, is_late))
        for board, settings in runs
    ]
    # Lanes share what torch is set to; whoever ends first must not reset it for the others.
    with computing(device, CudaOptions()), equality.notes() as logged:
        _run_all(lanes, device)
    for board in boards:
        board.close(logged)


def _run_all(lanes: Sequence[Callable[[], None]], device: torch.device) -> None:
    """Run lanes one after the other, on a GPU side by side."""
    if device.type != "cuda":
        for lane in lanes:
            lane()
        return
    threads = [threading.Thread(target=lane) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Board:
    """The trainings of a step, and its file, to which what each has is written as it comes.

    Attributes
    ----------
    runs
        Settings of the trainings that the plan wants.
    """

    def __init__(self, plan: Plan, trainings: Trainings, result: Result) -> None:
        self._task = LOADERS[trainings.experiment](_Request(plan, result))
        self._folder = plan.output / trainings.folder
        self._result = result
        self._kinds = plan.kinds_of(result.values["step"])
        runs = trainings.of(self._kinds)
        if plan.epochs:
            runs = [replace(settings, epochs=plan.epochs) for settings in runs]
        self.runs = runs[:1] if plan.limit else runs
        self._lock = threading.Lock()
        # By the folder of a run: its last epoch, or its figures once it has ended; why it failed.
        self._states: dict[str, Any] = {}
        self._failures: dict[str, str] = {}

    def train(
        self,
        settings: RunSettings,
        device: torch.device,
        turns: Turns,
        is_late: Callable[[], bool],
    ) -> None:
        """Do one run, in turns with others, for as long as it is not late."""
        label, folder = settings.folder, self._folder / settings.folder
        epochs = settings.filled(self._task).epochs or 1

        def pass_on(epoch: int, step: int, n_steps: int) -> None:
            turns.pass_on((epoch - 1 + step / n_steps) / epochs)

        try:
            found = finished(self._task, settings, folder)
            if found is None:
                found = run(
                    self._task,
                    settings,
                    folder,
                    device=device,
                    on_epoch=partial(self._after_epoch, label),
                    on_step=pass_on,
                    stop=is_late,
                )
        except Exception as error:
            with self._lock:
                self._failures[label] = told(error)
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

    def close(self, notes: Collection[str]) -> None:
        """Write what was done, and whether it is all."""
        states = self._states.values()
        ended = [state.get("epoch", 0) >= state.get("wanted", 1e9) for state in states]
        self._result.write(
            notes=sorted(set(notes)),
            settings=[asdict(settings) for settings in self.runs],
            kinds=list(self._kinds),
            done=len(ended) == len(self.runs) and all(ended),
        )

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
            self._states[label] = state
            self._write()

    def _write(self) -> None:
        self._result.write(runs=self._states, failures=self._failures)


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
