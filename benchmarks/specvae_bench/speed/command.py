"""`specvae bench speed`: our readers and layers against their peers, in one run on one thread."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import click

from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Choice, Command
from specvae.cli.options import INPUT, NumberRange, WholeRange
from specvae.compression import DECOMPRESSION_ERRORS, open_decompressed
from specvae.errors import InputError
from specvae.sources import no_such_file
from specvae_bench.options import output_option, require_own_head, require_results, require_unused

# One pass over a file in a process of its own; prints spectra, seconds and peak memory (KiB).
_READ_SCRIPT = """
import resource, sys, time
start = time.perf_counter()
{body}
seconds = time.perf_counter() - start
print(n, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_SPECVAE = """
from specvae.report import ReadReport
from specvae.spectra.read import read_spectra
start = time.perf_counter()
n = sum(1 for _ in read_spectra(sys.argv[1], ReadReport()))
"""
_MATCHMS = """
from matchms.importing import load_from_msp
start = time.perf_counter()
n = sum(1 for _ in load_from_msp(sys.argv[1]))
"""


PARTS = (
    "start", "read_msp", "sparse_layer", "fingerprints", "comparisons", "fragments", "epochs",
    "pools",
)  # fmt: skip
# Options that are of one part alone.
_OF_PARTS = {
    "read_msp": ("spectra", "read_repeats"),
    "fragments": ("candidates",),
    "fingerprints": ("structures",),
    "epochs": ("mnist",),
    "pools": ("pool_rows", "pool_queries", "pool_ppm", "keep_pool"),
}
_ON_REQUEST = ("read_msp", "pools")  # need a file, or gigabytes


@click.command(cls=Command)
@click.option(
    "--part",
    "parts",
    type=Choice(PARTS),
    multiple=True,
    help="What to measure (repeatable).  [default: all but pools; read_msp with --spectra only]",
)
@click.option(
    "--spectra", type=INPUT, default=None, help="An MSP file, compressed or not, for read_msp."
)
@click.option(
    "--candidates",
    type=INPUT,
    default=None,
    help="Table of structures, for fragments.  [default: 64 made-up molecules]",
)
@click.option(
    "--structures",
    type=INPUT,
    default=None,
    help="Table of structures, for fingerprints: 3,000 are drawn.  [default: 1,500 made up]",
)
@click.option(
    "--mnist",
    type=INPUT,
    default=None,
    help="Folder with MNIST, for epochs.  [default: random pictures]",
)
@click.option(
    "--pool-rows",
    type=WholeRange(min=100),
    multiple=True,
    default=(10_000, 100_000, 1_000_000),
    show_default=True,
    help="Sizes of the made-up pools, for pools (repeatable); ten million rows take 1.5 GB.",
)
@click.option(
    "--pool-queries",
    type=WholeRange(min=1),
    multiple=True,
    default=(10, 100, 1000),
    show_default=True,
    help="Numbers of queries that search them (repeatable).",
)
@click.option(
    "--pool-ppm",
    type=NumberRange(min=0.0, min_open=True),
    multiple=True,
    default=(10.0,),
    show_default=True,
    help="Mass windows, ± ppm (repeatable): the first of all searches; in each of the others 300 "
    "queries search the largest pool.",
)
@click.option("--keep-pool", type=INPUT, default=None, help="Leave the largest pool here.")
@click.option(
    "--repeats",
    type=WholeRange(min=1),
    default=3,
    show_default=True,
    help="Repeats of the quick measurements; medians are reported, of fragments the least.",
)
@click.option(
    "--read-repeats",
    type=WholeRange(min=1),
    default=1,
    show_default=True,
    help="Repeats of reading the whole file.",
)
@output_option("speed.json", "File of the measurements.")
@settings_options
@verbosity
def speed(
    parts: tuple[str, ...],
    spectra: Path | None,
    candidates: Path | None,
    structures: Path | None,
    mnist: Path | None,
    pool_rows: tuple[int, ...],
    pool_queries: tuple[int, ...],
    pool_ppm: tuple[float, ...],
    keep_pool: Path | None,
    repeats: int,
    read_repeats: int,
    output: Path,
) -> None:
    """Measure speed against other programs, in turn and on one thread; ratios are of medians.

    Reading: an MSP file against matchms (if it is installed), with peak memory. Layers: the sparse
    first layer against the dense one. Fingerprints: each layout against scikit-fingerprints, and
    whether the bits are the same. Comparisons: candidates of 2149 bits that a core compares in a
    second, and could read. Pools (only on request): the time to build made-up pools, and to search
    them with 'annotate --rank-by fingerprint'; also a plot beside the output. Fragments:
    milliseconds per candidate on one core, and those of the network that learns the weights.
    Start: 'specvae --help' against importing click. Epochs: our training against that of the
    multivae library, if it is installed (extra 'peers'), on halves of digits.

    \b
    Example:
      specvae bench speed --spectra mona.msp.gz -o speed.json
      specvae bench speed --part fragments --candidates candidates.csv.gz -o fragments.json
      specvae bench speed --part fingerprints --structures structures.tsv.gz -o fingerprints.json
      specvae bench speed --part pools --pool-rows 10000000 --keep-pool pool.h5 -o pools.json
      specvae bench speed --part epochs --mnist data/cache/mnist -o epochs.json
    """
    chosen = parts or PARTS
    if spectra is None and "read_msp" in parts:
        raise click.UsageError("--part read_msp needs a file: --spectra FILE.")
    if not parts:
        left_out = _ON_REQUEST if spectra is None else ("pools",)
        chosen = tuple(part for part in PARTS if part not in left_out)
    _require_files(chosen, output, (spectra, candidates, structures, mnist))
    if keep_pool is not None and keep_pool.exists():
        raise InputError(f"{keep_pool}: is there already; --keep-pool names a new file")

    from specvae.files import sha256_of
    from specvae_bench.files import made_by, write_result

    console = Console()
    result: dict[str, Any] = {
        **made_by("speed"),
        "threads": 1,
    }
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "start": lambda: _start(repeats + 2),
        "sparse_layer": lambda: _sparse_layer(repeats),
        "fingerprints": lambda: _fingerprints(repeats, structures),
        "comparisons": lambda: _comparisons(repeats),
        "fragments": lambda: _fragments(repeats, candidates),
        "pools": lambda: _pools(
            pool_rows, pool_queries, pool_ppm, keep_pool, output.with_suffix(".png")
        ),
        "epochs": lambda: _epochs(repeats, mnist),
    }
    if spectra is not None:
        path = spectra
        result["file"] = {"name": path.name, "sha256": sha256_of(path)}
        measures["read_msp"] = lambda: _read(path, read_repeats, console)
    # read_msp comes before torch and RDKit are loaded: a new process is born with its parent's peak
    # memory.
    for name in PARTS:
        if name in chosen:
            console.log(f"measuring {name}")
            result[name] = measures[name]()
            console.log(f"  {result[name]}")
    write_result(output, result)
    click.echo(f"{output}")


def _require_files(chosen: Collection[str], output: Path, read: Sequence[Path | None]) -> None:
    """Fail before the first part if a later one could not be measured, or written."""
    plots = [output.with_suffix(".png")] if "pools" in chosen else []
    require_results(output, *plots)
    for part, names in _OF_PARTS.items():
        if part not in chosen:
            require_unused(names, f"is for --part {part}, which is not measured")
    for plot in plots:
        require_own_head(plot, "Software\0specvae")
    for path in read:
        if path is not None and not path.exists():
            raise InputError(f"{path}: {no_such_file(path)}")


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _read(path: Path, repeats: int, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as room:
        # matchms reads plain files only; decompression is taken out of both times.
        plain = Path(room) / "library.msp"
        try:
            with open_decompressed(path) as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except DECOMPRESSION_ERRORS as error:
            raise InputError(f"{path}: cannot be decompressed ({error})") from None
        return _read_plain(path, plain, repeats, console)


def _read_plain(source: Path, path: Path, repeats: int, console: Console) -> dict[str, Any]:
    readers = {"specvae": _SPECVAE, "matchms": _MATCHMS}
    runs: dict[str, list[tuple[int, float, float]]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, body in readers.items():
            done = subprocess.run(
                [sys.executable, "-c", _READ_SCRIPT.format(body=body), str(path)],
                capture_output=True, text=True, env=_one_thread(), check=False,
            )  # fmt: skip
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
                if name == "specvae":
                    text = reason[0].removeprefix("specvae.errors.InputError: ")
                    raise InputError(text.replace(str(path), str(source)))
                console.log(f"  {name} failed: {reason[0]}")
                continue
            n, seconds, kib = done.stdout.split()[-3:]
            runs[name].append((int(n), float(seconds), float(kib) / 1024))
    figures: dict[str, Any] = {
        name: {
            "n_spectra": repeats[0][0],
            "seconds": statistics.median(seconds for _, seconds, _ in repeats),
            "peak_mib": max(mib for _, _, mib in repeats),
        }
        for name, repeats in runs.items()
        if repeats
    }
    if len(figures) == len(readers):
        figures["matchms_over_specvae"] = (
            figures["matchms"]["seconds"] / figures["specvae"]["seconds"]
        )
    return figures


def _sparse_layer(repeats: int) -> dict[str, float]:
    import torch

    from specvae.vae.networks import SparseLinear, SparseRows

    torch.set_num_threads(1)
    n_rows, n_columns, n_outputs, n_peaks = 256, 11_000, 512, 50
    generator = torch.Generator().manual_seed(0)
    columns = torch.cat(
        [torch.randperm(n_columns, generator=generator)[:n_peaks] for _ in range(n_rows)]
    )
    values = torch.rand(n_rows * n_peaks, generator=generator)
    rows = SparseRows(torch.arange(0, n_rows * n_peaks + 1, n_peaks), columns, values, n_columns)
    dense_input = rows.to_dense()
    sparse, dense = SparseLinear(n_columns, n_outputs), torch.nn.Linear(n_columns, n_outputs)

    def step(layer: torch.nn.Module, x: object) -> Callable[[], None]:
        def run() -> None:
            layer.zero_grad(set_to_none=True)
            layer(x).square().mean().backward()

        return run

    seconds = _medians(
        {"sparse": step(sparse, rows), "dense": step(dense, dense_input)}, 5 * repeats
    )
    return {
        "sparse_ms": 1e3 * seconds["sparse"],
        "dense_ms": 1e3 * seconds["dense"],
        "dense_over_sparse": seconds["dense"] / seconds["sparse"],
    }


def _fingerprints(repeats: int, structures: Path | None) -> dict[str, Any]:
    from specvae.files import sha256_of
    from specvae_bench.speed.fingerprints import drawn, layout_speed, made_up

    if structures is None:
        return layout_speed(made_up(), repeats)
    molecules, n_skipped = drawn(structures)
    file = {"name": structures.name, "sha256": sha256_of(structures), "n_skipped": n_skipped}
    return {"file": file, **layout_speed(molecules, repeats)}


def _fragments(repeats: int, candidates: Path | None) -> dict[str, Any]:
    from specvae.files import sha256_of
    from specvae_bench.speed.fragments import drug_sized, fragment_speed, some_molecules

    if candidates is None:
        return fragment_speed(drug_sized(), repeats)
    file = {"name": candidates.name, "sha256": sha256_of(candidates)}
    return {"file": file, **fragment_speed(some_molecules(candidates), repeats)}


def _comparisons(repeats: int) -> dict[str, Any]:
    from specvae_bench.speed.pools import fingerprint_speed

    return fingerprint_speed(repeats)


def _pools(
    n_rows: tuple[int, ...],
    n_queries: tuple[int, ...],
    windows: tuple[float, ...],
    keep: Path | None,
    plot: Path,
) -> dict[str, Any]:
    from specvae_bench.speed.pools import plot_growth, pool_growth

    figures = pool_growth(n_rows, n_queries, windows, keep)
    plot_growth(figures, plot)
    return figures


def _epochs(repeats: int, mnist: Path | None) -> dict[str, Any]:
    from specvae_bench.paper.images import read_mnist
    from specvae_bench.speed.epochs import epoch_speed

    return epoch_speed(repeats, None if mnist is None else read_mnist(mnist)[0].pixels)


def _start(repeats: int) -> dict[str, float]:
    def process(*arguments: str) -> Callable[[], None]:
        def run() -> None:
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

        return run

    seconds = _medians(
        {
            "help": process("-m", "specvae.cli.main", "--help"),
            "click": process("-c", "import click"),
        },
        repeats,
    )
    return {
        "help_seconds": seconds["help"],
        "import_click_seconds": seconds["click"],
        "help_over_click": seconds["help"] / seconds["click"],
    }


def _medians(tasks: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each task; tasks take turns, after one turn unmeasured."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(repeats) for name, repeats in seconds.items()}
