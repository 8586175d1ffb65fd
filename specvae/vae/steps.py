"""One training step, and its recording as a CUDA graph.

A step never makes the CPU wait for a GPU: its losses are summed on the device (:class:`Tally`) and
read from time to time. On a GPU the step is recorded once for each size of its batches and replayed
(:class:`StepRecorder`), as launching kernels limits the speed of small networks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specvae.errors import TrainingError
from specvae.vae.adam import AdamW
from specvae.vae.config import ObjectiveConfig
from specvae.vae.data import PAIRED, BatchSource, DenseSource, Rows
from specvae.vae.device import default_generator
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input
from specvae.vae.objective import loss
from specvae.vae.parallel import ALONE, BatchPart, Processes

Batch = Mapping[str, Input]
# A stream's input to a step: a batch, or the rows of a batch that the step draws itself.
StepInput = Batch | Rows

_log = logging.getLogger(__name__)

_TOTAL, _GRADIENT = "total", "gradient"
# The most parts that an objective can have; a tally has a place for each.
_ROOM = 1024


class Tally:
    """Sums of the loss, its parts and the gradient's norm over an epoch, kept on the device.

    Every number is checked; the first step at which one is not finite is remembered.
    """

    def __init__(self, device: torch.device, processes: Processes = ALONE) -> None:
        self._processes = processes
        self._places: dict[str, int] = {}
        self._indices: dict[tuple[str, ...], Tensor] = {}
        self._sums = torch.zeros(_ROOM, dtype=torch.float64, device=device)
        self._bad_step = torch.zeros(_ROOM, dtype=torch.int64, device=device)
        self._bad_value = torch.zeros(_ROOM, dtype=torch.float64, device=device)
        self._step = torch.zeros((), dtype=torch.int64, device=device)

    def reset(self) -> None:
        """Begin an epoch."""
        for tensor in (self._sums, self._bad_step, self._bad_value, self._step):
            tensor.zero_()

    def add(self, names: Sequence[str], values: Sequence[Tensor]) -> None:
        """Add the scalars of a step."""
        key = tuple(names)
        if key not in self._indices:
            places = [self._places.setdefault(name, len(self._places)) for name in names]
            self._indices[key] = torch.tensor(places, device=self._sums.device)
        index = self._indices[key]
        dtype = values[0].dtype
        found = torch.stack([value.detach().to(dtype) for value in values]).double()
        self._step += 1
        self._sums.index_add_(0, index, found)
        earlier = self._bad_step[index]
        first = ~torch.isfinite(found) & (earlier == 0)
        self._bad_step.index_copy_(0, index, torch.where(first, self._step, earlier))
        self._bad_value.index_copy_(0, index, torch.where(first, found, self._bad_value[index]))

    def read(self, epoch: int) -> dict[str, float]:
        """Return the sums by name, of several processes their mean; waits for the device.

        Raises
        ------
        TrainingError
            If a number was not finite; the message names the first step and what it was.
        """
        n = len(self._places)
        together = self._processes
        table = torch.stack(
            [
                together.mean(self._sums[:n].clone()),
                together.highest(self._bad_step[:n].double()),
                together.mean(self._bad_value[:n].clone()),
            ]
        ).tolist()
        sums, steps, values = (dict(zip(self._places, row, strict=True)) for row in table)
        if any(steps.values()):
            first = min(step for step in steps.values() if step)
            place = f"epoch {epoch}, step {int(first)}"
            # Parts are named before their sum, and the loss before the gradient.
            bad = sorted(
                (name for name, step in steps.items() if step == first),
                key=lambda name: ((_GRADIENT, _TOTAL).count(name), name == _GRADIENT),
            )
            if bad[0] == _GRADIENT:
                raise TrainingError(f"{place}: the gradient is no longer finite")
            raise TrainingError(
                f"{place}: the loss is no longer finite: {bad[0]} is {values[bad[0]]}"
            )
        return sums


@dataclass(frozen=True)
class Step:
    """Forward, backward and optimiser of one batch of each stream.

    Attributes
    ----------
    model, optimizer
        The model that is trained, in place, and its optimiser.
    sources
        By stream, for streams that give rows.
    objective
        The objective that is minimised.
    noise
        Source of the samples of z.
    clip_norm, amp
        As in :class:`~specvae.vae.config.OptimConfig`.
    tally
        Each step adds its numbers to it.
    shared
        The loss that several processes compute together; None for a single process.
    """

    model: MultimodalVAE
    optimizer: AdamW
    sources: Mapping[str, BatchSource | DenseSource]
    objective: ObjectiveConfig
    noise: torch.Generator
    clip_norm: float | None
    amp: bool
    tally: Tally
    shared: torch.nn.Module | None = None

    def __call__(
        self,
        inputs: Mapping[str, StepInput],
        beta: float,
        parts_of: Mapping[str, BatchPart] | None = None,
    ) -> None:
        """Train on one batch of each stream, or on this process's part of it."""
        device = self.noise.device
        batches = {name: self._batch(name, given) for name, given in inputs.items()}
        paired = batches.pop(PAIRED, None)
        unpaired = {}
        for name, batch in batches.items():
            modality = name.removeprefix("unpaired-")
            unpaired[modality] = batch[modality]
        amp = torch.autocast(device.type, torch.bfloat16) if self.amp else contextlib.nullcontext()
        with amp:
            if self.shared is None:
                terms = loss(
                    self.model, paired, unpaired, self.objective, beta=beta, generator=self.noise
                )
                total, parts = terms.total, dict(terms.parts)
            else:
                total, parts = self.shared(paired, unpaired, beta, self.noise, parts_of)
        self.optimizer.zero_grad()
        torch.autograd.backward(total)
        norm = clip_gradients(list(self.model.parameters()), self.clip_norm)
        self.tally.add([_TOTAL, *parts, _GRADIENT], [total, *parts.values(), norm])
        self.optimizer.step()

    def _batch(self, name: str, given: StepInput) -> Batch:
        if not isinstance(given, Rows):
            return given
        source = self.sources[name]
        assert isinstance(source, DenseSource)
        return source.batch(given)


class SharedLoss(torch.nn.Module):
    """The objective as a module, which `DistributedDataParallel` calls.

    Parameters
    ----------
    model, objective
        As of :class:`Step`.
    n_processes
        How many processes share a batch.
    """

    def __init__(self, model: MultimodalVAE, objective: ObjectiveConfig, n_processes: int) -> None:
        super().__init__()
        self.model = model
        self._objective, self._n_processes = objective, n_processes

    def forward(
        self,
        paired: Batch | None,
        unpaired: Batch,
        beta: float,
        noise: torch.Generator,
        parts_of: Mapping[str, BatchPart],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts; their means over all processes are of the whole batch."""
        terms = loss(
            self.model,
            paired,
            unpaired,
            self._objective,
            beta=beta,
            generator=noise,
            parts=parts_of,
            n_processes=self._n_processes,
        )
        return terms.total, dict(terms.parts)


def clip_gradients(parameters: Sequence[torch.nn.Parameter], clip_norm: float | None) -> Tensor:
    """Scale the gradients to a norm of at most `clip_norm`; return the norm before, a scalar."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    norm: Tensor = torch.linalg.vector_norm(norms)
    # A GPU always multiplies, if need be by 1, as a test would cost more.
    if clip_norm is not None and (norm.is_cuda or bool(norm > clip_norm)):
        share = (clip_norm / norm.double()).clamp(max=1.0).to(norm.dtype)
        torch._foreach_mul_(gradients, share)
    return norm


class StepRecorder:
    """Runs a step on a GPU, from the third time on by replaying its recording.

    Every size of batches has a recording of its own. What is recorded does the same operations in
    the same order on the same random numbers as the step itself. Where a step cannot be recorded,
    the log says so and why, and training goes on without. A step cannot be recorded while another
    thread uses the device: threads that train side by side take turns, for instance in `on_step`
    of :func:`~specvae.vae.training.fit`.

    Parameters
    ----------
    step
        The step. It must use data on the device only: values read from the CPU are frozen.
    stream
        The stream on which all steps run, those before the recording included.
    """

    # Kernels are chosen and buffers made in steps that run as usual.
    WARM_UP = 3
    MOST_GRAPHS = 8

    def __init__(self, step: Step, stream: torch.cuda.Stream) -> None:
        self._step = step
        self._stream = stream
        self._seen: dict[object, int] = {}
        self._graphs: dict[object, tuple[torch.cuda.CUDAGraph, Mapping[str, StepInput]]] = {}
        self.failure: str | None = None

    def __call__(self, inputs: Mapping[str, StepInput], beta: float) -> None:
        """Train on one batch of each stream."""
        key = (beta, tuple((name, _size(given)) for name, given in inputs.items()))
        found = self._graphs.get(key)
        if found is None and self.failure is None and len(self._graphs) < self.MOST_GRAPHS:
            self._seen[key] = self._seen.get(key, 0) + 1
            if self._seen[key] > self.WARM_UP:
                found = self._record(key, inputs, beta)
        if found is None:
            self._step(inputs, beta)
            return
        graph, held = found
        for name, given in inputs.items():
            _fill(held[name], given)
        graph.replay()

    def _record(
        self, key: object, inputs: Mapping[str, StepInput], beta: float
    ) -> tuple[torch.cuda.CUDAGraph, Mapping[str, StepInput]] | None:
        device = self._step.noise.device
        generators = (self._step.noise, default_generator(device))
        before = [(each.initial_seed(), each.get_offset()) for each in generators]
        held = {name: _held(given) for name, given in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other, _ in self._graphs.values()), None)
        self._step.optimizer.zero_grad()
        try:
            graph.register_generator_state(self._step.noise)
            with torch.cuda.graph(
                graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                self._step(held, beta)
        except Exception as error:
            self.failure = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            _log.warning(
                "training step not recorded as a CUDA graph, it runs without: %s", self.failure
            )
            self._step.optimizer.zero_grad()
            # After a failed recording the generators cannot be used any more.
            for generator, (seed, offset) in zip(generators, before, strict=True):
                fresh = torch.Generator(device)
                fresh.manual_seed(seed)
                fresh.set_offset(offset)
                generator.graphsafe_set_state(fresh.graphsafe_get_state())
            return None
        self._graphs[key] = graph, held
        _log.debug("training step recorded as a CUDA graph")
        return graph, held


def _size(given: StepInput) -> object:
    if isinstance(given, Rows):
        return len(given)
    return tuple((name, tuple(x.shape)) for name, x in _tensors(given).items())


def _held(given: StepInput) -> StepInput:
    """Return a copy at an address of its own, which a recording reads from."""
    if isinstance(given, Rows):
        return Rows(given.on_cpu, given.on_device.clone())
    return {name: x.clone() for name, x in _tensors(given).items()}


def _fill(held: StepInput, given: StepInput) -> None:
    if isinstance(held, Rows):
        assert isinstance(given, Rows)
        held.on_device.copy_(given.on_device)
        return
    assert not isinstance(given, Rows)
    new = _tensors(given)
    for name, x in _tensors(held).items():
        x.copy_(new[name])


def _tensors(batch: Batch) -> dict[str, Tensor]:
    tensors = {}
    for name, x in batch.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: a recorded step takes dense batches")
        tensors[name] = x
    return tensors


@contextlib.contextmanager
def side_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """Run everything on a separate stream, as recording requires; None on a CPU."""
    if device.type != "cuda":
        yield None
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield stream
    torch.cuda.current_stream(device).wait_stream(stream)


def draw(source: BatchSource | DenseSource, rows: Rows, device: torch.device) -> StepInput:
    """Return a batch on `device`, or the rows of one that a step draws itself."""
    if isinstance(source, DenseSource):
        return rows if source.is_fixed else source.batch(rows)
    return {name: x.to(device) for name, x in source.batch(rows.on_cpu).items()}


def is_recordable(
    sources: Mapping[str, BatchSource | DenseSource],
    objective: ObjectiveConfig,
    n_modalities: int,
) -> bool:
    """Return whether a step runs on the GPU only; MVAE draws its subsets on the CPU."""
    draws_subsets = objective.loss == "mvae" and n_modalities > 2
    return not draws_subsets and all(isinstance(each, DenseSource) for each in sources.values())
