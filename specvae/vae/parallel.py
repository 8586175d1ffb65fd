"""Training by several processes, each with a part of every batch, as torchrun starts them.

All processes draw the same batches and the same noise, and each takes its rows. Gradients are
averaged over all of them (`torch.nn.parallel.DistributedDataParallel`). A run with two processes
gives the same result as a run with one, except for rounding, dropout, and batch normalisation,
whose statistics are those of a process's own rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from specvae.errors import ConfigError, TrainingError
from specvae.interruption import ending_at_once


class BatchPart(NamedTuple):
    """The rows of a batch that one process takes: from `first` to before `end` of `n_rows`."""

    first: int
    end: int
    n_rows: int

    @property
    def share(self) -> float:
        """The part's share of the batch."""
        return (self.end - self.first) / self.n_rows


@dataclass(frozen=True)
class Processes:
    """The processes that train together, and which of them this is.

    Attributes
    ----------
    rank
        Number of this one; 0 writes the files.
    n
        How many there are.
    """

    rank: int = 0
    n: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, validates and reports."""
        return self.rank == 0

    def part(self, n_rows: int) -> BatchPart:
        """Return which rows of a batch this process has; the first processes have one more.

        Raises
        ------
        ConfigError
            If there are fewer rows than processes.
        """
        if n_rows < self.n:
            raise ConfigError(
                f"a batch of {n_rows} examples for {self.n} processes: wanted one example for each "
                "at least"
            )
        size, rest = divmod(n_rows, self.n)
        first = self.rank * size + min(self.rank, rest)
        return BatchPart(first, first + size + (self.rank < rest), n_rows)

    def from_first(self, value: float | None, device: torch.device) -> float | None:
        """Return the value of the first process; the values of others are ignored."""
        if self.n == 1:
            return value
        held = torch.tensor(
            [0.0 if value is None else value, value is not None], dtype=torch.float64, device=device
        )
        distributed.broadcast(held, 0)
        number, is_given = held.tolist()
        return number if is_given else None

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes, in the shape of `values`."""
        if self.n > 1:
            distributed.all_reduce(values)
            values = values / self.n
        return values

    def highest(self, values: Tensor) -> Tensor:
        """Return the highest of all processes, in the shape of `values`."""
        if self.n > 1:
            distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return values

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.n > 1:
            distributed.barrier()


ALONE = Processes()


def started_by_torchrun(environment: Mapping[str, str] | None = None) -> Processes:
    """Return the number of this process, by the variables that torchrun sets.

    Raises
    ------
    ConfigError
        If they are no numbers, or some are missing, as where a batch system sets one of them.
    """
    found = os.environ if environment is None else environment
    n, rank = _number(found, "WORLD_SIZE", 1), _number(found, "RANK", 0)
    if n <= 1:
        return ALONE
    if missing := [name for name in _OF_TORCHRUN if not found.get(name)]:
        raise ConfigError(
            f"the environment says WORLD_SIZE={n}, but has no {' and no '.join(missing)}: start "
            "several processes by torchrun; for one, unset WORLD_SIZE"
        )
    _number(found, "MASTER_PORT", 0)
    if not 0 <= rank < n:
        raise ConfigError(f"the environment says RANK={rank} of WORLD_SIZE={n}: wanted less")
    return Processes(rank, n)


_OF_TORCHRUN = ("RANK", "MASTER_ADDR", "MASTER_PORT")


def meeting_place() -> str:
    """Return the address and port at which processes meet that torchrun started."""
    return ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))


def _number(found: Mapping[str, str], name: str, default: int) -> int:
    text = found.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError(f"the environment says {name}={text!r}: wanted a number, or unset it")
    return int(text)


def local_device(device: torch.device) -> torch.device:
    """Return the GPU of this process, if `device` is a GPU."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", _number(os.environ, "LOCAL_RANK", 0))


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did: by gloo on a CPU, by NCCL on GPUs.

    Raises
    ------
    TrainingError
        If they do not find one another, and within, if another one is gone.
    """
    processes = started_by_torchrun()
    if processes.n == 1:
        yield processes
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        with ending_at_once():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        found = str(error).partition("\n")[0]
        raise TrainingError(
            f"{meeting_place()}: {processes.n} processes cannot meet there: {found}"
        ) from None
    try:
        yield processes
        # A gloo thread may still hold the last operation's tensors when it is done. If Python ends
        # before the thread lets go of them, the process is aborted; a barrier holds no tensors.
        with suppress(RuntimeError):
            distributed.barrier()
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not _OF_GLOO.search(str(error)):
            raise
        raise TrainingError(
            f"process {processes.rank} of {processes.n} has lost another one, which says why it "
            f"ended, or was killed: {_first_sentence(error)}; it can be resumed from its last state"
        ) from None
    finally:
        with suppress(RuntimeError):  # of a process that is gone
            distributed.destroy_process_group()


_OF_GLOO = re.compile(r"\bgloo\b")  # whose errors have no class of their own
_PLACE_IN_SOURCE = re.compile(r"^\[\S+:\d+\] ")


def _first_sentence(error: RuntimeError) -> str:
    line = str(error).strip().partition("\n")[0]
    return _PLACE_IN_SOURCE.sub("", line).partition(". ")[0]
