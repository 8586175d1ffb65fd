"""The training loop: one straight loop, resumable, best epoch by a metric."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from specvae.errors import ConfigError, TrainingError
from specvae.vae.adam import AdamW
from specvae.vae.config import ObjectiveConfig, OptimConfig
from specvae.vae.data import BatchSource, DenseSource, Rows, TensorSource, TrainingData, draws
from specvae.vae.device import CudaOptions, computing, has_fast_bfloat16, seed_generators
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import require_fit
from specvae.vae.parallel import ALONE, Processes
from specvae.vae.state import EpochRecord, History, Run, StateFile, description_of
from specvae.vae.steps import (
    SharedLoss,
    Step,
    StepRecorder,
    Tally,
    draw,
    is_recordable,
    side_stream,
)

# Steps between two readings of the sums on a GPU; on a CPU they are free.
_LOOK_EVERY = 50
_log = logging.getLogger(__name__)


def _derived_seed(seed: int, epoch: int, purpose: str) -> int:
    # Every epoch has seeds of its own, so that a resumed run needs no generator's state and nothing
    # that a validation draws can shift what follows.
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def fit(
    model: MultimodalVAE,
    data: TrainingData,
    optim: OptimConfig,
    objective: ObjectiveConfig,
    *,
    validate: Callable[[MultimodalVAE], float] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[int, int, int], None] | None = None,
    state: StateFile | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    cuda: CudaOptions | None = None,
    stop: Callable[[], bool] | None = None,
    processes: Processes = ALONE,
) -> History:
    """Train `model` in place; it ends with the weights of its best epoch, in evaluation mode.

    The paired and the unpaired streams are shuffled independently of each other. An epoch has as
    many steps as the largest stream has batches; a shorter stream begins anew when it is spent.

    Parameters
    ----------
    model
        Weights to start from.
    data
        The streams.
    optim, objective
        How and what to minimise.
    validate
        Called after each epoch with the model in evaluation mode and without gradients; higher is
        better. Without it, the last epoch is the best.
    on_epoch
        Called after each epoch, and after its resume state if that is written.
    on_step
        Called after each step with epoch (from 1), step (from 1) and steps in an epoch.
    state
        Where and how often the resume state is written; None: nowhere. It is also written at the
        end, and stays.
    resume
        Go on from `state` if its file exists: the run ends in the same weights as an undisturbed
        one (bit for bit on one thread of one machine).
    device
        Where to train.
    cuda
        What a GPU may do to be fast; None: all of it.
    stop
        Asked after each epoch; True ends the run there, and it can be resumed.
    processes
        Those that train together, each called with the same arguments: see
        `specvae.vae.parallel`. The first one validates, and writes the state, from which any
        number of processes can go on.

    Raises
    ------
    TrainingError
        If the loss or its gradient is no longer finite, or the resume state does not belong to
        this run (the message says which settings differ) or is of more epochs.
    ConfigError
        If there is nothing to learn from, or a weight names an unknown modality.
    """
    device = torch.device(device)
    streams = data.streams()
    if not streams:
        raise ConfigError("training data is empty: there are neither pairs nor unpaired examples")
    for name in data.unpaired:
        model.modality(name)
    require_fit(
        objective,
        model.config.names,
        [name for name, source in data.unpaired.items() if len(source)],
    )
    if optim.amp and not has_fast_bfloat16(device):
        _log.warning(
            "products in bfloat16 are emulated on this %s, many times slower than in float32; "
            "leave bfloat16 out",
            "GPU" if device.type == "cuda" else "processor",
        )
    model.to(device)
    description: dict[str, Any] = {}
    if state is not None:
        settings_of_caller = {"settings": dict(state.settings)}
        description = settings_of_caller | description_of(model, data, optim, objective)
    cuda = cuda or CudaOptions()
    with computing(device, cuda), side_stream(device) as stream:
        averaged = None if optim.weight_averaging is None else copy.deepcopy(model)
        optimizer = AdamW(model.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)
        run = Run(model, optimizer, averaged)
        if state is not None and resume and state.path.exists():
            run.load(state.path, description, optim.epochs, device)
        sources = {name: _moved(source, device) for name, source in streams.items()}
        epochs = _Epochs(run, sources, optim, objective, device, processes)
        if (
            processes.n == 1
            and stream is not None
            and cuda.graphs
            and is_recordable(sources, objective, len(model.config.names))
        ):
            epochs.step = StepRecorder(epochs.plain_step, stream)
        save = None
        if state is not None and processes.is_first:
            save = partial(run.save, state.path, description)
        save_every = 0.0 if state is None else state.every
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            epochs.run_all(validate, on_step, on_epoch, save, save_every, stop)
        model.load_state_dict(run.best)
    model.eval()
    return History(tuple(run.records))


def _moved(source: BatchSource, device: torch.device) -> BatchSource | DenseSource:
    """Return `source` with its tables on a GPU, which spares moving a batch in every step."""
    if device.type != "cpu" and isinstance(source, TensorSource):
        return source.dense(device)
    return source


def _out_of_patience(records: list[EpochRecord], patience: int | None) -> bool:
    if patience is None or not records:
        return False
    return len(records) - max(record.epoch for record in records if record.best) >= patience


def _validate(
    model: MultimodalVAE, validate: Callable[[MultimodalVAE], float] | None
) -> float | None:
    if validate is None:
        return None
    model.eval()
    with torch.no_grad():
        value = float(validate(model))
    if math.isnan(value):
        raise TrainingError("the validation value is not a number")
    return value


class _Epochs:
    """The epochs of a run, one after the other.

    Attributes
    ----------
    plain_step
        One step of training.
    step
        What is called for it: the step itself, or its recorder.
    """

    def __init__(
        self,
        run: Run,
        sources: Mapping[str, BatchSource | DenseSource],
        optim: OptimConfig,
        objective: ObjectiveConfig,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self._run, self._sources, self._device = run, sources, device
        self._processes = processes
        self._optim, self._objective = optim, objective
        n_examples = optim.epoch_size or max(len(source) for source in sources.values())
        self._n_steps = math.ceil(n_examples / optim.batch_size)
        self.plain_step = Step(
            run.model,
            run.optimizer,
            sources,
            objective,
            torch.Generator(device),
            optim.clip_norm,
            optim.amp,
            Tally(device, processes),
            _shared(run.model, objective, device, processes),
        )
        self.step: Step | StepRecorder = self.plain_step
        self._rate: float | None = None

    def run_all(
        self,
        validate: Callable[[MultimodalVAE], float] | None,
        on_step: Callable[[int, int, int], None] | None,
        on_epoch: Callable[[EpochRecord], None] | None,
        save: Callable[[], None] | None,
        save_every: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        """Train until all epochs are done, none gets better or `stop` says so; as in `fit`."""
        records, saved_at = self._run.records, time.monotonic()
        n_saved, stopped = len(records), False
        while not self._is_over() and not stopped:
            records.append(self._run_one(validate, on_step))
            if save is not None and time.monotonic() - saved_at >= save_every:
                save()
                n_saved, saved_at = len(records), time.monotonic()
            if on_epoch is not None:
                on_epoch(records[-1])
            stopped = bool(self._processes.from_first(float(stop()), self._device) if stop else 0.0)
        if save is not None and len(records) > n_saved:
            save()

    def _is_over(self) -> bool:
        records = self._run.records
        return len(records) >= self._optim.epochs or _out_of_patience(records, self._optim.patience)

    def _run_one(
        self,
        validate: Callable[[MultimodalVAE], float] | None,
        on_step: Callable[[int, int, int], None] | None,
    ) -> EpochRecord:
        """Train and validate one epoch; keep its weights if they are the best."""
        run = self._run
        started = time.perf_counter()
        sums, rate = self._train(on_step)
        trained = time.perf_counter()
        value = self._validated(validate)
        top = max((r.validation for r in run.records if r.validation is not None), default=None)
        best = value is None or top is None or value > top
        if best:
            run.best = {n: t.detach().clone() for n, t in run.kept.state_dict().items()}
        means = {name: total / self._n_steps for name, total in sums.items()}
        return EpochRecord(
            epoch=len(run.records) + 1,
            total=means.pop("total"),
            gradient_norm=means.pop("gradient"),
            parts=means,
            validation=value,
            best=best,
            learning_rate=rate,
            seconds=trained - started,
            validation_seconds=time.perf_counter() - trained,
        )

    def _validated(self, validate: Callable[[MultimodalVAE], float] | None) -> float | None:
        """Return what the first process finds, so that all agree on the best epoch."""
        value = _validate(self._run.kept, validate) if self._processes.is_first else None
        return self._processes.from_first(value, self._device)

    def _train(
        self, on_step: Callable[[int, int, int], None] | None
    ) -> tuple[dict[str, float], float]:
        """Train one epoch; return the sums of total, parts and gradient norm, and the rate."""
        run, optim, step_of_run = self._run, self._optim, self.plain_step
        done, n_steps = len(run.records), self._n_steps
        rows = {
            name: draws(
                source,
                optim.batch_size,
                torch.Generator().manual_seed(_derived_seed(optim.seed, done, name)),
                self._device,
            )
            for name, source in self._sources.items()
        }
        step_of_run.noise.manual_seed(_derived_seed(optim.seed, done, "noise"))
        rank = self._processes.rank
        seed_generators(_derived_seed(optim.seed, done, f"dropout{rank or ''}"), self._device)
        step_of_run.tally.reset()
        is_free = self._device.type == "cpu" and self._processes.n == 1
        look_every = 1 if is_free else _LOOK_EVERY
        rate = 0.0
        run.model.train()
        for step in range(n_steps):
            drawn = {name: next(rows[name]) for name in self._sources}
            rate = optim.rate_at(done * n_steps + step, optim.epochs * n_steps)
            self._set_rate(rate)
            self._step(drawn, self._objective.beta_at(done + step / n_steps))
            if run.averaged is not None and optim.weight_averaging is not None:
                _average(run.averaged, run.model, optim.weight_averaging, done * n_steps + step)
            if (step + 1) % look_every == 0:
                step_of_run.tally.read(done + 1)
            if on_step is not None:
                on_step(done + 1, step + 1, n_steps)
        return step_of_run.tally.read(done + 1), rate

    def _step(self, drawn: Mapping[str, Rows], beta: float) -> None:
        """Train on one batch of each stream, of which several processes have a part each."""
        if self._processes.n == 1:
            inputs = {n: draw(self._sources[n], rows, self._device) for n, rows in drawn.items()}
            self.step(inputs, beta)
            return
        parts = {name: self._processes.part(len(rows)) for name, rows in drawn.items()}
        ours = {
            name: Rows(rows.on_cpu[part.first : part.end], rows.on_device[part.first : part.end])
            for (name, rows), part in zip(drawn.items(), parts.values(), strict=True)
        }
        inputs = {n: draw(self._sources[n], rows, self._device) for n, rows in ours.items()}
        self.plain_step(inputs, beta, parts)

    def _set_rate(self, rate: float) -> None:
        if rate == self._rate:
            return
        self._rate = rate
        self._run.optimizer.set_rate(rate)


def _shared(
    model: MultimodalVAE, objective: ObjectiveConfig, device: torch.device, processes: Processes
) -> torch.nn.Module | None:
    if processes.n == 1:
        return None
    shared = SharedLoss(model, objective, processes.n)
    devices = [device] if device.type == "cuda" else None
    # Not every objective uses all weights.
    return DistributedDataParallel(shared, device_ids=devices, find_unused_parameters=True)


@torch.no_grad()
def _average(averaged: MultimodalVAE, model: MultimodalVAE, decay: float, step: int) -> None:
    """Move the averaged weights towards the present ones; early steps, faster."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    ours: list[Tensor] = list(averaged.parameters())
    theirs: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    for buffer, value in zip(averaged.buffers(), model.buffers(), strict=True):
        buffer.copy_(value)
