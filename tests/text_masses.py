"""Compare the masses of structures by their text alone with those that RDKit finds.

    python tests/text_masses.py structures.tsv.gz candidates.csv.gz

Prints a row for each table: rows, those whose text is not understood (they are parsed in any run),
those of more than one possible mass, those that RDKit cannot parse, and those whose mass is none of
the possible ones, which must be 0.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.structure_files import read_cells
from specvae.molecules.structures import parse_rows
from specvae.molecules.text_mass import text_masses
from specvae.molecules.text_tables import Cells
from specvae.molecules.workers import LocalEngine
from specvae.report import ReadReport

_COUNTS = ("rows", "not understood", "several masses", "cannot be parsed", "wrong")
_BATCH = 1000
_PPM = 1e-3


def compare(batch: list[Cells]) -> Counter[str]:
    """Return how many rows are of each kind; each wrong one is printed."""
    found = Counter({"rows": len(batch)})
    for cells, molecule in zip(batch, parse_rows(batch), strict=True):
        masses = text_masses([text for text in cells[:2] if text])
        found["not understood"] += bool(np.isnan(masses.lightest).any())
        found["several masses"] += bool(masses.n_further.any())
        if isinstance(molecule, str):
            found["cannot be parsed"] += 1
        elif not MassScreen([molecule.exact_mass], _PPM).wanted([cells[:2]]).all():
            found["wrong"] += 1
            sys.stdout.write(f"{cells.smiles or cells.inchi}: not {molecule.exact_mass} Da\n")
    return found


def batches(path: Path) -> Iterator[list[Cells]]:
    """Yield the rows of a table."""
    rows = (cells for _, cells in read_cells(path, ReadReport()))
    while batch := list(islice(rows, _BATCH)):
        yield batch


def main() -> None:
    """Compare tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", type=Path)
    for path in parser.parse_args().tables:
        found = Counter[str]()
        for part in LocalEngine(None, "compare masses").in_order(compare, batches(path)):
            found += part
        row = " | ".join(f"{found[name]:,}" for name in _COUNTS)
        sys.stdout.write(f"| `{path.name}` | {row} |\n")


if __name__ == "__main__":
    main()
