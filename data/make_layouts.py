"""Derive the shipped fingerprint layouts and measure how well ``svae2149`` agrees.

Run from the repository's root:

    python data/make_layouts.py --rows test.csv --structures structures.tsv.gz \
        --report docs/results/fingerprint-2149.json

`--rows` is the method's published example table (columns ``SMILES`` and ``fp_short``, 100 rows of
2149 bits); `--structures` a large table of structures (column ``smiles``). Written are
``svae2149.csv`` and ``mixed2149.csv`` (for each column of a fingerprint its block and index there)
and ``morgan4096.csv`` (for each folded index the environment that most often sets it).

The 2149 columns are the first five blocks of CSI:FingerID's properties with most bits left out and
the order kept. For each block the kept indices are therefore found as the strictly increasing
sequence with the fewest cells that differ from the published rows; among equally good sequences
the one whose bits vary most over the structures is taken. Both together are one shortest path.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.rdFingerprintGenerator import FingerprintGenerator64

from specvae.errors import StructureError
from specvae.files import atomic_text, sha256_of
from specvae.molecules.blocks import MORGAN_BITS, MORGAN_RADIUS, get_block
from specvae.molecules.fingerprint import FingerprintLayout, fingerprints, unpack
from specvae.molecules.standard import standard_form

# Columns of the published fingerprint by block: first, end, first index that may be chosen.
# PubChem's first 115 bits follow from the formula and were left out by CSI:FingerID.
PUBLISHED = (
    ("laggner", 0, 130, 0),
    ("pubchem", 130, 637, 115),
    ("klekota_roth", 637, 1971, 0),
    ("functional_groups", 1971, 2011, 0),
    ("maccs", 2011, 2149, 0),
)
N_MIXED = 2149

Bits = NDArray[np.bool_]


def main() -> None:
    """Read the options, derive the layouts, write them and the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="published example rows (CSV)")
    parser.add_argument("--structures", type=Path, required=True, help="structures (TSV or CSV)")
    parser.add_argument("--sample", type=int, default=20_000, help="structures drawn (20000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--jobs", type=int, default=None, help="processes (all cores)")
    parser.add_argument("--report", type=Path, default=None, help="write the agreement (JSON)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parents[1] / "specvae" / "molecules",
        help="folder of the layout files",
    )
    options = parser.parse_args()

    row_smiles, published = read_rows(options.rows)
    sample = draw(options.structures, options.sample, options.seed)
    bits_of_rows = compute(row_smiles, options.jobs)
    spread = {
        block: bits.mean(axis=0) * (1.0 - bits.mean(axis=0))
        for block, bits in compute(sample, options.jobs).items()
    }
    chosen = {
        block: align(published[:, first:end], bits_of_rows[block], spread[block], least)
        for block, first, end, least in PUBLISHED
    }
    write_layout(
        options.output / "svae2149.csv",
        [(block, int(index)) for block, *_ in PUBLISHED for index in chosen[block]],
    )
    environments, morgan_spread = morgan_environments(sample)
    n_morgan = N_MIXED - get_block("maccs").n_bits - get_block("pubchem").n_bits
    most_variable = np.sort(np.argsort(-morgan_spread, kind="stable")[:n_morgan])
    write_layout(
        options.output / "mixed2149.csv",
        [
            *(("maccs", index) for index in range(get_block("maccs").n_bits)),
            *(("pubchem", index) for index in range(get_block("pubchem").n_bits)),
            *(("morgan", int(index)) for index in most_variable),
        ],
    )
    with atomic_text(options.output / "morgan4096.csv") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["index", "environment"])
        writer.writerows(sorted(environments.items()))
    if options.report:
        report = {
            "rows": {"file": options.rows.name, "sha256": sha256_of(options.rows)},
            "structures": {
                "file": options.structures.name,
                "sha256": sha256_of(options.structures),
                "sampled": len(sample),
                "seed": options.seed,
            },
            "versions": {name: version(name) for name in ("rdkit", "scikit-fingerprints", "numpy")},
            **agreement(published, bits_of_rows, chosen),
        }
        with atomic_text(options.report) as stream:
            json.dump(report, stream, indent=1)
            stream.write("\n")


def read_rows(path: Path) -> tuple[list[str], Bits]:
    """Return SMILES and bits, shape (n_rows, 2149), of the published example rows."""
    rows = pd.read_csv(path, usecols=["SMILES", "fp_short"], dtype=str)
    bits = [[c == "1" for c in text if c in "01"] for text in rows["fp_short"]]
    return rows["SMILES"].tolist(), np.array(bits, dtype=bool)


def draw(path: Path, n: int, seed: int) -> list[str]:
    """Return the SMILES of a random sample of a table's structures that can be parsed."""
    table = pd.read_csv(
        path, sep="\t" if ".tsv" in path.name else ",", usecols=["smiles"], dtype=str,
        keep_default_na=False,
    )  # fmt: skip
    smiles = table["smiles"].tolist()
    drawn = random.Random(seed).sample(smiles, min(n, len(smiles)))
    return [text for text in drawn if _can_be_parsed(text)]


def _can_be_parsed(smiles: str) -> bool:
    try:
        standard_form(smiles)
    except StructureError:
        return False
    return True


def compute(smiles: Sequence[str], n_jobs: int | None) -> dict[str, Bits]:
    """Return all bits of the five published blocks, by block, shape (n, n_bits of the block)."""
    columns = tuple(
        (block, index) for block, *_ in PUBLISHED for index in range(get_block(block).n_bits)
    )
    layout = FingerprintLayout("all", 1, columns)
    bits = unpack(fingerprints(smiles, layout, n_jobs=n_jobs), layout.n_bits).astype(bool)
    return {block: bits[:, first:end] for block, first, end in layout.blocks}


def align(
    published: Bits, candidates: Bits, spread: NDArray[np.float64], least: int
) -> NDArray[np.intp]:
    """Find the increasing indices that fit the published columns best.

    Parameters
    ----------
    published
        Bits of the kept columns, shape (n_rows, n_columns).
    candidates
        Bits of all indices of the block, shape (n_rows, n_indices).
    spread
        Variance of each index over the sample; decides among equally good sequences.
    least
        First index that may be chosen.

    Returns
    -------
    NDArray[np.intp]
        One index per column, strictly increasing.
    """
    a, b = published.astype(np.int64), candidates[:, least:].astype(np.int64)
    differing = a.sum(axis=0)[:, None] + b.sum(axis=0)[None, :] - 2 * a.T @ b
    # One differing cell weighs more than all variances together, which are at most 1/4 each.
    cost = differing * float(len(spread)) - spread[None, least:]
    n_columns, n_indices = cost.shape
    best = np.full(n_indices + 1, 0.0)
    came_from = np.zeros((n_columns, n_indices), dtype=np.intp)
    for column in range(n_columns):
        # best[i]: least cost of the columns so far when they use indices below i.
        here = cost[column] + best[:-1]
        lowest = np.minimum.accumulate(here)
        is_new = np.r_[True, here[1:] < lowest[:-1]]
        came_from[column] = np.maximum.accumulate(np.where(is_new, np.arange(n_indices), 0))
        best = np.r_[np.inf, lowest]
    indices = np.zeros(n_columns, dtype=np.intp)
    end = n_indices
    for column in reversed(range(n_columns)):
        end = indices[column] = came_from[column, end - 1]
    return indices + least


def morgan_environments(
    smiles: Sequence[str],
) -> tuple[dict[int, str], NDArray[np.float64]]:
    """Return for each folded index its most frequent environment, and the variance of the bit."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=MORGAN_RADIUS)
    counts: Counter[int] = Counter()
    first_seen: dict[int, int] = {}
    on = np.zeros(MORGAN_BITS)
    for number, text in enumerate(smiles):
        found = list(generator.GetSparseFingerprint(standard_form(text).mol).GetOnBits())
        counts.update(found)
        for environment in found:
            first_seen.setdefault(environment, number)
        on[list({environment % MORGAN_BITS for environment in found})] += 1
    shown: dict[int, str] = {}
    # Ties go to the smaller number, so that the same sample gives the same file.
    for environment, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        index = environment % MORGAN_BITS
        if index not in shown:
            mol = standard_form(smiles[first_seen[environment]]).mol
            shown[index] = _draw_environment(mol, generator, environment)
    share = on / len(smiles)
    return shown, share * (1.0 - share)


def _draw_environment(mol: Chem.Mol, generator: FingerprintGenerator64, environment: int) -> str:
    """Return an environment as SMILES that starts with its centre."""
    output = rdFingerprintGenerator.AdditionalOutput()
    output.AllocateBitInfoMap()
    generator.GetSparseFingerprint(mol, additionalOutput=output)
    # The sparse fingerprint numbers environments with a sign, the map without.
    centre, radius = output.GetBitInfoMap()[environment % 2**32][0]
    bonds = list(Chem.FindAtomEnvironmentOfRadiusN(mol, radius, centre)) if radius else []
    atoms = {centre}
    for number in bonds:
        bond = mol.GetBondWithIdx(number)
        atoms |= {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
    return Chem.MolFragmentToSmiles(
        mol, sorted(atoms), bondsToUse=bonds, rootedAtAtom=centre, isomericSmiles=False
    )


def write_layout(path: Path, columns: Sequence[tuple[str, int]]) -> None:
    """Write one row per column: its number, its block, its index there."""
    with atomic_text(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["column", "block", "index"])
        writer.writerows((column, *source) for column, source in enumerate(columns))


def agreement(
    published: Bits, bits: dict[str, Bits], chosen: dict[str, NDArray[np.intp]]
) -> dict[str, Any]:
    """Compare cell by cell, with molecules permuted as a control; functional groups by column."""
    shuffled = np.random.default_rng(0).permutation(len(published))
    blocks: list[dict[str, Any]] = []
    for block, first, end, _ in PUBLISHED:
        theirs, ours = published[:, first:end], bits[block][:, chosen[block]]
        n_differ = int((theirs != ours).sum())
        blocks.append(
            {
                "block": block,
                "first_column": first,
                "end_column": end,
                "indices": get_block(block).n_bits,
                "cells": theirs.size,
                "differing": n_differ,
                "agreement": round(1.0 - n_differ / theirs.size, 6),
                "differing_molecules_permuted": int((theirs != ours[shuffled]).sum()),
                "columns_never_on": int((~theirs.any(axis=0)).sum()),
            }
        )
    others = [block for block in blocks if block["block"] != "functional_groups"]
    n_cells = sum(block["cells"] for block in others)
    n_differ = sum(block["differing"] for block in others)
    return {
        "agreement_outside_functional_groups": round(1.0 - n_differ / n_cells, 6),
        "blocks": blocks,
        "functional_groups": list(_by_column(published, bits, chosen)),
    }


def _by_column(
    published: Bits, bits: dict[str, Bits], chosen: dict[str, NDArray[np.intp]]
) -> Iterator[dict[str, Any]]:
    name = "functional_groups"
    first = next(first for block, first, *_ in PUBLISHED if block == name)
    for place, index in enumerate(chosen[name]):
        theirs, ours = published[:, first + place], bits[name][:, index]
        yield {
            "column": first + place,
            "meaning": get_block(name).meaning(int(index)),
            "on_in_rows": int(theirs.sum()),
            "differing": int((theirs != ours).sum()),
        }


if __name__ == "__main__":
    main()
