"""Workers of a Dask scheduler that share long work: many machines, or one that a cluster lends.

`distributed` is an extra (``specvae[dask]``) and is imported when a scheduler is asked for.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from specvae.errors import ConfigError, SpecvaeError
from specvae.molecules.workers import Engine, LocalEngine

_T = TypeVar("_T")
_R = TypeVar("_R")

_AHEAD = 3  # batches that wait for each thread of a worker
PATIENCE = 60  # seconds to wait for a scheduler, and for a first worker


def parse_scheduler(text: str, purpose: str) -> Engine:
    """Return the engine that ``local:N`` or ``tcp://HOST:PORT`` names.

    Parameters
    ----------
    text
        What a user asks for.
    purpose
        What the processes do, in the plural.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if found := re.fullmatch(r"local:([1-9]\d{0,3})", text):
        return LocalEngine(int(found[1]), purpose)
    if re.fullmatch(r"(tcp|tls|ws|wss|ucx)://[^\s/]+", text):
        return DaskEngine(text, purpose)
    raise ConfigError(f"scheduler: found {text!r}, wanted 'local:4' or one like 'tcp://host:8786'")


@dataclass(frozen=True)
class DaskEngine:
    """The workers of a scheduler.

    The batches of a worker that ends are given to another one; their results count once.

    Attributes
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.1:8786``.
    purpose
        What they do, in the plural.
    """

    address: str
    purpose: str

    @property
    def n_workers(self) -> int:
        """How many batches are dealt with at a time.

        Raises
        ------
        SpecvaeError
            If the scheduler cannot be reached, or no worker joins it.
        """
        with self._client() as client:
            return _n_threads(client)

    def in_order(self, function: Callable[[_T], _R], batches: Iterable[_T]) -> Iterator[_R]:
        """Yield the results of a function for batches, in their order.

        At most a few batches for each worker are taken in advance.

        Raises
        ------
        SpecvaeError
            If the scheduler cannot be reached or is lost, no worker joins it, or workers end again
            and again while they deal with the same batch.
        """
        with self._client() as client:
            waiting: deque[Any] = deque()
            for batch in batches:
                waiting.append(client.submit(function, batch, pure=False))
                # Workers may join at any time.
                if len(waiting) > _AHEAD * _n_threads(client):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from distributed import Client, KilledWorker
            from distributed.client import FutureCancelledError
            from distributed.comm import CommClosedError
        except ImportError:
            raise SpecvaeError(
                f"{self.address}: a scheduler needs Dask: pip install 'specvae[dask]'"
            ) from None
        logger = logging.getLogger("distributed")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # what matters is said in one line
        client = None
        try:
            client = Client(self.address, timeout=PATIENCE, set_as_default=False)
            client.wait_for_workers(1, timeout=PATIENCE)
            yield client
        except KilledWorker:
            raise SpecvaeError(
                f"{self.address}: workers that {self.purpose} end again and again; is there memory "
                "enough for each?"
            ) from None
        except (CommClosedError, FutureCancelledError):
            raise SpecvaeError(f"{self.address}: the scheduler was lost") from None
        except OSError as error:
            if getattr(error, "errno", None) is not None:
                raise  # of a file
            cause = "no worker joined the scheduler" if client else "no scheduler answers"
            raise SpecvaeError(f"{self.address}: {cause}") from None
        finally:
            if client is not None:
                client.close(timeout=2)
            logger.setLevel(level)


def _n_threads(client: Any) -> int:  # noqa: ANN401
    n_threads: int = sum(client.nthreads().values())
    return max(1, n_threads)
