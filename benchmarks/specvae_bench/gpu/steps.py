"""The steps of `bench gpu`: each measures one thing and writes what it has as it goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from specvae.errors import ConfigError, SpecvaeError
from specvae.vae.device import pick_device
from specvae.vae.kinds import MODEL_KINDS
from specvae_bench.gpu import equality
from specvae_bench.gpu.digits import Trainings, digits_steps
from specvae_bench.gpu.plan import Plan, Result, told
from specvae_bench.gpu.spectra import annotate_step, spectra_step, speed_step
from specvae_bench.paper.runs import RunSettings

SPLIT_KINDS = ("svae", "svae-star", "vaevae", "vaevae-star")
THREE_KINDS = ("svae", "vaevae")
FEW_PAIRS = (0.01, 0.001)
# Of runs that are compared with each other alone.
_FEW_EPOCHS = 40


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
            failures[f"{label}/{function.__name__}"] = told(error)
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
    trainings
        Of a step on digits: several such steps can run side by side.
    """

    run: Callable[[Plan, Result], None]
    seconds: float
    needs: str = ""
    trainings: Trainings | None = None


def _runs(kinds: Sequence[str], *levels: float, epochs: int | None = None) -> list[RunSettings]:
    return [
        RunSettings(kind, supervision=level, epochs=epochs) for level in levels for kind in kinds
    ]


def _digits(
    experiment: str, seconds: float, runs: Sequence[RunSettings], folder: str = ""
) -> StepKind:
    """Return a step of runs on digits, in a folder of the experiment's name or another one."""
    trainings = Trainings(experiment, tuple(runs), folder or experiment)
    return StepKind(
        lambda plan, result: digits_steps(plan, [(trainings, result)]), seconds, "data", trainings
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
    # Nothing unpaired at full supervision, as the paper's text has it.
    "mnist-split-rest": _digits(
        "mnist-split", 230.0, [RunSettings("svae", unpaired="rest")], "mnist-split-rest"
    ),
    "annotate": StepKind(annotate_step, 20.0, "prepared"),
    # Kinds that differ in their losses alone, where pairs are few.
    "supervision": _digits(
        "mnist-split",
        300.0,
        [
            *_runs(THREE_KINDS, 0.1, epochs=_FEW_EPOCHS),
            *_runs(SPLIT_KINDS, *FEW_PAIRS, epochs=_FEW_EPOCHS),
        ],
        "supervision",
    ),
    # The same without the unpaired examples.
    "supervision-pairs": _digits(
        "mnist-split",
        40.0,
        [replace(run, unpaired="none") for run in _runs(THREE_KINDS, 0.01, epochs=_FEW_EPOCHS)],
        "supervision-pairs",
    ),
    "mnist-split-3": _digits("mnist-split-3", 90.0, _runs(THREE_KINDS, 1.0)),
    "mnist-colour": _digits("mnist-colour", 95.0, _STAND_IN_RUNS),
    "mnist-captions": _digits("mnist-captions", 95.0, _STAND_IN_RUNS),
}


def run_step(name: str, plan: Plan, seconds: float) -> None:
    """Run a step, or several on digits side by side, for at most so many seconds.

    Parameters
    ----------
    name
        One of `STEPS`, or several, joined by ``+``.
    plan
        What it is given; what it has by then is in its file, or their files.
    seconds
        Its limit.
    """
    torch.set_num_threads(max(1, min(8, torch.get_num_threads())))
    deadline = time.monotonic() + seconds
    results = {part: Result(plan.output / f"{part}.json", plan, deadline) for part in parts(name)}
    for part, result in results.items():
        result.values["step"] = part
    with contextlib.suppress(KeyboardInterrupt):
        try:
            if len(results) == 1:
                STEPS[name].run(plan, results[name])
            else:
                joined = [(STEPS[part].trainings, result) for part, result in results.items()]
                digits_steps(plan, [(each, result) for each, result in joined if each is not None])
        except Exception as error:
            for result in results.values():
                result.write(error=result.values.get("error", told(error)))
            if not isinstance(error, SpecvaeError):  # whose message says all
                raise


def parts(name: str) -> tuple[str, ...]:
    """Return the steps that ``A+B`` joins.

    Raises
    ------
    ConfigError
        If there is no such step, or one that cannot be joined to others.
    """
    names = tuple(dict.fromkeys(name.split("+")))
    for part in names:
        if part not in STEPS:
            raise ConfigError(f"{part}: there are {', '.join(STEPS)}")
        if len(names) > 1 and STEPS[part].trainings is None:
            raise ConfigError(f"{part} runs alone; only steps on digits run side by side")
    return names


def has_kinds(step: str, plan: Plan) -> bool:
    """Whether a step trains one of the model kinds that are asked for, or none on digits."""
    trainings = STEPS[step].trainings
    return trainings is None or bool(trainings.of(plan.kinds_of(step)))


def require_kinds(kinds: Sequence[str]) -> None:
    """Refuse ``KIND`` or ``STEP:KIND`` that no step trains.

    Raises
    ------
    ConfigError
        If there is no such step on digits, or none of that kind.
    """
    of_steps = {name: step.trainings for name, step in STEPS.items() if step.trainings is not None}
    for text in kinds:
        name, _, kind = text.rpartition(":")
        if name and name not in of_steps:
            raise ConfigError(f"{text}: steps on digits are {', '.join(of_steps)}")
        among = [of_steps[name]] if name else of_steps.values()
        trained = dict.fromkeys(settings.kind for one in among for settings in one.runs)
        if kind not in trained:
            raise ConfigError(f"{text}: kinds that are trained there are {', '.join(trained)}")
