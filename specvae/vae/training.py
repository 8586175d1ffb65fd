"""The training loop: one straight loop, resumable, best epoch by a metric."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from specvae import settings
from specvae.errors import ConfigError, TrainingError
from specvae.settings import Count, Fraction, Positive, Range, Share, Weight, flatten
from specvae.vae.adam import AdamW
from specvae.vae.checkpoint import write_tensors
from specvae.vae.data import BatchSource, DenseSource, Rows, TensorSource, TrainingData, draws
from specvae.vae.device import CudaOptions, computing, has_fast_bfloat16
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import ObjectiveConfig
from specvae.vae.parallel import ALONE, Processes
from specvae.vae.steps import (
    SharedLoss,
    Step,
    StepRecorder,
    Tally,
    draw,
    is_recordable,
    side_stream,
)

_STATE_KEY = "specvae-state"
# Steps between two looks at what a GPU has summed; looking on a CPU costs nothing.
_LOOK_EVERY = 50

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are trained (Adam).

    Attributes
    ----------
    epochs
        Passes over the largest stream, or over `epoch_size` examples.
    batch_size
        Examples of each stream in a step.
    learning_rate
        Highest learning rate.
    weight_decay
        Decoupled weight decay (AdamW).
    clip_norm
        Highest norm of the gradient; None: no clipping.
    schedule
        ``constant``; ``cosine``: falls to 0 over the run; ``onecycle``: rises from 1/25 over the
        first 30 % (or ``warmup``) and falls to 0, both along a cosine.
    warmup
        Share of the steps over which the rate rises linearly from 0 (constant, cosine).
    seed
        Of shuffling, of the samples of z and of dropout.
    patience
        Stop after that many epochs without a better validation value; None: never.
    weight_averaging
        Decay of an exponential moving average of the weights, which then is what is validated and
        kept; None: no averaging.
    amp
        Matrix products in bfloat16; products of experts and KL stay in float32.
    epoch_size
        Examples in a pass, whatever the sizes of the streams; None: those of the largest.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: Weight = 0.0
    clip_norm: Positive | None = None
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: Share = 0.0
    seed: int = 0
    patience: Annotated[int, Range(0)] | None = None
    weight_averaging: Fraction | None = None
    amp: bool = False
    epoch_size: Count | None = None

    def __post_init__(self) -> None:
        settings.require_ranges(self)

    def rate_at(self, step: int, n_steps: int) -> float:
        """Return the learning rate of step `step` (0 first) of `n_steps`."""
        done = step / n_steps
        if self.schedule == "onecycle":
            rise = self.warmup or 0.3
            if done < rise:
                low = 1.0 / 25.0
                return self.learning_rate * (low + (1.0 - low) * _half_cosine(1.0 - done / rise))
            return self.learning_rate * _half_cosine((done - rise) / (1.0 - rise))
        if done < self.warmup:
            return self.learning_rate * (step + 1) / math.ceil(self.warmup * n_steps)
        if self.schedule == "cosine":
            return self.learning_rate * _half_cosine((done - self.warmup) / (1.0 - self.warmup))
        return self.learning_rate

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> OptimConfig:
        """Build from JSON values; an unknown key is a ConfigError that names the nearest."""
        return settings.from_json(cls, data)


def _half_cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch reached.

    Attributes
    ----------
    epoch
        1 is the first.
    total
        Mean of the objective over the steps (nats, with its weights).
    parts
        Mean of each part over the steps (nats, without weights).
    validation
        What `validate` returned, higher is better; None where there is none.
    best
        Whether this epoch's weights are the best so far.
    learning_rate
        Of the last step.
    gradient_norm
        Mean over the steps, before clipping.
    seconds, validation_seconds
        Wall time of training and of validation.
    """

    epoch: int
    total: float
    parts: Mapping[str, float]
    validation: float | None
    best: bool
    learning_rate: float
    gradient_norm: float
    seconds: float
    validation_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class History:
    """All epochs of a run, those before a resumption included."""

    epochs: tuple[EpochRecord, ...]

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights the model holds."""
        return [record for record in self.epochs if record.best][-1]


@dataclass(frozen=True)
class StateFile:
    """Where the state for resuming is kept.

    Attributes
    ----------
    path
        The file. Nothing in this module removes it.
    every
        Seconds between two writings of it, at least; 0: after each epoch.
    settings
        Settings of the caller as JSON values. A run with others does not go on from the state.
    """

    path: Path
    every: float = 300.0
    settings: Mapping[str, Any] = field(default_factory=dict)


def _derived_seed(seed: int, epoch: int, purpose: str) -> int:
    # Every epoch has seeds of its own, so that a resumed run needs no generator's state and nothing
    # that a validation draws can shift what follows.
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass
class _Run:
    """Everything that changes from epoch to epoch: what the resume state holds."""

    model: MultimodalVAE
    optimizer: AdamW
    averaged: MultimodalVAE | None
    best: dict[str, Tensor] = field(default_factory=dict)
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def kept(self) -> MultimodalVAE:
        """The model whose weights are validated and kept."""
        return self.model if self.averaged is None else self.averaged

    def save(self, path: Path, description: Mapping[str, Any]) -> None:
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        if not self.records[-1].best:  # else they equal the weights that are kept
            tensors |= {f"best/{name}": t for name, t in self.best.items()}
        if self.averaged is not None:
            state = self.averaged.state_dict()
            tensors |= {f"averaged/{name}": t for name, t in state.items()}
        for number, slots in self.optimizer.state.items():
            tensors |= {f"optimizer/{number}/{key}": t for key, t in slots.items()}
        records = [record.to_json() for record in self.records]
        text = json.dumps({"run": description, "epochs": records})
        write_tensors(path, tensors, {_STATE_KEY: text})

    def load(
        self, path: Path, description: Mapping[str, Any], n_epochs: int, device: torch.device
    ) -> None:
        try:
            with safe_open(path, framework="pt", device=str(device)) as stream:
                state = json.loads((stream.metadata() or {})[_STATE_KEY])
                if found := _differences(state["run"], description):
                    raise TrainingError(
                        f"{path}: resume state of a run with {found}; remove it to start anew"
                    )
                if len(state["epochs"]) > n_epochs:
                    raise TrainingError(
                        f"{path}: resume state after {len(state['epochs'])} epochs, wanted at most "
                        f"{n_epochs}; remove it to start anew"
                    )
                groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "averaged": {}}
                slots: dict[int, dict[str, Tensor]] = {}
                for key in stream.keys():  # noqa: SIM118 (not a mapping)
                    group, _, name = key.partition("/")
                    if group == "optimizer":
                        number, _, name = name.partition("/")
                        slots.setdefault(int(number), {})[name] = stream.get_tensor(key)
                    else:
                        groups[group][name] = stream.get_tensor(key)
        except (SafetensorError, KeyError, ValueError) as error:
            message = f"{path}: not a resume state, or a damaged one; remove it to start anew"
            raise TrainingError(message) from error
        self.model.load_state_dict(groups["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(groups["averaged"])
        self.best = groups["best"] or groups["averaged"] or groups["model"]
        self.optimizer.load(slots)
        self.records = [EpochRecord(**record) for record in state["epochs"]]


def _description(
    model: MultimodalVAE, data: TrainingData, optim: OptimConfig, objective: ObjectiveConfig
) -> dict[str, Any]:
    """Return what a run shares with the run that it goes on from, as JSON values."""
    how = optim.to_json()
    if optim.schedule == "constant" and not optim.warmup:
        # The number of epochs changes nothing within an epoch: more can be added.
        del how["epochs"]
    return {
        "optim": how,
        "objective": objective.to_json(),
        "model": model.config.to_json(),
        "data": {name: source.sha256() for name, source in data.streams().items()},
    }


def _differences(then: object, now: Mapping[str, Any]) -> str:
    """Return which settings differ, with their values, or that the data do; "" if none does."""
    if not isinstance(then, Mapping):
        raise ValueError("no description of a run")
    # A caller's settings come first: its user knows their names, and the others follow from them.
    for group in ("settings", "optim", "objective", "data", "model"):
        before, after = flatten(then.get(group, {})), flatten(now.get(group, {}))
        names = [name for name in {**after, **before} if before.get(name) != after.get(name)]
        if names and group == "data":
            return "other training data"
        if names:
            place = "" if group == "settings" else f"{group}."
            changes = [
                f"{place}{name} {_short(before.get(name))} (now {_short(after.get(name))})"
                for name in names[:3]
            ]
            if len(names) > 3:
                changes.append(f"{len(names) - 3} other settings")
            return ", ".join(changes)
    return ""


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
    objective.check(
        model.config.names, [name for name, source in data.unpaired.items() if len(source)]
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
        description = settings_of_caller | _description(model, data, optim, objective)
    cuda = cuda or CudaOptions()
    with computing(device, cuda), side_stream(device) as stream:
        averaged = None if optim.weight_averaging is None else copy.deepcopy(model)
        optimizer = AdamW(model.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)
        run = _Run(model, optimizer, averaged)
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
        run: _Run,
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
        torch.manual_seed(_derived_seed(optim.seed, done, f"dropout{rank or ''}"))
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
