"""What a call of `bench gpu` was given, and the file that each step writes."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specvae.errors import SpecvaeError
from specvae_bench.files import write_result


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
        ``STEP:KIND`` is of one step.
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

    def kinds_of(self, step: str) -> tuple[str, ...]:
        """Return the model kinds that a step is to train; none: all that it has."""
        named = [kind.rpartition(":") for kind in self.kinds]
        own = tuple(kind for name, _, kind in named if name == step)
        return own or tuple(kind for name, _, kind in named if not name)


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


def told(error: BaseException) -> str:
    """Return an error in one line, with its place in the code where it is no user's mistake."""
    if isinstance(error, SpecvaeError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().splitlines() or [repr(error)]
    return f"{type(error).__name__}: {text[0]} ({Path(last.filename).name}:{last.lineno})"
