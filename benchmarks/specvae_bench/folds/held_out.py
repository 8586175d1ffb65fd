"""A fold of a library's compounds: their spectra as queries, their truth, their candidates."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.folds import fold_of
from specvae.annotation.library.pairs import read_pairs
from specvae.errors import InputError
from specvae.files import atomic_text, sha256_of
from specvae.molecules.candidates import read_candidates
from specvae.progress import Progress
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum
from specvae_bench.contamination import Contamination
from specvae_bench.files import digests, made_by, write_mgf, write_result, write_truth


@dataclass(frozen=True, eq=False)
class HeldOutSpectra:
    """Spectra of compounds that are held out.

    Attributes
    ----------
    queries
        A spectrum and the first block of its compound.
    n_compounds
        How many compounds they are of.
    """

    queries: list[tuple[Spectrum, str]]
    n_compounds: int

    @property
    def spectra(self) -> list[Spectrum]:
        """The spectra alone."""
        return [spectrum for spectrum, _ in self.queries]


def hold_out(
    paths: Sequence[Path],
    wanted: SpectrumFilter,
    share: float,
    max_spectra: int,
    seed: int,
    report: ReadReport,
    progress: Progress,
    *,
    contaminated: float = 0.0,
) -> HeldOutSpectra:
    """Return the spectra of a share of the compounds, at most `max_spectra` of each.

    A compound's fold depends on its first block and the seed alone, and so does which spectra of it
    are taken. A share `contaminated` of these gets noise and peaks of others (`Contamination`).

    Raises
    ------
    InputError
        If no compound is held out, or two spectra have the same query_id.
    """
    held = []
    measured: dict[str, list[Spectrum]] = {}
    n_spectra: Counter[str] = Counter()
    wanted = replace(wanted, precursor_of_structure=False)  # that of a query was measured
    for spectrum, molecule in read_pairs(paths, wanted, report, progress, "reading"):
        block = molecule.first_block
        if contaminated:
            measured.setdefault(block, []).append(spectrum)
        # Not the bare seed: 'train' splits by it, and its folds must not follow this one.
        if fold_of(block, 0.0, share, f"holdout {seed}") == "test":
            held.append((spectrum, block))
            n_spectra[block] += 1
    if not held:
        raise InputError(f"{paths[0]}: no compound held out ({report.summary()})")
    queries = _spread(held, n_spectra, max_spectra)
    ids = Counter(spectrum.query_id for spectrum, _ in queries)
    doubled = [name for name, n in ids.items() if n > 1]
    if doubled:
        raise InputError(f"query_id {doubled[0]!r} stands in several libraries; hold out of one")
    if contaminated:
        contamination, rng = Contamination(measured), np.random.default_rng(seed)
        queries = [
            (contamination.of_share(one, block, contaminated, rng), block) for one, block in queries
        ]
    return HeldOutSpectra(queries, len(n_spectra))


def _spread(
    held: Sequence[tuple[Spectrum, str]], n_spectra: Counter[str], max_spectra: int
) -> list[tuple[Spectrum, str]]:
    """Return at most `max_spectra` of each compound, spread evenly over its list.

    A library lists a compound's spectra by energy: low and high ones are both among the queries.
    """
    seen: Counter[str] = Counter()
    kept = []
    for spectrum, block in held:
        n, position = n_spectra[block], seen[block]
        seen[block] += 1
        n_kept = min(n, max_spectra)
        if position * n_kept // n != (position - 1) * n_kept // n or position == 0:
            kept.append((spectrum, block))
    return kept


def write_fold(
    held: HeldOutSpectra,
    output: Path,
    sources: Sequence[Path],
    settings: dict[str, Any],
) -> None:
    """Write ``queries.mgf`` (no structures in it), ``truth.csv`` and ``holdout.json``.

    Parameters
    ----------
    sources
        Files that the fold was made from; their digests are written.
    settings
        By which it was made.
    """
    write_mgf(held.spectra, output / "queries.mgf")
    truths = ((spectrum.query_id, block) for spectrum, block in held.queries)
    write_truth(truths, output / "truth.csv")
    write_result(
        output / "holdout.json",
        {
            **made_by("holdout"),
            "n_queries": len(held.queries),
            "n_compounds": held.n_compounds,
            **settings,
            "files": digests(sources),
            "truth_sha256": sha256_of(output / "truth.csv"),
        },
    )


def write_candidates(
    structures: Path, queries: Sequence[Spectrum], ppm: float, output: Path
) -> int:
    """Write query_id, smiles, inchikey of the structures near each query; return how many."""
    table = read_candidates(structures)
    n_written = 0
    with atomic_text(output) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["query_id", "smiles", "inchikey", "name"])
        for query in queries:
            mass = query.neutral_mass
            if mass is None:
                continue
            found = table.within(mass, ppm).deduplicate()
            writer.writerows(
                (query.query_id, *row)
                for row in zip(found.smiles, found.inchikey, found.name, strict=True)
            )
            n_written += len(found)
    return n_written
