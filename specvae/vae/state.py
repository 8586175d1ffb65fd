"""The state of a training run, and the file from which it is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from specvae.counting import counted
from specvae.errors import TrainingError, cut
from specvae.settings import flatten
from specvae.vae.adam import AdamW
from specvae.vae.checkpoint import write_tensors
from specvae.vae.config import ObjectiveConfig, OptimConfig
from specvae.vae.data import TrainingData
from specvae.vae.model import MultimodalVAE

_STATE_KEY = "specvae-state"

WHY_NO_MORE_EPOCHS = (
    "; the learning rate of each epoch depends on their number, unless optim.schedule is constant "
    "and optim.warmup 0 from the start"
)
"""The message if a run cannot be continued for more epochs."""


@dataclass(frozen=True)
class EpochRecord:
    """The record of one epoch.

    Attributes
    ----------
    epoch
        1 is the first.
    total
        Mean of the objective over the steps (nats, with its weights).
    parts
        Mean of each part over the steps (nats, without weights).
    validation
        The value that `validate` returned, higher is better; None without validation.
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
    """The place of the state for resuming, and how often it is written.

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


@dataclass
class Run:
    """Everything that changes from epoch to epoch, as stored for resuming."""

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
        """Write the state to a file, with a description of the run."""
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
        """Restore the state that `save` wrote.

        Raises
        ------
        TrainingError
            If the file is damaged, of a run with another description, or of more epochs than
            `n_epochs`.
        """
        try:
            with safe_open(path, framework="pt") as stream:
                state = json.loads((stream.metadata() or {})[_STATE_KEY])
                if found := _differences(state["run"], description):
                    why = WHY_NO_MORE_EPOCHS if found.startswith("optim.epochs ") else ""
                    raise TrainingError(
                        f"{path}: resume state of a run with {found}{why}; remove it to start anew"
                    )
                if len(state["epochs"]) > n_epochs:
                    raise TrainingError(
                        f"{path}: resume state after {counted(len(state['epochs']), 'epochs')}, "
                        f"wanted at most {n_epochs}; remove it to start anew"
                    )
                groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "averaged": {}}
                slots: dict[int, dict[str, Tensor]] = {}
                for key in stream.keys():  # noqa: SIM118 (not a mapping)
                    # A copy: Windows replaces no file, by the next state, that tensors lie in.
                    tensor = stream.get_tensor(key).to(device, copy=True)
                    group, _, name = key.partition("/")
                    if group == "optimizer":
                        number, _, name = name.partition("/")
                        slots.setdefault(int(number), {})[name] = tensor
                    else:
                        groups[group][name] = tensor
        except (SafetensorError, KeyError, ValueError) as error:
            message = f"{path}: not a resume state, or a damaged one; remove it to start anew"
            raise TrainingError(message) from error
        self.model.load_state_dict(groups["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(groups["averaged"])
        self.best = groups["best"] or groups["averaged"] or groups["model"]
        self.optimizer.load(slots)
        self.records = [EpochRecord(**record) for record in state["epochs"]]


def description_of(
    model: MultimodalVAE, data: TrainingData, optim: OptimConfig, objective: ObjectiveConfig
) -> dict[str, Any]:
    """Return everything that a run must share with the run that it continues, as JSON values."""
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
    # A caller's settings come first: its user knows their names, and the others follow from them,
    # as the number of epochs may from the data.
    for group in ("settings", "data", "optim", "objective", "model"):
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
    return cut(json.dumps(value))
