"""The steps on spectra: speed and training of the paper's networks, scores by fingerprint."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from specvae.errors import InputError
from specvae.vae.device import CudaOptions, computing, pick_device
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss
from specvae.vae.state import EpochRecord, StateFile
from specvae.vae.training import fit
from specvae_bench.gpu import equality
from specvae_bench.gpu.plan import Plan, Result, told
from specvae_bench.gpu.prepared import PreparedData, predicted_logits, read_prepared


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
                failures[f"{kind}, {mode}"] = told(error)
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
