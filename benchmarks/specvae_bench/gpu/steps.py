"""The steps of `bench gpu`: each measures one thing and writes what it has as it goes."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from specvae.errors import InputError
from specvae.vae.device import CudaOptions, computing, pick_device
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss
from specvae.vae.state import EpochRecord, StateFile
from specvae.vae.training import fit
from specvae_bench.files import write_result
from specvae_bench.gpu import equality
from specvae_bench.gpu.prepared import PreparedData, predicted_logits, read_prepared
from specvae_bench.paper.images import ImageSet
from specvae_bench.paper.loaders import LOADERS
from specvae_bench.paper.oracles import Oracle, OracleSettings, oracle_for
from specvae_bench.paper.runs import RunSettings, finished, run
from specvae_bench.paper.tasks import Task

SPLIT_KINDS = ("svae", "svae-star", "vaevae", "vaevae-star")
THREE_KINDS = ("svae", "vaevae")
LEVELS = (0.1, 0.01, 0.001)
FEW_PAIRS = (0.01, 0.001)


@dataclass(frozen=True)
class Plan:
    """What a call of `bench gpu` was given.

    Attributes
    ----------
    output
        Gets the results.
    device
        ``cuda`` or ``cpu``.
    data
        Folder of MNIST's files; None: the steps on digits are left out.
    prepared
        The file of encoded spectra; None: the steps on spectra are left out.
    epochs
        Instead of the paper's of each step; for a trial.
    limit
        Only the first so many examples; for a trial.
    oracle_epochs
        Of the classifier that judges digits.
    keep_state
        Keep the state of the spectra's networks too, 16 bytes a weight, so that they can go on.
    bfloat16
        Train the spectra's networks with products in bfloat16.
    kinds
        Only these model kinds of those that a step on digits trains side by side; empty: all.
    """

    output: Path
    device: str
    data: Path | None = None
    prepared: Path | None = None
    epochs: int | None = None
    limit: int | None = None
    oracle_epochs: int | None = None
    keep_state: bool = False
    bfloat16: bool = False
    kinds: tuple[str, ...] = ()


class Result:
    """A step's JSON file, written whole each time that something comes in."""

    def __init__(self, path: Path, plan: Plan, deadline: float) -> None:
        self._path = path
        self._started = time.monotonic()
        self.deadline = deadline
        self.values: dict[str, Any] = {
            "done": False,
            "date": time.strftime("%Y-%m-%d"),
            "device": describe_device(plan.device),
            "trial": {"epochs": plan.epochs, "limit": plan.limit},
        }

    def is_late(self) -> bool:
        """Whether the step's time is up."""
        return time.monotonic() >= self.deadline

    def write(self, **values: Any) -> None:  # noqa: ANN401
        """Add values and write the file."""
        self.values |= values
        self.values["seconds"] = round(time.monotonic() - self._started, 1)
        write_result(self._path, self.values)


def describe_device(name: str) -> dict[str, Any]:
    """Return what computes, as JSON values."""
    if name != "cuda":
        return {"name": "cpu", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def equality_step(plan: Plan, result: Result) -> None:
    """Losses, gradients, recorded steps and resumed runs against the CPU's."""
    device = pick_device(plan.device)
    runs: dict[str, Any] = {}
    batches: dict[str, Any] = {}
    failures: dict[str, str] = {}
    cases = _equality_cases(runs, batches, trial=plan.limit is not None)
    for name, kind, function, into in cases:
        if result.is_late():
            break
        label = f"{name}/{kind}"
        try:
            experiment = (
                equality.spectra_experiment(8, 40, 20)
                if plan.limit
                else equality.EXPERIMENTS[name]()
            )
            into[label] = function(experiment, kind, device)
        except Exception as error:
            failures[f"{label}/{function.__name__}"] = _told(error)
        result.write(batches=batches, runs=runs, failures=failures)
    result.write(done=len(batches) + len(runs) + len(failures) == len(cases))


_RUNS = (
    ("mnist-split", "svae"),
    ("spectra", "svae"),
    ("mnist-split", "vaevae"),
    ("spectra", "vaevae"),
    ("mnist-split-3", "svae"),
)
_MORE_RUNS = (
    ("mnist-split", "mmvae"),
    ("mnist-split-3", "mvae"),
    ("mnist-svhn", "svae"),
    ("cub-captions", "vaevae"),
)


def _equality_cases(
    runs: dict[str, Any], batches: dict[str, Any], *, trial: bool
) -> list[tuple[str, str, Callable[..., Any], dict[str, Any]]]:
    """Return what is compared: experiment, model kind, how, and where the result goes.

    What long runs rest on comes first.
    """
    if trial:
        return [
            ("spectra", "svae", equality.compare_runs, runs),
            *(("spectra", kind, equality.compare, batches) for kind in ("svae", "vaevae", "mmvae")),
        ]
    names = list(equality.EXPERIMENTS)
    of_batches = [(name, kind) for kind in MODEL_KINDS for name in names]
    return [
        *((name, kind, equality.compare_runs, runs) for name, kind in _RUNS),
        *((name, kind, equality.compare, batches) for name, kind in of_batches),
        *((name, kind, equality.compare_runs, runs) for name, kind in _MORE_RUNS),
    ]


def speed_step(plan: Plan, result: Result) -> None:
    """Seconds of a training step, memory and FLOP/s of the networks on spectra."""
    prepared = _prepared(plan)
    device = pick_device(plan.device)
    n_steps = 60 if plan.limit is None else 2
    exact = CudaOptions(tf32=False, graphs=False)
    modes = {
        "tf32": (CudaOptions(), False),
        "bfloat16": (CudaOptions(), True),
        "tf32, not recorded": (CudaOptions(graphs=False), False),
        "float32": (exact, False),
    }
    if plan.limit:
        modes = {"tf32": modes["tf32"]}
    figures: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for kind in prepared.kinds:
        for mode, (options, amp) in modes.items():
            if result.is_late():
                break
            try:
                figures[f"{kind}, {mode}"] = _speed(prepared, kind, device, options, amp, n_steps)
            except Exception as error:
                failures[f"{kind}, {mode}"] = _told(error)
            _forget(device)
            result.write(figures=figures, failures=failures)
    result.write(done=len(figures) + len(failures) == len(prepared.kinds) * len(modes))


def _speed(
    prepared: PreparedData,
    kind: str,
    device: torch.device,
    options: CudaOptions,
    amp: bool,
    n_steps: int,
) -> dict[str, Any]:
    config, objective, optim = prepared.configs(kind)
    flops = _flops_of_a_step(_new_model(config, device, 0), prepared, kind, device)
    # Gradients that were made on one stream and freed on another wait for both: what counted the
    # operations must be gone before a training on a stream of its own begins.
    _forget(device)
    model = _new_model(config, device, 0)
    optim = replace(optim, epochs=2, amp=amp, epoch_size=n_steps * optim.batch_size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with equality.notes() as logged:
        history = fit(
            model, prepared.training_data(), optim, objective, device=device, cuda=options
        )
    seconds = history.epochs[-1].seconds / n_steps  # the first epoch warms up and records
    steps_of_epoch = -(-len(prepared.train) // optim.batch_size)
    figures = {
        "seconds_per_step": seconds,
        "seconds_per_epoch": seconds * steps_of_epoch,
        "flop_per_step": flops,
        "flop_per_second": flops / seconds,
        "n_parameters": model.n_parameters,
        "notes": sorted(set(logged)),
    }
    if device.type == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def _forget(device: torch.device) -> None:
    """Give the device back what nothing refers to."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _flops_of_a_step(
    model: MultimodalVAE, prepared: PreparedData, kind: str, device: torch.device
) -> int:
    """Return the operations of the matrix products of a step, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    _, objective, optim = prepared.configs(kind)
    streams = prepared.training_data().streams()
    batches = {}
    for name, source in streams.items():
        batch = source.batch(torch.arange(min(optim.batch_size, len(source))))
        batches[name] = {
            key: (x if isinstance(x, torch.Tensor) else x.to_dense()).to(device)
            for key, x in batch.items()
        }
    paired = batches.pop("paired")
    unpaired = {key: x for batch in batches.values() for key, x in batch.items()}
    model.train()
    with FlopCounterMode(display=False) as counter, computing(device, CudaOptions()):
        terms = loss(model, paired, unpaired, objective)
        terms.total.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    return int(counter.get_total_flops())


def _new_model(config: Any, device: torch.device, seed: int) -> MultimodalVAE:  # noqa: ANN401
    # Made on the device: half a billion random numbers take seconds on a CPU.
    torch.manual_seed(seed)
    with torch.device(device):
        return MultimodalVAE(config)


def spectra_step(plan: Plan, result: Result, kind: str) -> None:
    """Train a model kind on spectra with the paper's networks; predict the folds' queries."""
    prepared = _prepared(plan)
    device = pick_device(plan.device)
    config, objective, optim = prepared.configs(kind)
    optim = replace(optim, epochs=plan.epochs or optim.epochs, amp=plan.bfloat16)
    model = _new_model(config, device, prepared.meta["seed"])
    state = None
    if plan.keep_state:
        state = StateFile(plan.output / f"{result.values['step']}.state.safetensors", every=1e9)
    epochs: list[dict[str, Any]] = []

    def on_epoch(record: EpochRecord) -> None:
        epochs.append(record.to_json())
        result.write(epochs=epochs)

    with equality.notes() as logged:
        history = fit(
            model,
            prepared.training_data(),
            optim,
            objective,
            validate=prepared.mean_reciprocal_rank,
            on_epoch=on_epoch,
            state=state,
            resume=True,
            device=device,
            stop=result.is_late,
        )
    result.write(
        kind=kind,
        model=config.to_json(),
        objective=objective.to_json(),
        optim=optim.to_json(),
        prepared={key: value for key, value in prepared.meta.items() if key != "kinds"},
        n_training_spectra=len(prepared.train),
        n_validation_spectra=len(prepared.val),
        n_parameters=model.n_parameters,
        epochs=[record.to_json() for record in history.epochs],
        best_epoch=history.best.epoch,
        notes=sorted(set(logged)),
    )
    logits = {
        name: predicted_logits(model, spectra).cpu().numpy()
        for name, spectra in prepared.queries.items()
    }
    blind = prepared.spectra.rows(torch.empty(0, dtype=torch.int64))
    empty = replace(blind, offsets=torch.zeros(2, dtype=torch.int64))
    logits["blind"] = predicted_logits(model, empty).cpu().numpy()
    # Half precision: three digits of a logit, so that all folds fit what comes back.
    half = {name: each.astype(np.float16) for name, each in logits.items()}
    np.savez_compressed(plan.output / f"{result.values['step']}.logits.npz", **half)  # type: ignore[arg-type]
    finished_all = len(history.epochs) >= optim.epochs
    result.write(done=finished_all or not plan.keep_state)


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


def digits_step(plan: Plan, result: Result, experiment: str, runs: Sequence[RunSettings]) -> None:
    """Train kinds on digits and what goes with them, side by side in threads with a stream each.

    One thread at a time issues work, and passes the turn on after each step: a step cannot be
    recorded while another thread touches the device. What was issued runs side by side.
    """
    device = pick_device(plan.device)
    task = LOADERS[experiment](_Request(plan, result))
    if plan.kinds:
        runs = [settings for settings in runs if settings.kind in plan.kinds]
    if plan.epochs:
        runs = [replace(settings, epochs=plan.epochs) for settings in runs]
    runs = runs[:1] if plan.limit else runs
    lanes = _Lanes(task, plan.output / experiment, device, result)
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
                self.failures[label] = _told(error)
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


def annotate_step(plan: Plan, result: Result) -> None:
    """Score candidates of many queries by their fingerprints: encode, decode, multiply."""
    prepared = _prepared(plan)
    device = pick_device(plan.device)
    config, _, _ = prepared.configs(prepared.kinds[0])
    model = _new_model(config, device, 0).eval()
    n_queries = 100_000 if plan.limit is None else plan.limit
    n_candidates = 100
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(prepared.spectra), (n_queries,), generator=generator)
    lists = torch.randint(
        len(prepared.fingerprints), (n_queries, n_candidates), generator=generator
    )
    table = prepared.fingerprints.to(device)
    for mode, options in (("tf32", CudaOptions()), ("float32", CudaOptions(tf32=False))):
        with computing(device, options), torch.inference_mode():
            _score(model, prepared, table, rows[:512], lists[:512].to(device))  # warms up
            _synchronise(device)
            started = time.perf_counter()
            best = _score(model, prepared, table, rows, lists.to(device))
            _synchronise(device)
            seconds = time.perf_counter() - started
        result.write(
            **{
                mode: {
                    "seconds": seconds,
                    "queries": n_queries,
                    "candidates_each": n_candidates,
                    "queries_per_second": n_queries / seconds,
                    "finite": bool(torch.isfinite(best).all()),
                }
            }
        )
    result.write(done=True)


def _score(
    model: MultimodalVAE,
    prepared: PreparedData,
    table: Any,  # noqa: ANN401
    rows: torch.Tensor,
    lists: torch.Tensor,
) -> torch.Tensor:
    """Return the best log-likelihood of each query's candidates, (n,)."""
    best = []
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        logits = predicted_logits(model, prepared.spectra.rows(rows[part]))
        candidates = lists[part]
        bits = table.rows(candidates.flatten()).view(*candidates.shape, -1)
        products = torch.bmm(bits, logits.unsqueeze(-1)).squeeze(-1)
        scores = products - torch.nn.functional.softplus(logits).sum(-1, keepdim=True)
        best.append(scores.amax(1))
    return torch.cat(best)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _prepared(plan: Plan) -> PreparedData:
    if plan.prepared is None:
        raise InputError("the steps on spectra need --prepared, a file of 'bench gpu --prepare'")
    prepared = read_prepared(plan.prepared)
    if plan.limit:
        prepared = replace(prepared, train=prepared.train[: plan.limit])
    return prepared


def _told(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines() or [repr(error)]
    return f"{type(error).__name__}: {text[0]} ({Path(last.filename).name}:{last.lineno})"


@dataclass(frozen=True)
class StepKind:
    """A step and its share of the time.

    Attributes
    ----------
    run
        What it does.
    seconds
        Its limit.
    needs
        ``data`` or ``prepared``, whichever it cannot do without; empty: nothing.
    """

    run: Callable[[Plan, Result], None]
    seconds: float
    needs: str = ""
    after: tuple[str, ...] = field(default=())


def _runs(kinds: Sequence[str], *levels: float, epochs: int | None = None) -> list[RunSettings]:
    return [
        RunSettings(kind, supervision=level, epochs=epochs) for level in levels for kind in kinds
    ]


def _digits(experiment: str, seconds: float, runs: Sequence[RunSettings]) -> StepKind:
    """Return a step of runs on digits."""
    return StepKind(
        lambda plan, result: digits_step(plan, result, experiment, runs), seconds, "data"
    )


# What stands in for two modalities of different kinds: three model kinds on all pairs, two on few.
# With ten codes of each expert, MMVAE would take most of the time.
_STAND_IN_RUNS = [
    *_runs(THREE_KINDS, 1.0),
    RunSettings("mmvae", n_samples=3),
    *_runs(THREE_KINDS, *FEW_PAIRS),
]

# In the order in which they are worth most.
STEPS: Mapping[str, StepKind] = {
    "equality": StepKind(equality_step, 75.0),
    "speed": StepKind(speed_step, 40.0, "prepared"),
    "spectra-svae": StepKind(
        lambda plan, result: spectra_step(plan, result, "svae"), 90.0, "prepared"
    ),
    "spectra-vaevae": StepKind(
        lambda plan, result: spectra_step(plan, result, "vaevae"), 90.0, "prepared"
    ),
    "mnist-split": _digits("mnist-split", 270.0, _runs(SPLIT_KINDS, 1.0)),
    "annotate": StepKind(annotate_step, 20.0, "prepared"),
    "supervision": _digits("mnist-split", 120.0, _runs(THREE_KINDS, *LEVELS, epochs=100)),
    "mnist-split-3": _digits("mnist-split-3", 90.0, _runs(THREE_KINDS, 1.0)),
    "mnist-colour": _digits("mnist-colour", 95.0, _STAND_IN_RUNS),
    "mnist-captions": _digits("mnist-captions", 95.0, _STAND_IN_RUNS),
}


def run_step(name: str, plan: Plan, seconds: float) -> None:
    """Run a step for at most so many seconds; what it has by then is in its file."""
    torch.set_num_threads(max(1, min(8, torch.get_num_threads())))
    result = Result(plan.output / f"{name}.json", plan, time.monotonic() + seconds)
    result.values["step"] = name
    with contextlib.suppress(KeyboardInterrupt):
        try:
            STEPS[name].run(plan, result)
        except Exception as error:
            result.write(error=_told(error))
            raise
