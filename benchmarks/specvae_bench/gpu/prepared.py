"""The file that spectra travel in to a GPU: encoded arrays, and the settings of what learns them.

Nothing here needs chemistry: `prepare.py` makes the file where there is rdkit, and whoever has a
GPU needs torch and numpy alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.errors import InputError
from specvae.files import atomic_path
from specvae.vae.config import ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import PackedBits, Table, TensorSource, TrainingData
from specvae.vae.distributions import Bernoulli
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import SparseRows

SPECTRUM, FINGERPRINT = "spectrum", "fingerprint"
_ROWS = 256


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Encoded spectra, fingerprints of their compounds, and what is ranked.

    Attributes
    ----------
    spectra
        Of the library, (n_spectra, n_columns).
    compound
        (n_spectra,), int64: row of `fingerprints`.
    fingerprints
        Of the compounds, packed.
    train
        (n_train,), int64: spectra that are learned from.
    val, candidates
        (n_val,) and (n_val, n_candidates), int64: spectra that pick the best epoch, and compounds
        that each is ranked against; the first is the truth.
    queries
        By fold: its spectra, in the order of its file.
    meta
        JSON values: settings by model kind, names and digests of the files.
    """

    spectra: SparseRows
    compound: Tensor
    fingerprints: PackedBits
    train: Tensor
    val: Tensor
    candidates: Tensor
    queries: Mapping[str, SparseRows]
    meta: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Model kinds that settings were prepared for."""
        return tuple(self.meta["kinds"])

    def configs(self, kind: str) -> tuple[ModelConfig, ObjectiveConfig, OptimConfig]:
        """Return the settings of a model kind."""
        of_kind = self.meta["kinds"][kind]
        return (
            ModelConfig.from_json(of_kind["model"]),
            ObjectiveConfig.from_json(of_kind["objective"]),
            OptimConfig.from_json(of_kind["optim"]),
        )

    def training_data(self) -> TrainingData:
        """Return all pairs, and all of them once more as unpaired examples, as the paper's code."""
        rows = {SPECTRUM: self.train, FINGERPRINT: self.compound[self.train]}
        tables: dict[str, Table] = {SPECTRUM: self.spectra, FINGERPRINT: self.fingerprints}
        return TrainingData(
            TensorSource(tables, rows),
            {name: TensorSource({name: tables[name]}, {name: rows[name]}) for name in tables},
        )

    def mean_reciprocal_rank(self, model: MultimodalVAE) -> float:
        """Return the mean expected reciprocal rank of the validation spectra's compounds.

        Candidates with the truth's fingerprint are of its rank, which then is anyone of theirs.
        """
        device = next(model.parameters()).device
        logits = predicted_logits(model, self.spectra.rows(self.val)).double()
        table = self.fingerprints.to(device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        for start in range(0, len(self.val), _ROWS):
            candidates = self.candidates[start : start + _ROWS].to(device)
            n, n_candidates = candidates.shape
            bits = table.rows(candidates.flatten()).double().view(n, n_candidates, -1)
            scores = torch.einsum("qcb,qb->qc", bits, logits[start : start + _ROWS])
            packed = table.table[candidates]
            equal = (packed == packed[:, :1]).all(-1)
            above = ((scores > scores[:, :1]) & ~equal).sum(1)
            total += _expected_reciprocal(above, equal.sum(1)).sum()
        return float(total) / len(self.val)


def _expected_reciprocal(above: Tensor, tied: Tensor) -> Tensor:
    """Return the mean of 1 / (above + 1) ... 1 / (above + tied), (n,), float64."""
    place = torch.arange(1, int(tied.max()) + 1, device=tied.device, dtype=torch.float64)
    among = place <= tied[:, None]
    return (among / (above[:, None] + place)).sum(1) / tied


@torch.no_grad()
def predicted_logits(model: MultimodalVAE, spectra: SparseRows) -> Tensor:
    """Return the logits of the fingerprint decoded from the mean of q(z | spectrum).

    Returns
    -------
    Tensor
        (n_spectra, n_bits), float32, on the model's device.
    """
    device = next(model.parameters()).device
    model.eval()
    logits = []
    for rows in torch.split(torch.arange(len(spectra)), 1024):
        x = spectra.rows(rows)
        dense = x.to(device).to_dense() if device.type == "cuda" else x
        z = model.posterior({SPECTRUM: dense}).mean.float()
        logits.append(cast("Bernoulli", model.likelihood(z, FINGERPRINT)).logits.float())
    return torch.cat(logits)


def write_prepared(path: Path, prepared: PreparedData) -> None:
    """Write the arrays, compressed; columns and compounds in as few bytes as they need."""
    arrays: dict[str, NDArray[Any]] = {
        "meta": np.frombuffer(json.dumps(prepared.meta).encode(), np.uint8),
        "compound": prepared.compound.numpy().astype(np.int32),
        "fingerprints": prepared.fingerprints.table.numpy(),
        "n_bits": np.array(prepared.fingerprints.n_bits),
        "train": prepared.train.numpy().astype(np.int32),
        "val": prepared.val.numpy().astype(np.int32),
        "candidates": prepared.candidates.numpy().astype(np.int32),
    }
    for name, rows in {"spectra": prepared.spectra, **_prefixed(prepared.queries)}.items():
        arrays |= {
            f"{name}/lengths": rows.lengths.numpy().astype(np.int32),
            f"{name}/columns": rows.columns.numpy().astype(np.int32),
            f"{name}/values": rows.values.numpy(),
            f"{name}/n_columns": np.array(rows.n_columns),
        }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _prefixed(queries: Mapping[str, SparseRows]) -> dict[str, SparseRows]:
    return {f"queries/{name}": rows for name, rows in queries.items()}


def read_prepared(path: Path) -> PreparedData:
    """Return what `write_prepared` wrote.

    Raises
    ------
    InputError
        If the file cannot be read or is another one.
    """
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(arrays["meta"].tobytes())
        rows = {
            name.removesuffix("/lengths"): _sparse(arrays, name.removesuffix("/lengths"))
            for name in arrays
            if name.endswith("/lengths")
        }
        return PreparedData(
            rows.pop("spectra"),
            _int64(arrays["compound"]),
            PackedBits(torch.from_numpy(arrays["fingerprints"]), int(arrays["n_bits"])),
            _int64(arrays["train"]),
            _int64(arrays["val"]),
            _int64(arrays["candidates"]),
            {name.removeprefix("queries/"): each for name, each in rows.items()},
            meta,
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise InputError(
            f"{path}: no archive of arrays, wanted a file of 'bench gpu --prepare'"
        ) from None
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: not a file of 'bench gpu --prepare' ({error})") from None


def _int64(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


def _sparse(arrays: Mapping[str, NDArray[Any]], name: str) -> SparseRows:
    offsets = np.concatenate([[0], np.cumsum(arrays[f"{name}/lengths"], dtype=np.int64)])
    return SparseRows(
        torch.from_numpy(offsets),
        torch.from_numpy(arrays[f"{name}/columns"]),
        torch.from_numpy(arrays[f"{name}/values"]),
        int(arrays[f"{name}/n_columns"]),
    )
