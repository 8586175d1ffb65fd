"""One training run of an experiment, in a folder of its own that can be gone on with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from specvae import __version__
from specvae.errors import ConfigError, InputError, Interrupted
from specvae.files import atomic_text, json_ready
from specvae.interruption import interruptible
from specvae.vae.checkpoint import save_checkpoint
from specvae.vae.config import ObjectiveConfig, OptimConfig, SubsetTargets, Variance
from specvae.vae.data import TrainingData, UnpairedPool
from specvae.vae.header import Header
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.state import EpochRecord, History, StateFile
from specvae.vae.training import fit
from specvae_bench.files import write_result
from specvae_bench.paper.experiments import Experiment
from specvae_bench.paper.tasks import Fold, Task

Trainer = Literal["specvae", "multivae"]

RESULT = "result.json"
_EPOCHS = "epochs.jsonl"
_STATE = "training-state.safetensors"
_MODEL = "model.safetensors"
_WRITTEN_LAST = (_MODEL, "reconstructions.png", "samples.png")
# Weights begin at torch's global generator: runs side by side in one process take turns.
_BEGINNING = threading.Lock()


@dataclass(frozen=True)
class RunSettings:
    """What a run adds to its experiment; None is the experiment's own value.

    Attributes
    ----------
    kind
        One of :data:`~specvae.vae.kinds.MODEL_KINDS`.
    supervision
        Share of the training pairs that stay paired.
    seed
        Of the choice of pairs, the weights, the batches and the codes.
    unpaired
        What the unpaired streams draw from; None: ``all``, or ``none`` for a kind that learns from
        pairs only.
    n_samples
        Codes for each expectation, K of MMVAE's bounds; None: the kind's own.
    prior_expert, variance
        See :class:`~specvae.vae.config.ModelConfig`.
    epochs, batch_size, learning_rate
        Instead of the experiment's.
    amp
        Matrix products in bfloat16.
    subset_targets
        What two of three parts reconstruct; see
        :class:`~specvae.vae.config.ObjectiveConfig`.
    trainer
        ``specvae``, or ``multivae``: its objective and its training loop on our networks, pairs
        only, and the last epoch is kept.
    """

    kind: str
    supervision: float = 1.0
    seed: int = 0
    unpaired: UnpairedPool | None = None
    n_samples: int | None = None
    prior_expert: bool = True
    variance: Variance | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    amp: bool = False
    subset_targets: SubsetTargets = "given"
    trainer: Trainer = "specvae"

    @property
    def pairs_only(self) -> bool:
        """Whether unpaired examples cannot be learned from."""
        return not MODEL_KINDS[self.kind].learns_from_unpaired or self.trainer == "multivae"

    def require_possible(self) -> None:
        """Refuse what cannot be done in any experiment.

        Raises
        ------
        ConfigError
            If unpaired examples are asked for and the kind cannot learn from them, or multivae has
            no such kind, is not installed, or is to train in bfloat16.
        """
        if self.pairs_only and self.unpaired not in (None, "none"):
            who = f"model kind {self.kind}" if self.trainer == "specvae" else "multivae's trainer"
            raise ConfigError(
                f"{who} learns from pairs only; it cannot stream unpaired examples "
                f"('{self.unpaired}'), wanted 'none'"
            )
        if self.trainer == "multivae":
            from specvae_bench.paper.multivae_peer import require_peer

            if self.amp:
                raise ConfigError("multivae's trainer knows no bfloat16; leave --amp out")
            require_peer(MODEL_KINDS[self.kind])

    def filled(self, task: Task) -> RunSettings:
        """Return the settings with the experiment's values in place of None.

        Raises
        ------
        ConfigError
            As of `require_possible`, or if multivae has no counterpart.
        """
        self.require_possible()
        experiment, kind = task.experiment, MODEL_KINDS[self.kind]
        rate = experiment.learning_rates.get(self.kind, experiment.learning_rate)
        filled = replace(
            self,
            n_samples=self.n_samples or kind.n_samples,
            unpaired=self.unpaired or ("none" if self.pairs_only else "all"),
            variance=self.variance
            or experiment.model_config(self.kind, self.prior_expert).variance,
            epochs=self.epochs or experiment.epochs,
            batch_size=self.batch_size or experiment.batch_size,
            learning_rate=self.learning_rate or rate,
        )
        if self.trainer == "multivae":
            from specvae_bench.paper.multivae_peer import require_counterpart

            config = experiment.model_config(self.kind, self.prior_expert, self.variance)
            require_counterpart(config, filled.objective(experiment))
        return filled

    def objective(self, experiment: Experiment) -> ObjectiveConfig:
        """Return the objective of the kind, weighted as the experiment says."""
        return ObjectiveConfig(
            loss=MODEL_KINDS[self.kind].loss,
            modality_weights=experiment.modality_weights,
            n_samples=self.n_samples or MODEL_KINDS[self.kind].n_samples,
            subset_targets=self.subset_targets,
        )

    @property
    def folder(self) -> str:
        """Where a sweep keeps the run: kind, supervision and seed."""
        kind = self.kind if self.trainer == "specvae" else f"{self.kind}-by-{self.trainer}"
        return f"{kind}/supervision-{self.supervision:.12g}/seed-{self.seed}"


def read_result(path: Path) -> dict[str, Any]:
    """Return the JSON table of a ``result.json``.

    Raises
    ------
    InputError
        If it cannot be read or is not of a run of this module.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    for key in ("benchmark", "settings", "n_pairs", "validation", "test", "epochs"):
        if not isinstance(result, dict) or key not in result:
            raise InputError(f"{path}: not the result of an experiment: key '{key}' is missing")
    # Results of before the option have none.
    result["settings"].setdefault("subset_targets", "given")
    return cast("dict[str, Any]", result)


def finished(task: Task, settings: RunSettings, folder: Path) -> dict[str, Any] | None:
    """Return the result in `folder` if it is of this task with these settings, else None."""
    path = folder / RESULT
    if not path.exists():
        return None
    result = read_result(path)
    wanted = json_ready({"settings": asdict(settings.filled(task)), **task.describe()})
    same = all(result.get(key) == json.loads(json.dumps(value)) for key, value in wanted.items())
    complete = len(result["epochs"]) >= result["settings"]["epochs"]
    return result if same and complete else None


def require_own(task: Task, settings: RunSettings, folder: Path) -> None:
    """Refuse settings that do not fit the task, and a folder with files of another run or others.

    A run of other epochs is the same run. One on other data, or whose epochs others have judged, is
    another one.

    Raises
    ------
    ConfigError
        If there is such a result, or `RunSettings.filled` has something against the settings.
    InputError
        If there is a file that would be replaced, and nothing by which a run is known.
    """
    wanted = {"benchmark": task.experiment.name, **asdict(settings.filled(task)), "epochs": None}
    if not (folder / RESULT).exists():
        # An interrupted run is known by its epochs, which are looked at before they are replaced.
        begun = any((folder / name).exists() for name in (_EPOCHS, _STATE))
        for name in () if begun else _WRITTEN_LAST:
            if (folder / name).exists():
                raise InputError(
                    f"{folder / name}: would be replaced, and no run is beside it; wanted another "
                    "folder (-o), or that file elsewhere"
                )
        return
    result = read_result(folder / RESULT)
    found = {**wanted, **result["settings"], "benchmark": result["benchmark"], "epochs": None}
    for key, value in wanted.items():
        if found[key] != value:
            raise ConfigError(
                f"{folder}: holds another run, its {key} is {found[key]}, wanted {value}; choose "
                "another folder"
            )
    described = _of_data(json.loads(json.dumps(task.describe())))
    for key, value in _of_data(result).items():
        if key in described and described[key] != value:
            raise ConfigError(f"{folder}: holds a run with other {key}; choose another folder")


def _of_data(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of its data and of what judged them.

    Judges that were trained again on the same data, by the same settings, are the same.
    """
    found = {key: result[key] for key in ("data", "vocabulary", "metric") if key in result}
    if "oracles" in result:
        found["oracles"] = {
            name: {key: card.get(key) for key in ("settings", "train_sha256", "image_shape")}
            for name, card in result["oracles"].items()
        }
    return found


def run(
    task: Task,
    settings: RunSettings,
    folder: Path,
    *,
    device: torch.device | str,
    on_epoch: Callable[[EpochRecord, Mapping[str, float]], None],
    on_step: Callable[[int, int, int], None],
    stop: Callable[[], bool] | None = None,
    on_interrupt: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train, measure, draw; return what ``result.json`` says.

    A run that was interrupted or stopped goes on, one that was finished with fewer epochs is
    prolonged.

    Parameters
    ----------
    task
        Data and figures of merit.
    settings
        Kind, supervision, seed and deviations from the experiment.
    folder
        Gets ``result.json``, ``model.safetensors``, ``epochs.jsonl``, the resume state and the
        pictures.
    device
        Where to train and measure.
    on_epoch
        Called after each epoch with its record and the figures of the validation fold.
    on_step, stop
        As in :func:`~specvae.vae.training.fit`.
    on_interrupt
        Called at the first Ctrl-C, after which the run ends with its epoch, so that this is kept;
        the second one ends it at once. None: so does the first.

    Raises
    ------
    Interrupted
        If the first Ctrl-C ended it.
    ConfigError, TrainingError
        If the settings do not fit the kind, the state in the folder is another run's, or training
        fails.
    """
    settings = settings.filled(task)
    require_own(task, settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.trainer == "multivae":
        device = "cpu"
    model = _new_model(task, settings)
    data = TrainingData.from_pairs(
        task.tables,
        task.index,
        supervision=settings.supervision,
        unpaired=settings.unpaired or "all",
        seed=settings.seed,
    )
    objective, optim = settings.objective(task.experiment), _optim_config(task, settings)
    measurement = _Measurement(task, settings.seed, device)
    log = _EpochLog(folder / _EPOCHS)
    if settings.trainer == "multivae":
        log.rows = _train_by_peer(model, data, optim, objective)
        best_epoch = optim.epochs
    else:

        def record(epoch: EpochRecord) -> None:
            log.add({**epoch.to_json(), "measured": dict(measurement.latest)})
            on_epoch(epoch, measurement.latest)

        trained = partial(
            fit,
            model,
            data,
            optim,
            objective,
            validate=measurement.validate,
            on_epoch=record,
            on_step=on_step,
            state=StateFile(folder / _STATE),
            resume=True,
            device=device,
        )
        history, is_interrupted = _until_stopped(trained, stop or _never, on_interrupt)
        if is_interrupted:
            raise Interrupted(
                f"{folder}: stopped after epoch {len(history.epochs)} of {optim.epochs}, which is "
                "kept; the same command goes on from there"
            )
        best_epoch = history.best.epoch
        log.finish(history, task.criterion)
    result = {
        **_description(task, settings, model, optim),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "criterion": task.criterion,
        "best_epoch": best_epoch,
        "validation": measurement.of_fold(model, "validation"),
        "test": measurement.of_fold(model, "test"),
        **task.compare(model, measurement.generator()),
        "seconds_per_epoch": _upper_median([epoch["seconds"] for epoch in log.rows]),
        "epochs": log.rows,
    }
    header = Header(program=f"specvae {__version__}", others={"benchmark": task.experiment.name})
    save_checkpoint(folder / _MODEL, model, header)
    task.draw(model, folder, measurement.generator())
    write_result(folder / RESULT, result)
    return result


def _until_stopped(
    train: Callable[..., History],
    stop: Callable[[], bool],
    on_interrupt: Callable[[], None] | None,
) -> tuple[History, bool]:
    """Train until `stop` says so or Ctrl-C comes, if `on_interrupt` is to know of that.

    Returns the epochs, and whether Ctrl-C ended them.
    """
    catching = nullcontext(_never) if on_interrupt is None else interruptible(on_interrupt)
    with catching as is_interrupted:
        history = train(stop=lambda: is_interrupted() or stop())
        return history, is_interrupted()


def _never() -> bool:
    return False


def _new_model(task: Task, settings: RunSettings) -> MultimodalVAE:
    config = task.experiment.model_config(settings.kind, settings.prior_expert, settings.variance)
    with _BEGINNING:
        torch.manual_seed(settings.seed)
        return MultimodalVAE(config)


def _optim_config(task: Task, settings: RunSettings) -> OptimConfig:
    experiment = task.experiment
    return OptimConfig(
        epochs=settings.epochs or experiment.epochs,
        batch_size=settings.batch_size or experiment.batch_size,
        learning_rate=settings.learning_rate or experiment.learning_rate,
        seed=settings.seed,
        amp=settings.amp,
        epoch_size=_n_pairs(task),
    )


class _Measurement:
    """The task's figures of merit, each time with the same random numbers.

    Attributes
    ----------
    latest
        The figures of the validation fold after the last epoch.
    """

    def __init__(self, task: Task, seed: int, device: torch.device | str) -> None:
        self._task = task
        self._seed = seed
        self._device = device
        self.latest: dict[str, float] = {}

    def generator(self) -> torch.Generator:
        """Return a generator of random numbers at its beginning."""
        return torch.Generator(self._device).manual_seed(self._seed)

    def of_fold(self, model: MultimodalVAE, fold: Fold) -> dict[str, float]:
        """Return the figures of a fold."""
        return self._task.measure(model, fold, self.generator())

    def validate(self, model: MultimodalVAE) -> float:
        """Return the figure that the best epoch is chosen by; keep all."""
        self.latest.clear()
        self.latest.update(self.of_fold(model, "validation"))
        return self.latest[self._task.criterion]


def _description(
    task: Task, settings: RunSettings, model: MultimodalVAE, optim: OptimConfig
) -> dict[str, Any]:
    """Return what was trained, and how, as ``result.json`` says it."""
    return {
        "benchmark": task.experiment.name,
        "date": time.strftime("%Y-%m-%d"),
        "settings": asdict(settings),
        **task.describe(),
        "model": model.config.to_json(),
        "objective": settings.objective(task.experiment).to_json(),
        "optim": optim.to_json(),
        "n_pairs": _n_pairs(task),
        "n_parameters": model.n_parameters,
    }


def _upper_median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _train_by_peer(
    model: MultimodalVAE, data: TrainingData, optim: OptimConfig, objective: ObjectiveConfig
) -> list[dict[str, Any]]:
    """Train `model` in place with multivae's trainer; return the seconds of each epoch."""
    from specvae_bench.paper.multivae_peer import peer_epoch_seconds, peer_model

    pairs = data.streams()["paired"]
    x = cast("dict[str, Tensor]", pairs.batch(torch.arange(len(pairs))))
    seconds = peer_epoch_seconds(peer_model(model, objective), x, optim, "trainer")
    model.eval()
    return [{"epoch": epoch, "seconds": duration} for epoch, duration in enumerate(seconds, 1)]


def _n_pairs(task: Task) -> int:
    if task.index is not None:
        return len(next(iter(task.index.values())))
    return len(next(iter(task.tables.values())))


class _EpochLog:
    """The epochs of a run, one JSON line each, kept up through interruptions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []
        try:
            if path.exists():
                lines = path.read_text(encoding="utf-8").splitlines()
                self.rows = [row for row in map(json.loads, lines) if row["epoch"] > 0]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged, or not of such a run; remove it") from None

    def add(self, row: dict[str, Any]) -> None:
        """Add an epoch; a line of the same or a later epoch, of a run before, is dropped."""
        self.rows = [known for known in self.rows if known["epoch"] < row["epoch"]]
        self.rows.append(row)
        self._write()

    def finish(self, history: History, criterion: str) -> None:
        """Keep exactly the epochs of `history`.

        A run that was killed between the writing of its state and of this log lacks an epoch here;
        of its figures only the criterion is known.
        """
        known = {row["epoch"]: row for row in self.rows}
        self.rows = [
            known.get(
                record.epoch, {**record.to_json(), "measured": {criterion: record.validation}}
            )
            for record in history.epochs
        ]
        self._write()

    def _write(self) -> None:
        with atomic_text(self._path) as stream:
            stream.writelines(json.dumps(json_ready(row)) + "\n" for row in self.rows)
