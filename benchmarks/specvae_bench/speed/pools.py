"""How fast fingerprints are compared, and a made-up pool of any size that is searched."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.annotation.output.plots import save_figure
from specvae.counting import counted
from specvae.files import atomic_path
from specvae.masses import ELECTRON_MASS, ISOTOPE_MASSES
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.fingerprint import get_layout
from specvae.molecules.molecule import Molecule
from specvae.molecules.pool_format import PoolRows, StoredLayout
from specvae.molecules.pool_writer import PoolWriter
from specvae.molecules.standard import STANDARD_VERSION
from specvae.spectra.spectrum import Spectrum
from specvae_bench.files import write_mgf

_LAYOUT = "mixed2149"  # of the demo's model, which searches
_BLOCK = 8192
_N_COMPARED = 400_000  # candidates
_REPEATS = 32  # rows of a structure, at least
_PROTON = ISOTOPE_MASSES["H"] - ELECTRON_MASS
_ELEMENTS = ("C", "H", "N", "O", "S")
_PPM = 10.0
_WIDE_QUERIES = 300  # that search in other mass windows

# The command in a process of its own; prints seconds, processor time and peak memory (KiB).
_RUN = """
import resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def fingerprint_speed(repeats: int) -> dict[str, Any]:
    """Return how many candidates of 2149 bits a core compares in a second.

    ``read_per_second`` is how many it could read from memory in that time, 8 bytes at a time.
    Processor time of one thread, medians.
    """
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (_N_COMPARED, 269), dtype=np.uint8)
    logits = rng.normal(size=2149)
    words = packed.reshape(-1)[: packed.size // 8 * 8].view(np.uint64)
    log_likelihoods(packed[:100], logits)  # compiled, or read from the cache
    compared, read = [], []
    for _ in range(repeats):
        start = time.process_time()
        log_likelihoods(packed, logits)
        compared.append(_N_COMPARED / (time.process_time() - start))
        start = time.process_time()
        words.sum()
        read.append(_N_COMPARED / (time.process_time() - start))
    return {
        "bits": 2149,
        "candidates_per_second": median(compared),
        "read_per_second": median(read),
        "share_of_reading": median(compared) / median(read),
    }


def write_synthetic_pool(path: Path, n_rows: int) -> None:
    """Write a pool of made-up rows: masses of random formulas, texts and bits of real sizes.

    Structures repeat, but each row has a key of its own, so that all are candidates.
    """
    layout = get_layout(_LAYOUT)
    stored = StoredLayout(layout.name, layout.version, layout.n_bits, layout.probe_sha256)
    rng = np.random.default_rng(0)
    masses = np.sort(_formula_masses(rng, n_rows))
    molecules = _molecules()[: max(1, n_rows // _REPEATS)]
    packed = layout.compute(molecules)
    smiles = [molecule.smiles.encode() for molecule in molecules]
    formulas = [molecule.formula.encode() for molecule in molecules]
    with (
        atomic_path(path) as temporary,
        tempfile.TemporaryFile(dir=path.parent) as spool,
        PoolWriter(temporary, [stored], spool) as writer,
    ):
        for first in range(0, n_rows, _BLOCK):
            of_block = masses[first : first + _BLOCK]
            chosen = rng.integers(0, len(molecules), len(of_block))
            # Some bits differ, so that no two fingerprints need be the same.
            bits = packed[chosen]
            bits[np.arange(len(bits)), rng.integers(0, 268, len(bits))] ^= np.left_shift(
                1, chosen % 8
            ).astype(np.uint8)
            numbers = np.arange(first, first + len(of_block))
            texts = {
                "inchikey": _keys(numbers),
                "smiles": [smiles[row] for row in chosen.tolist()],
                "name": [b"made up %d" % number for number in numbers.tolist()],
                "id": [b"X%d" % number for number in numbers.tolist()],
                "formula": [formulas[row] for row in chosen.tolist()],
            }
            writer.append(PoolRows(of_block, texts, {layout.name: bits}))
        writer.finish(
            {
                "standard_version": STANDARD_VERSION,
                "sources": "[]",
                "n_duplicates": 0,
                "n_skipped": 0,
            }
        )


def _formula_masses(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return masses of CHNOS formulas, as crowded as those of small molecules are."""
    carbon = np.clip(rng.normal(21.0, 7.0, n).round(), 4, 60)
    counts = np.stack(
        [
            carbon,
            2 * np.clip((carbon * rng.uniform(0.35, 1.0, n)).round(), 1, None),
            rng.poisson(2.6, n),
            rng.poisson(3.2, n),
            rng.poisson(0.3, n),
        ]
    )
    return np.asarray(np.array([ISOTOPE_MASSES[name] for name in _ELEMENTS]) @ counts)


def _molecules() -> list[Molecule]:
    return [
        Molecule.parse(f"C{'C' * n}C(=O)Nc1ccc(cc1)S(=O)(=O)N{'C' * m}c2c{group}ccn2")
        for n in range(8)
        for m in range(8)
        for group in ("c", "c(F)", "c(OC)", "c(Cl)")
    ]


def _keys(numbers: NDArray[np.int64]) -> list[bytes]:
    """Return an InChIKey for each number."""
    letters = 65 + numbers[:, np.newaxis] // 26 ** np.arange(13, -1, -1) % 26
    return [row.tobytes() + b"-UHFFFAOYSA-N" for row in letters.astype(np.uint8)]


def search_speed(pool: Path, n_queries: int, folder: Path, ppm: float) -> dict[str, Any]:
    """Return what ``annotate --rank-by fingerprint`` takes, from the start of its process.

    Queries are made-up spectra of masses that the pool has; the model is the demo's.

    Parameters
    ----------
    pool
        The pool's file.
    n_queries
        How many search it.
    folder
        Where the model, the queries and their answers are written.
    ppm
        Half width of the mass window.
    """
    model, queries, output = folder / "model.safetensors", folder / "q.mgf", folder / "ranked.csv"
    shipped = resources.files("specvae") / "demo" / "model.safetensors.gz"
    model.write_bytes(gzip.decompress(shipped.read_bytes()))
    rng = np.random.default_rng(1)
    layout = get_layout(_LAYOUT)
    with CandidatePool.open(pool, layout) as opened:
        rows = np.sort(rng.integers(0, len(opened), n_queries))
        masses = opened.exact_mass[rows]
        sizes = [len(opened.within(float(mass), ppm)) for mass in masses[:: n_queries // 50 + 1]]
        n_rows = len(opened)
    write_mgf((_spectrum(n, float(mass), rng) for n, mass in enumerate(masses)), queries)
    line = [
        sys.executable, "-m", "specvae.cli.main", "annotate", str(queries), "--candidates",
        str(pool), "--model", str(model), "--rank-by", "fingerprint", "--jobs", "1",
        "-o", str(output), "-q", "--device", "cpu", "--ppm", str(ppm),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *line], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    code, seconds, cpu_seconds, kib = done.stdout.split()
    if code != "0":
        raise RuntimeError(done.stderr.strip())
    return {
        "rows": n_rows,
        "queries": n_queries,
        "ppm": ppm,
        "candidates_of_a_query": median(sizes),
        "seconds": float(seconds),
        "cpu_seconds": float(cpu_seconds),
        "peak_mib": float(kib) / 1024,
    }


def _spectrum(number: int, mass: float, rng: np.random.Generator) -> Spectrum:
    mz = np.sort(rng.uniform(50.0, max(mass, 60.0), 20))
    return Spectrum(
        mz=mz,
        intensity=rng.uniform(1.0, 100.0, 20),
        query_id=f"q{number}",
        precursor_mz=mass + _PROTON,
        adduct="[M+H]+",
        ion_mode="positive",
    )


def pool_growth(
    n_rows: Sequence[int],
    n_queries: Sequence[int],
    windows: Sequence[float],
    keep: Path | None,
) -> dict[str, Any]:
    """Return what pools of several sizes take to make and to search, by numbers of queries.

    Parameters
    ----------
    n_rows
        Sizes of the pools.
    n_queries
        Numbers of queries; each pool is searched by each of them.
    windows
        Half widths of mass windows (ppm). Pools are searched in the first. The others give 300
        queries more candidates, or fewer, of the largest pool.
    keep
        Where the largest pool is left; None: nowhere.
    """
    made, searched = [], []
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=None if keep is None else keep.parent) as room:
        folder = Path(room)
        for n in sorted(set(n_rows)):
            path = folder / "pool.h5"
            start, start_cpu = time.perf_counter(), time.process_time()
            write_synthetic_pool(path, n)
            made.append(
                {
                    "rows": n,
                    "seconds": time.perf_counter() - start,
                    "cpu_seconds": time.process_time() - start_cpu,
                    "bytes": path.stat().st_size,
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            )
            searched += [search_speed(path, q, folder, windows[0]) for q in sorted(set(n_queries))]
        others = dict.fromkeys(ppm for ppm in windows[1:] if ppm != windows[0])
        searched += [search_speed(path, _WIDE_QUERIES, folder, ppm) for ppm in others]
        if keep is not None:
            path.replace(keep)
    return {"layout": _LAYOUT, "made": made, "searched": searched}


def plot_growth(figures: dict[str, Any], path: Path) -> None:
    """Draw processor time against rows, queries and candidates, all axes logarithmic, as PNG."""
    figure = Figure(figsize=(13.0, 4.4), layout="constrained")
    by_rows, by_queries, by_candidates = figure.subplots(1, 3)
    made, searched = figures["made"], figures["searched"]
    by_rows.plot([m["rows"] for m in made], [m["cpu_seconds"] for m in made], "o-", label="made")
    usual = [each for each in searched if each["ppm"] == searched[0]["ppm"]]
    for n in sorted({each["queries"] for each in usual}):
        curve = [each for each in usual if each["queries"] == n]
        seconds = [each["cpu_seconds"] for each in curve]
        by_rows.plot([each["rows"] for each in curve], seconds, "s-", label=counted(n, "queries"))
    for n in sorted({each["rows"] for each in usual}):
        curve = [each for each in usual if each["rows"] == n]
        seconds = [each["cpu_seconds"] for each in curve]
        by_queries.plot(
            [each["queries"] for each in curve], seconds, "s-", label=counted(n, "rows")
        )
    # Of few queries noise can be more than what they take.
    further = [e for e in further_queries(figures) if min(e["candidates"], e["ms"]) > 0]
    if further:
        candidates = [each["candidates"] for each in further]
        by_candidates.plot(candidates, [each["ms"] for each in further], "s")
    by_rows.set(xlabel="rows of the pool", ylabel="seconds of a core")
    by_queries.set(xlabel="queries", ylabel="seconds of a core")
    by_candidates.set(xlabel="candidates of a query", ylabel="a further query, ms of a core")
    for axes in (by_rows, by_queries, by_candidates):
        if axes.lines:
            axes.set(xscale="log", yscale="log")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize="small")
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def further_queries(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a query takes beyond those of the shortest run of its pool, in ms of a core.

    It is the slope between two runs: their start is the same.
    """
    found: list[dict[str, Any]] = []
    for n in sorted({each["rows"] for each in figures["searched"]}):
        first, *others = (each for each in figures["searched"] if each["rows"] == n)
        found += (
            {
                "rows": n,
                "queries": each["queries"],
                "ppm": each["ppm"],
                "candidates": each["candidates_of_a_query"],
                "ms": 1e3
                * (each["cpu_seconds"] - first["cpu_seconds"])
                / (each["queries"] - first["queries"]),
            }
            for each in others
            if each["queries"] > first["queries"]
        )
    return found
