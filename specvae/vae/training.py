"""Data streams and the training loop: one straight loop, resumable, best epoch by a metric."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from specvae import settings
from specvae.errors import ConfigError, TrainingError
from specvae.settings import flatten
from specvae.vae.checkpoint import tensor_bytes, write_tensors
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input, SparseRows
from specvae.vae.objective import LossParts, ObjectiveConfig, loss

_PAIRED = "paired"
_STATE_KEY = "specvae-state"


@dataclass(frozen=True, slots=True, eq=False)
class PackedBits:
    """Rows of bits, eight to a byte, the lowest bit first.

    Attributes
    ----------
    table
        (n_rows, ceil(n_bits / 8)), uint8.
    n_bits
        Bits of a row.
    """

    table: Tensor
    n_bits: int

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows `index` as float32 zeros and ones, (len(index), n_bits)."""
        shifts = torch.arange(8, dtype=torch.uint8, device=self.table.device)
        bits = (self.table[index].unsqueeze(-1) >> shifts) & 1
        return bits.flatten(1)[:, : self.n_bits].float()

    def to(self, device: torch.device | str) -> PackedBits:
        """Return the table on `device`."""
        return PackedBits(self.table.to(device), self.n_bits)


@dataclass(frozen=True, slots=True, eq=False)
class GreyLevels:
    """Rows of grey or colour levels in one byte each; 255 stands for 1.

    Attributes
    ----------
    table
        (n_rows, n_columns), uint8.
    """

    table: Tensor

    def __len__(self) -> int:
        return len(self.table)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows `index` as float32 in [0, 1], (len(index), n_columns)."""
        return self.table[index].float().div_(255.0)

    def to(self, device: torch.device | str) -> GreyLevels:
        """Return the table on `device`."""
        return GreyLevels(self.table.to(device))


UnpairedPool = Literal["all", "rest", "none"]
Table = Tensor | SparseRows | PackedBits | GreyLevels


class BatchSource(Protocol):
    """Examples that a stream draws its batches from."""

    @property
    def weights(self) -> Tensor | None:
        """How often each example is drawn, (n_examples,); None: each once in a pass."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, rows: Tensor) -> Mapping[str, Input]:
        """Return the examples `rows` (int64), by modality: (len(rows), columns)."""
        ...

    def sha256(self) -> str:
        """Return a digest of the data: training resumes only on the same."""
        ...


class TensorSource:
    """Examples held as tensors.

    Parameters
    ----------
    tables
        By modality: rows of features, dense, sparse or packed bits.
    index
        By modality: (n_examples,), int64, which row of the table each example has, so that for
        instance all spectra of a compound share one fingerprint. A modality that is left out has
        one row for each example.
    weights
        (n_examples,), positive: examples are drawn in proportion to them, with replacement, as
        many in a pass as there are examples. None: each once in a pass.

    Raises
    ------
    ConfigError
        If the modalities have different numbers of examples or an index points beyond its table.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        index: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self._tables = dict(tables)
        self._index = dict(index or {})
        lengths = {}
        for name, table in self._tables.items():
            rows = self._index.get(name)
            lengths[name] = len(table) if rows is None else len(rows)
            if (
                rows is not None
                and len(rows)
                and not 0 <= int(rows.min()) <= int(rows.max()) < len(table)
            ):
                raise ConfigError(f"index of {name}: points outside its {len(table)} rows")
        if len(set(lengths.values())) != 1:
            raise ConfigError(f"modalities have different numbers of examples: {lengths}")
        self._length = next(iter(lengths.values()))
        if weights is not None and (
            weights.shape != (self._length,) or not bool((weights > 0).all())
        ):
            raise ConfigError(f"weights: wanted {self._length} positive numbers")
        self.weights = weights

    def __len__(self) -> int:
        return self._length

    def batch(self, rows: Tensor) -> dict[str, Input]:
        """Return the examples `rows` (int64), by modality: (len(rows), columns)."""
        batch: dict[str, Input] = {}
        for name, table in self._tables.items():
            chosen = self._index[name][rows] if name in self._index else rows
            batch[name] = table[chosen] if isinstance(table, Tensor) else table.rows(chosen)
        return batch

    def sha256(self) -> str:
        """Return a digest of tables and indices."""
        digest = hashlib.sha256()
        for name, table in sorted(self._tables.items()):
            tensors: tuple[Tensor, ...]
            if isinstance(table, SparseRows):
                digest.update(f"{name} sparse {table.n_columns}\n".encode())
                tensors = (table.offsets, table.columns, table.values)
            elif isinstance(table, PackedBits):
                digest.update(f"{name} bits {table.n_bits}\n".encode())
                tensors = (table.table,)
            elif isinstance(table, GreyLevels):
                digest.update(f"{name} levels {tuple(table.table.shape)}\n".encode())
                tensors = (table.table,)
            else:
                digest.update(f"{name} dense {tuple(table.shape)}\n".encode())
                tensors = (table,)
            for tensor in tensors:
                digest.update(tensor_bytes(tensor))
        for name, rows in sorted(self._index.items()):
            digest.update(f"{name} index\n".encode())
            digest.update(tensor_bytes(rows))
        if self.weights is not None:
            digest.update(b"weights\n")
            digest.update(tensor_bytes(self.weights))
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> TensorSource:
        """Return the source with all tensors on `device`."""
        tables: dict[str, Table] = {n: table.to(device) for n, table in self._tables.items()}
        index = {name: rows.to(device) for name, rows in self._index.items()}
        return TensorSource(tables, index, self.weights)


@dataclass(frozen=True)
class TrainingData:
    """What is learned from.

    Attributes
    ----------
    paired
        Examples with all modalities; None or empty: none.
    unpaired
        By modality: examples whose batches hold that modality (others are ignored).
    """

    paired: BatchSource | None
    unpaired: Mapping[str, BatchSource] = field(default_factory=dict)

    @classmethod
    def from_pairs(
        cls,
        tables: Mapping[str, Table],
        index: Mapping[str, Tensor] | None = None,
        *,
        supervision: float = 1.0,
        unpaired: UnpairedPool = "all",
        seed: int = 0,
    ) -> TrainingData:
        """Keep some of fully observed examples paired and stream the others apart.

        Parameters
        ----------
        tables, index
            As in :class:`TensorSource`.
        supervision
            Share of the examples that stay paired, above 0 and at most 1; at least one does.
        unpaired
            What the unpaired streams draw from: ``all`` examples, the paired ones included, as the
            published research code does; only the ``rest``; or ``none``.
        seed
            Of the choice.

        Raises
        ------
        ConfigError
            If the supervision is out of range or the tables do not fit each other.
        """
        if not 0.0 < supervision <= 1.0:
            raise ConfigError(f"supervision: wanted above 0 and at most 1, found {supervision}")
        n_examples = len(TensorSource(tables, index))
        order = torch.randperm(n_examples, generator=torch.Generator().manual_seed(seed))
        n_paired = max(1, round(supervision * n_examples))

        def source(names: Collection[str], rows: Tensor) -> TensorSource:
            chosen = {n: rows if index is None or n not in index else index[n][rows] for n in names}
            return TensorSource({name: tables[name] for name in names}, chosen)

        paired = source(tables, order[:n_paired].sort().values)
        if unpaired == "none":
            return cls(paired)
        rest = torch.arange(n_examples) if unpaired == "all" else order[n_paired:].sort().values
        return cls(paired, {name: source([name], rest) for name in tables})

    def streams(self) -> dict[str, BatchSource]:
        """Return the non-empty sources by stream: ``paired`` and ``unpaired-NAME``."""
        streams = {} if self.paired is None else {_PAIRED: self.paired}
        streams |= {f"unpaired-{name}": source for name, source in self.unpaired.items()}
        return {name: source for name, source in streams.items() if len(source)}


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

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    clip_norm: float | None = None
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: float = 0.0
    seed: int = 0
    patience: int | None = None
    weight_averaging: float | None = None
    amp: bool = False
    epoch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: must be positive, found {getattr(self, name)}")
        if self.epoch_size is not None and self.epoch_size < 1:
            raise ConfigError(f"epoch_size: must be positive, found {self.epoch_size}")
        if self.clip_norm is not None and not self.clip_norm > 0.0:
            raise ConfigError(f"clip_norm: must be positive, found {self.clip_norm}")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup: must lie in [0, 1), found {self.warmup}")
        if self.weight_averaging is not None and not 0.0 < self.weight_averaging < 1.0:
            raise ConfigError(
                f"weight_averaging: must lie between 0 and 1, found {self.weight_averaging}"
            )

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


def _batches(source: BatchSource, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled rows without end, reshuffled (or drawn anew by weight) after each pass.

    A pass is cut into equal batches, not into full ones and a rest: no example weighs more than
    another, and no batch of one row reaches a batch normalisation.
    """
    n_rows = len(source)
    while True:
        if source.weights is None:
            order = torch.randperm(n_rows, generator=generator)
        else:
            order = torch.multinomial(source.weights, n_rows, True, generator=generator)
        yield from order.tensor_split(math.ceil(n_rows / batch_size))


def _adam(model: torch.nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    adam = partial(
        torch.optim.AdamW,
        model.parameters(),
        lr=optim.learning_rate,
        weight_decay=optim.weight_decay,
    )
    try:
        return adam(fused=True)
    except RuntimeError:  # no fused kernel in this torch for this device
        return adam(foreach=True)


@dataclass
class _Run:
    """Everything that changes from epoch to epoch: what the resume state holds."""

    model: MultimodalVAE
    optimizer: torch.optim.Optimizer
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
        for number, slots in self.optimizer.state_dict()["state"].items():
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
        param_groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": param_groups})
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
            told = [
                f"{place}{name} {_short(before.get(name))} (now {_short(after.get(name))})"
                for name in names[:3]
            ]
            if len(names) > 3:
                told.append(f"{len(names) - 3} other settings")
            return ", ".join(told)
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
    objective.check(model.config.names, [name for name, of in data.unpaired.items() if len(of)])
    model.to(device)
    averaged = None if optim.weight_averaging is None else copy.deepcopy(model)
    run = _Run(model, _adam(model, optim), averaged)
    description: dict[str, Any] = {}
    if state is not None:
        settings_of_caller = {"settings": dict(state.settings)}
        description = settings_of_caller | _description(model, data, optim, objective)
        if resume and state.path.exists():
            run.load(state.path, description, optim.epochs, device)
    n_saved, saved_at = len(run.records), time.monotonic()
    streams = {name: _moved(source, device) for name, source in streams.items()}

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        while len(run.records) < optim.epochs and not _out_of_patience(run.records, optim.patience):
            started = time.perf_counter()
            means, norm, rate = _train_epoch(run, streams, optim, objective, on_step)
            trained = time.perf_counter()
            value = _validate(run.kept, validate)
            top = max((r.validation for r in run.records if r.validation is not None), default=None)
            best = value is None or top is None or value > top
            if best:
                run.best = {n: t.detach().clone() for n, t in run.kept.state_dict().items()}
            record = EpochRecord(
                epoch=len(run.records) + 1,
                total=means.pop("total"),
                parts=means,
                validation=value,
                best=best,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=trained - started,
                validation_seconds=time.perf_counter() - trained,
            )
            run.records.append(record)
            if state is not None and time.monotonic() - saved_at >= state.every:
                run.save(state.path, description)
                n_saved, saved_at = len(run.records), time.monotonic()
            if on_epoch is not None:
                on_epoch(record)
    if state is not None and len(run.records) > n_saved:
        run.save(state.path, description)
    model.load_state_dict(run.best)
    model.eval()
    return History(tuple(run.records))


def _moved(source: BatchSource, device: torch.device) -> BatchSource:
    """Return `source` with its tables on a GPU, which spares moving a batch in every step."""
    if device.type != "cpu" and isinstance(source, TensorSource):
        return source.to(device)
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


def _train_epoch(
    run: _Run,
    streams: Mapping[str, BatchSource],
    optim: OptimConfig,
    objective: ObjectiveConfig,
    on_step: Callable[[int, int, int], None] | None,
) -> tuple[dict[str, float], float, float]:
    """Train one epoch; return the means of total and parts, of the gradient norm, and the rate."""
    model, optimizer = run.model, run.optimizer
    device = next(model.parameters()).device
    done = len(run.records)
    n_examples = optim.epoch_size or max(len(source) for source in streams.values())
    n_steps = math.ceil(n_examples / optim.batch_size)
    draws = {
        name: _batches(
            source,
            optim.batch_size,
            torch.Generator().manual_seed(_derived_seed(optim.seed, done, name)),
        )
        for name, source in streams.items()
    }
    noise = torch.Generator(device).manual_seed(_derived_seed(optim.seed, done, "noise"))
    torch.manual_seed(_derived_seed(optim.seed, done, "dropout"))
    parameters = list(model.parameters())
    sums: dict[str, float] = {}
    norm_sum = rate = 0.0
    model.train()
    for step in range(n_steps):
        place = f"epoch {done + 1}, step {step + 1}"
        batches = {
            name: {key: x.to(device) for key, x in source.batch(next(draws[name])).items()}
            for name, source in streams.items()
        }
        paired = batches.pop(_PAIRED, None)
        unpaired = {}
        for name, batch in batches.items():
            modality = name.removeprefix("unpaired-")
            unpaired[modality] = batch[modality]
        amp = torch.autocast(device.type, torch.bfloat16) if optim.amp else contextlib.nullcontext()
        with amp:
            beta = objective.beta_at(done + step / n_steps)
            terms = loss(model, paired, unpaired, objective, beta=beta, generator=noise)
        values = _finite(terms, place)
        optimizer.zero_grad()
        terms.total.backward()  # type: ignore[no-untyped-call]
        norm = _clip(parameters, optim.clip_norm)
        if not math.isfinite(norm):
            raise TrainingError(f"{place}: the gradient is no longer finite")
        rate = optim.rate_at(done * n_steps + step, optim.epochs * n_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if run.averaged is not None and optim.weight_averaging is not None:
            _average(run.averaged, model, optim.weight_averaging, done * n_steps + step)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        norm_sum += norm
        if on_step is not None:
            on_step(done + 1, step + 1, n_steps)
    return {name: value / n_steps for name, value in sums.items()}, norm_sum / n_steps, rate


def _finite(terms: LossParts, place: str) -> dict[str, float]:
    """Return total and parts as numbers, fetched from the device at once."""
    names = ["total", *terms.parts]
    stacked = torch.stack([terms.total, *terms.parts.values()]).detach()
    values: dict[str, float] = dict(zip(names, stacked.tolist(), strict=True))
    for name in (*terms.parts, "total"):
        if not math.isfinite(values[name]):
            raise TrainingError(f"{place}: the loss is no longer finite: {name} is {values[name]}")
    return values


def _clip(parameters: list[torch.nn.Parameter], clip_norm: float | None) -> float:
    """Scale the gradients to a norm of at most `clip_norm`; return the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    norm = float(torch.linalg.vector_norm(norms))
    if clip_norm is not None and norm > clip_norm:
        torch._foreach_mul_(gradients, clip_norm / norm)
    return norm


@torch.no_grad()
def _average(averaged: MultimodalVAE, model: MultimodalVAE, decay: float, step: int) -> None:
    """Move the averaged weights towards the present ones; early steps, faster."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    ours: list[Tensor] = list(averaged.parameters())
    theirs: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    for buffer, value in zip(averaged.buffers(), model.buffers(), strict=True):
        buffer.copy_(value)
