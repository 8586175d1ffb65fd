"""Fingerprint layouts: which bits a fingerprint has, what each means, and how to compute them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import resources
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.errors import ConfigError, nearest
from specvae.molecules.blocks import Block, get_block
from specvae.molecules.fingerprint_cache import FingerprintCache
from specvae.molecules.molecule import Molecule
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.standard import STANDARD_VERSION
from specvae.molecules.substructure import SubstructureMatcher
from specvae.molecules.topology import Topologies
from specvae.molecules.workers import processes, usable_cores
from specvae.progress import Progress

__all__ = [
    "LAYOUT_NAMES",
    "FingerprintCache",
    "FingerprintLayout",
    "all_fingerprints",
    "cached_fingerprints",
    "compute_all",
    "fingerprints",
    "get_layout",
    "in_this_process",
    "unpack",
]

# Erythromycin, a flavin dinucleotide and a sulfonylurea: one of them sets bits of most blocks.
_PROBES = (
    (
        "CCC1OC(=O)C(C)C(OC2CC(C)(OC)C(O)C(C)O2)C(C)C(OC2OC(C)CC(N(C)C)C2O)C(C)(O)CC(C)C(=O)C(C)"
        "C(O)C1(C)O"
    ),
    (
        "Cc1cc2nc3c(=O)[nH]c(=O)nc-3n(CC(O)C(O)C(O)COP(=O)(O)OP(=O)(O)OCC3OC(n4cnc5c(N)ncnc54)"
        "C(O)C3O)c2cc1C"
    ),
    "COc1ccc(Cl)cc1C(=O)NCCc1ccc(S(=O)(=O)NC(=O)NC2CCCCC2)cc1",
)

CHUNK = 64
_QUIETLY = 64  # molecules for which Ctrl-C may have to wait
_STORE_EVERY = 16_384  # some ten megabytes; many small parts would be merged again and again
# Starting a process costs as much as some hundred fingerprints.
WORTH_A_PROCESS = 400


@dataclass(frozen=True, eq=False)
class FingerprintLayout:
    """An ordered choice of bits out of `specvae.molecules.blocks`.

    Attributes
    ----------
    name, version
        Identify the layout; the version changes with any bit's definition.
    columns
        For each bit of the fingerprint the name of its block and its index there.
    """

    name: str
    version: int
    columns: tuple[tuple[str, int], ...]

    @property
    def n_bits(self) -> int:
        """Number of bits."""
        return len(self.columns)

    @property
    def n_bytes(self) -> int:
        """Length of a packed fingerprint."""
        return -(-self.n_bits // 8)

    @cached_property
    def blocks(self) -> tuple[tuple[str, int, int], ...]:
        """Name, first bit and end of each run of bits of one block."""
        found = []
        start = 0
        for name, run in groupby(block for block, _ in self.columns):
            stop = start + len(list(run))
            found.append((name, start, stop))
            start = stop
        return tuple(found)

    def __reduce__(self) -> tuple[object, ...]:
        # Prepared patterns are not pickled; of a layout that every process has, only the name is.
        if _is_shipped(self):
            return get_layout, (self.name,)
        return FingerprintLayout, (self.name, self.version, self.columns)

    def meaning(self, bit: int) -> str:
        """Say in one line what a bit stands for: a count, a key, a SMARTS or an environment.

        Raises
        ------
        IndexError
            If there is no such bit.
        """
        if not 0 <= bit < self.n_bits:
            raise IndexError(f"{self.name} has bits 0 to {self.n_bits - 1}, not {bit}")
        block, index = self.columns[bit]
        return get_block(block).meaning(index)

    def title(self, bit: int) -> str:
        """Say what a bit is called beside the atoms of a molecule that set it."""
        block, index = self.columns[bit]
        return get_block(block).title(index)

    def places(self, bit: int, mol: Chem.Mol) -> list[tuple[int, ...]]:
        """Return the atoms of each part of a molecule that sets a bit; none where it is a count."""
        block, index = self.columns[bit]
        with quiet_rdkit():
            return get_block(block).places(index, mol)

    def compute(self, molecules: Sequence[str | Molecule]) -> NDArray[np.uint8]:
        """Compute fingerprints in this process, without any cache.

        Parameters
        ----------
        molecules
            Molecules, or SMILES, which are parsed.

        Returns
        -------
        NDArray[np.uint8]
            Shape (n, n_bytes); bit b of a molecule is bit b % 8 (lowest first) of byte b // 8.

        Raises
        ------
        StructureError
            If a SMILES cannot be parsed; the message shows it.
        """
        return compute_all([self], molecules)[0]

    @cached_property
    def probe_sha256(self) -> str:
        """Digest of three fixed molecules' fingerprints.

        It differs where another version of RDKit or scikit-fingerprints gives other bits.
        """
        # As written: a rule of ours for hydrogens must not look like another RDKit.
        probes = [Molecule(Chem.MolFromSmiles(text)) for text in _PROBES]
        return hashlib.sha256(self.compute(probes).tobytes()).hexdigest()

    def mismatch(self, **stored: object) -> str | None:
        """Return the attribute in which stored fingerprints differ from these, or None.

        Parameters
        ----------
        stored
            Any of ``name``, ``version``, ``n_bits`` and ``probe_sha256`` as they were stored.
        """
        for attribute, found in stored.items():
            own = getattr(self, attribute)
            if found != own:
                return f"{attribute} is {own} here, but {found} is stored"
        return None

    @property
    def key(self) -> str:
        """Name, version, probe digest and version of standardisation in one word, for caches."""
        return f"{self.name}-v{self.version}-{self.probe_sha256[:16]}-s{STANDARD_VERSION}"

    def bits(self, molecules: Topologies, known: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Return the bits of molecules, shape (n_molecules, n_bits).

        `known` has the bits of blocks that other layouts computed, by name; new ones are added.
        """
        matcher, with_pattern, computed = self._plan
        bits = np.zeros((len(molecules), self.n_bits), dtype=bool)
        if len(matcher):
            bits[:, with_pattern] = matcher.matches(molecules)
        for block, columns, indices in computed:
            if block.name not in known:
                known[block.name] = block.compute(molecules)
            bits[:, columns] = known[block.name][:, indices]
        return bits

    @cached_property
    def _plan(
        self,
    ) -> tuple[
        SubstructureMatcher,
        NDArray[np.intp],
        list[tuple[Block, slice | NDArray[np.intp], slice | NDArray[np.intp]]],
    ]:
        """Sort the columns into substructures, tested all at once, and bits computed by block."""
        patterns: list[Chem.Mol] = []
        least: list[int] = []
        with_pattern: list[int] = []
        computed: dict[str, list[tuple[int, int]]] = {}
        for column, (name, index) in enumerate(self.columns):
            pattern = get_block(name).pattern(index)
            if pattern is None:
                computed.setdefault(name, []).append((column, index))
            else:
                patterns.append(pattern)
                least.append(get_block(name).least(index))
                with_pattern.append(column)
        return (
            SubstructureMatcher(patterns, least),
            np.array(with_pattern, dtype=np.intp),
            [
                (
                    get_block(name),
                    _in_a_row([column for column, _ in pairs]),
                    _in_a_row([index for _, index in pairs]),
                )
                for name, pairs in computed.items()
            ],
        )


def _in_a_row(places: list[int]) -> slice | NDArray[np.intp]:
    """Return places as a slice if they are consecutive, as a slice is quicker to copy."""
    run = slice(places[0], places[0] + len(places))
    return run if places == list(range(run.start, run.stop)) else np.array(places, np.intp)


def _from_file(name: str) -> tuple[tuple[str, int], ...]:
    text = (resources.files("specvae.molecules") / f"{name}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return tuple((row["block"], int(row["index"])) for row in rows)


def _whole_morgan() -> tuple[tuple[str, int], ...]:
    return tuple(("morgan", index) for index in range(get_block("morgan").n_bits))


# Name -> version and columns. A new layout is one more line here.
_LAYOUTS: dict[str, tuple[int, Callable[[], tuple[tuple[str, int], ...]]]] = {
    "svae2149": (1, lambda: _from_file("svae2149")),
    "morgan4096": (1, _whole_morgan),
    "mixed2149": (1, lambda: _from_file("mixed2149")),
}
LAYOUT_NAMES = tuple(_LAYOUTS)


@cache
def get_layout(name: str) -> FingerprintLayout:
    """Return a layout by name.

    Raises
    ------
    ConfigError
        If there is none of that name; the message names the nearest.
    """
    if name not in _LAYOUTS:
        raise ConfigError(
            f"unknown fingerprint {name!r}: did you mean {nearest(name, LAYOUT_NAMES)}? "
            f"There are {', '.join(LAYOUT_NAMES)}"
        )
    version, columns = _LAYOUTS[name]
    return FingerprintLayout(name, version, columns())


def compute_all(
    layouts: Sequence[FingerprintLayout], molecules: Sequence[str | Molecule]
) -> list[NDArray[np.uint8]]:
    """Compute fingerprints of several layouts; see `FingerprintLayout.compute`.

    Data that several layouts need of a molecule are taken from RDKit once.
    """
    parsed = list(_parsed(molecules))
    packed = [np.zeros((len(parsed), layout.n_bytes), dtype=np.uint8) for layout in layouts]
    for start in range(0, len(parsed), _QUIETLY):
        with quiet_rdkit():
            part = slice(start, start + _QUIETLY)
            taken = Topologies([molecule.binary for molecule in parsed[part]])
            known: dict[str, NDArray[np.bool_]] = {}
            for rows, layout in zip(packed, layouts, strict=True):
                bits = layout.bits(taken, known)
                rows[part] = np.packbits(bits, axis=1, bitorder="little")
    return packed


def unpack(packed: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Return packed fingerprints as zeros and ones.

    Parameters
    ----------
    packed
        Shape (..., n_bytes).
    n_bits
        Number of bits, to drop the padding.

    Returns
    -------
    NDArray[np.uint8]
        Shape (..., n_bits).
    """
    return np.unpackbits(packed, axis=-1, count=n_bits, bitorder="little")


def fingerprints(
    molecules: Sequence[str | Molecule],
    layout: FingerprintLayout,
    cache: FingerprintCache | None = None,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Return packed fingerprints of many molecules; see `all_fingerprints`.

    Returns
    -------
    NDArray[np.uint8]
        Shape (len(molecules), layout.n_bytes), see `FingerprintLayout.compute`.
    """
    return all_fingerprints(molecules, [layout], cache, n_jobs, progress)[0]


def cached_fingerprints(
    molecules: Sequence[str | Molecule],
    layout: FingerprintLayout,
    n_jobs: int | None,
    progress: Progress,
) -> NDArray[np.uint8]:
    """Return what `fingerprints` does, uint8, with the user's cache, and show the progress."""
    show = partial(progress.progress, "computing fingerprints")
    return fingerprints(molecules, layout, FingerprintCache(), n_jobs, show)


def all_fingerprints(
    molecules: Sequence[str | Molecule],
    layouts: Sequence[FingerprintLayout],
    cache: FingerprintCache | None = None,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.uint8]]:
    """Return packed fingerprints of several layouts, computed in parallel, at most once each.

    Parameters
    ----------
    molecules
        Molecules, or SMILES, which are parsed. Each is computed once, even if it occurs several
        times or in an earlier call with the same cache; so is each structure in several spellings,
        if SMILES are given or known (`Molecule.identity`).
    layouts
        The layouts. Data that several of them need of a molecule are taken from RDKit once.
    cache
        Where fingerprints are looked up and kept; None for no cache.
    n_jobs
        Number of processes; None for as many as this process may use. Few molecules are always
        computed here.
    progress
        Called with the number of distinct molecules done and their total.

    Returns
    -------
    list[NDArray[np.uint8]]
        For each layout, shape (len(molecules), layout.n_bytes), see `FingerprintLayout.compute`.

    Raises
    ------
    StructureError
        If a SMILES cannot be parsed, before anything is computed.
    SpecvaeError
        If the system ends one of the processes; what was computed is kept in the cache.
    """
    parsed = list(_parsed(molecules))
    identities = [molecule.identity for molecule in parsed]
    distinct = dict(zip(identities, parsed, strict=True))
    row_of = {identity: row for row, identity in enumerate(distinct)}
    shelves = [_Shelf(layout, cache) for layout in layouts]
    tables = [np.zeros((len(distinct), layout.n_bytes), dtype=np.uint8) for layout in layouts]
    lacking: dict[str | bytes, list[int]] = {}
    for number, (shelf, table) in enumerate(zip(shelves, tables, strict=True)):
        found = shelf.get(list(distinct))
        for identity, row in row_of.items():
            if identity in found:
                table[row] = found[identity]
            else:
                lacking.setdefault(identity, []).append(number)
    missing: dict[tuple[int, ...], list[str | bytes]] = {}
    for identity, numbers in lacking.items():
        missing.setdefault(tuple(numbers), []).append(identity)
    n_done = len(distinct) - len(lacking)
    try:
        for wanted, chosen in missing.items():
            asked = [layouts[number] for number in wanted]
            for part, packed in _computed([distinct[one] for one in chosen], asked, n_jobs):
                rows = [row_of[one] for one in chosen[part]]
                for number, bits in zip(wanted, packed, strict=True):
                    tables[number][rows] = bits
                    shelves[number].put(dict(zip(chosen[part], bits, strict=True)))
                n_done += len(rows)
                if progress:
                    progress(n_done, len(distinct))
    finally:
        for shelf in shelves:
            shelf.save()
    chosen_rows = np.array([row_of[identity] for identity in identities], np.intp)
    return [table[chosen_rows] for table in tables]


def _parsed(molecules: Sequence[str | Molecule]) -> Iterator[Molecule]:
    """Yield molecules; each text is parsed once."""
    known: dict[str, Molecule] = {}
    for item in molecules:
        if isinstance(item, Molecule):
            yield item
        else:
            if item not in known:
                known[item] = Molecule.parse(item)
            yield known[item]


class _Shelf:
    """A cache for one layout that collects fingerprints before it stores them; or no cache."""

    def __init__(self, layout: FingerprintLayout, cache: FingerprintCache | None) -> None:
        self._layout = layout
        self._cache = cache
        self._unsaved: dict[str | bytes, NDArray[np.uint8]] = {}

    def get(self, identities: Sequence[str | bytes]) -> dict[str | bytes, NDArray[np.uint8]]:
        """Return the stored fingerprints."""
        if self._cache is None:
            return {}
        return self._cache.lookup(self._layout.key, identities, self._layout.n_bytes)

    def put(self, packed: Mapping[str | bytes, NDArray[np.uint8]]) -> None:
        """Collect fingerprints and store them when there are many."""
        self._unsaved |= packed
        if len(self._unsaved) >= _STORE_EVERY:
            self.save()

    def save(self) -> None:
        """Store the collected fingerprints."""
        if self._cache is not None and self._unsaved:
            packed = np.stack(list(self._unsaved.values()))
            self._cache.store(self._layout.key, list(self._unsaved), packed)
        self._unsaved.clear()


def _computed(
    molecules: Sequence[Molecule], layouts: Sequence[FingerprintLayout], n_jobs: int | None
) -> Iterator[tuple[slice, list[NDArray[np.uint8]]]]:
    """Yield parts of the molecules with their fingerprints of each layout, in any order."""
    parts = [slice(start, start + CHUNK) for start in range(0, len(molecules), CHUNK)]
    n_processes = min(n_jobs or usable_cores(), len(molecules) // WORTH_A_PROCESS)
    if n_processes <= 1:
        for part in parts:
            yield part, compute_all(layouts, molecules[part])
        return
    with processes(n_processes, "compute fingerprints") as pool:
        futures = {pool.submit(_compute_chunk, layouts, molecules[part]): part for part in parts}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _compute_chunk(
    layouts: Sequence[FingerprintLayout], molecules: Sequence[Molecule]
) -> list[NDArray[np.uint8]]:
    return compute_all([in_this_process(layout) for layout in layouts], molecules)


def _is_shipped(layout: FingerprintLayout) -> bool:
    """Return whether a layout is the one that this process has by its name."""
    return layout.name in _LAYOUTS and get_layout(layout.name) is layout


def in_this_process(layout: FingerprintLayout) -> FingerprintLayout:
    """Return the one layout of its kind in this process, whose patterns are prepared only once."""
    if _is_shipped(layout):
        return layout
    return _in_this_process(layout.name, layout.version, layout.columns)


@cache
def _in_this_process(
    name: str, version: int, columns: tuple[tuple[str, int], ...]
) -> FingerprintLayout:
    return FingerprintLayout(name, version, columns)
