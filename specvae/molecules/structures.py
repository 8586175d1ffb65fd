"""Files of structures, parsed row by row."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import Chem

from specvae.limits import limits
from specvae.molecules.mixtures import with_other_components
from specvae.molecules.molecule import KEY_OF_ANOTHER, KEY_OF_SEVERAL, KEYS_THAT_DIFFER, Molecule
from specvae.molecules.parsing import Kept, parse_together
from specvae.molecules.structure_cache import StructureCache
from specvae.molecules.structure_files import INCHIKEY, read_cells
from specvae.molecules.text_tables import Cells, record_of
from specvae.molecules.topology import Topologies, is_quick
from specvae.molecules.workers import in_order, n_waiting, usable_cores
from specvae.report import ReadReport, Reason

if TYPE_CHECKING:  # processes that parse need no Numba
    from specvae.molecules.mass_screen import MassScreen

BATCH = 1000
_KEYS_COMPUTED = 30  # at most, of a table: each takes half a millisecond
_FEWEST_WRONG = 3  # keys, for a column that is wrong rather than a row
_MOST_KNOWN = 50_000  # texts of structures that are remembered while a table is read
# Starting a process costs as much as parsing some thousand structures, but later work has it too.
WORTH_PROCESSES = 5_000
# All rows of a shorter table are parsed, and what is wrong with any of them is reported.
WORTH_SCREENING = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """One usable structure of a file.

    Attributes
    ----------
    line
        Its line in the file, counted from 1.
    molecule
        The structure, with the key or first block that the row gives.
    """

    line: int
    molecule: Molecule
    name: str
    id: str
    query_id: str

    @property
    def smiles(self) -> str:
        """As written, without what stands behind a blank; from the InChI where that was used."""
        return self.molecule.text


def read_rows(
    path: Path,
    report: ReadReport,
    n_jobs: int | None = 1,
    cache: StructureCache | None = None,
    screen: MassScreen | None = None,
    *,
    every_component: bool = False,
) -> Iterator[Row]:
    """Yield the usable structures of a CSV, TSV, SMI or SDF file in order.

    A table needs a column ``smiles`` or ``inchi``; ``inchikey`` (or ``inchikey14``), ``name``,
    ``id`` and ``query_id`` are used where they are there, in any case and order, others ignored.
    Databases' names for them are known (see `column_meaning`); PubChem's ``CID-SMILES`` has no
    names of columns. A given key is trusted, except for a structure of several components, of which
    one is kept. In an SMI file a line is a SMILES, then a name.

    Parameters
    ----------
    path
        The file.
    report
        Where rows without a usable structure are counted.
    n_jobs
        Processes that parse a long file, None for one per core; see
        `specvae.molecules.workers.processes`.
    cache
        Where structures are looked up and kept; None for no cache.
    screen
        Leaves out rows of a long file (10,000 rows and more) before they are parsed, and remembers
        them; rows with a ``query_id`` never. None: all rows are parsed.
    every_component
        Whether a salt or mixture has a row for each component that may be of interest, see
        `specvae.molecules.mixtures`.

    Raises
    ------
    InputError
        If the file is not of this kind; in a strict report also at the first bad structure.
    SpecvaeError
        If the system ends one of the processes.
    """
    cells = read_cells(path, report)
    if every_component:
        cells = with_other_components(cells, report)
    if screen is not None:
        cells = _screened(cells, screen)
    for (line, row), molecule in _parsed(cells, n_jobs, cache):
        if isinstance(molecule, str):
            report.skip(str(path), line, record_of(row), Reason.BAD_STRUCTURE, molecule)
            continue
        for note in molecule.notes:
            report.note(note)
        report.n_read += 1
        yield Row(line, molecule, row.name, row.id, row.query_id)


def _screened(rows: Iterator[tuple[int, Cells]], screen: MassScreen) -> Iterator[tuple[int, Cells]]:
    """Yield the rows of a long file that must be parsed, and all of a short one."""
    head = list(itertools.islice(rows, WORTH_SCREENING))
    if len(head) < WORTH_SCREENING:
        yield from head
        return
    most = limits().table_rows  # as many as may be remembered
    rows = itertools.chain(head, rows)
    while screen.n_left_out <= most and (taken := list(itertools.islice(rows, BATCH))):
        unnamed = [row for row in taken if not row[1].query_id]
        wanted = screen.wanted([row[1][:2] for row in unnamed]).tolist()
        left_out = {row[0] for row, is_wanted in zip(unnamed, wanted, strict=True) if not is_wanted}
        yield from (row for row in taken if row[0] not in left_out)


class _SharedStructure:
    """The result for all rows with the same text, once it is known."""

    __slots__ = ("_keyed", "found")

    def __init__(self, found: Molecule | str = "") -> None:
        self.found = found
        self._keyed: dict[str, Molecule] = {}

    def molecule(self, cells: Cells) -> Molecule | str:
        """Return a row's molecule, one object for all rows with the same key; or why it has none.

        Properties of the object that are computed later are then computed once.
        """
        if isinstance(self.found, str):
            return self.found
        if cells.inchikey not in self._keyed:
            self._keyed[cells.inchikey] = trusting(self.found, cells)
        return self._keyed[cells.inchikey]


class _Batch(NamedTuple):
    """Some rows, and the texts that must be parsed, each once."""

    rows: list[tuple[tuple[int, Cells], _SharedStructure]]
    texts: list[tuple[str, str]]
    fresh: list[_SharedStructure]

    def filled(
        self, parsed: Sequence[Molecule | str] = ()
    ) -> Iterator[tuple[tuple[int, Cells], Molecule | str]]:
        """Yield the rows, given what `texts` say."""
        for one, molecule in zip(self.fresh, parsed, strict=True):
            one.found = molecule
        for row, one in self.rows:
            yield row, one.molecule(row[1])


def _parsed(
    rows: Iterator[tuple[int, Cells]], n_jobs: int | None, cache: StructureCache | None
) -> Iterator[tuple[tuple[int, Cells], Molecule | str]]:
    """Yield rows with their molecules, or why a row has none.

    Lists of candidates name many structures once for each query: these are parsed once.
    """
    waiting: deque[_Batch] = deque()

    def unparsed() -> Iterator[list[tuple[str, str]]]:
        for batch in _batches(rows, cache):
            waiting.append(batch)
            if batch.texts:
                yield batch.texts

    # Behind the last, nothing: for batches that need none.
    for parsed in itertools.chain(_parse_batches(unparsed(), n_jobs), [None]):
        while waiting and not waiting[0].texts:
            yield from waiting.popleft().filled()
        if parsed is not None:
            batch = waiting.popleft()
            if cache is not None:
                cache.put(batch.texts, parsed)
            yield from batch.filled(parsed)
    if cache is not None:
        cache.save()


def _parse_batches(
    batches: Iterator[list[tuple[str, str]]], n_jobs: int | None
) -> Iterator[list[Molecule | str]]:
    """Return the molecules of each batch, parsed by several processes if there are many texts."""
    n_processes = n_jobs or usable_cores()
    head: list[list[tuple[str, str]]] = []
    n_texts = 0
    worth = BATCH if n_waiting() else WORTH_PROCESSES
    while n_processes > 1 and n_texts < worth and (batch := next(batches, None)):
        head.append(batch)
        n_texts += len(batch)
    batches = itertools.chain(head, batches)
    if n_processes > 1 and n_texts >= worth:
        return in_order(parse_together, batches, n_processes, "parse structures")
    return map(parse_together, batches)


def _batches(rows: Iterator[tuple[int, Cells]], cache: StructureCache | None) -> Iterator[_Batch]:
    known: dict[tuple[str, str], _SharedStructure] = {}
    while taken := list(itertools.islice(rows, BATCH)):
        texts = list(dict.fromkeys((cells.smiles, cells.inchi) for _, cells in taken))
        texts = [text for text in texts if text not in known]
        kept = cache.lookup(texts) if cache is not None else [None] * len(texts)
        known |= {text: _SharedStructure(one or "") for text, one in zip(texts, kept, strict=True)}
        missing = [text for text, one in zip(texts, kept, strict=True) if one is None]
        yield _Batch(
            [(row, known[row[1].smiles, row[1].inchi]) for row in taken],
            missing,
            [known[text] for text in missing],
        )
        if len(known) > _MOST_KNOWN:
            known.clear()


def trusting(molecule: Molecule, cells: Cells) -> Molecule:
    """Return a row's molecule with the key that the row gives.

    It is not trusted for a structure of several components, of which one is kept.
    """
    if molecule.n_components == 1 and INCHIKEY.fullmatch(cells.inchikey):
        return molecule.with_key(cells.inchikey)
    return molecule


def with_own_keys(molecules: Sequence[Molecule | str]) -> Sequence[Molecule | str]:
    """Return molecules, those without their given key that stand beside another's structure.

    A key that was filled down a column would make one candidate of all its rows. Two keys of one
    structure would make two candidates that cannot be told apart. If a column was moved or sorted
    without the others, most of its keys are of other structures: some keys are computed, and if
    most of these disagree, none is trusted. `molecules` has a text in the place of each structure
    that cannot be used.
    """
    keyed = {id(one): one for one in molecules if isinstance(one, Molecule) and one.given_key}
    of_key: dict[str, Molecule] = {}
    shared: set[str] = set()
    for molecule in keyed.values():
        if (key := molecule.given_key) in shared:
            continue
        first = of_key.setdefault(key, molecule)
        if first is not molecule and not _are_one_compound(first, molecule):
            shared.add(key)
    if _are_of_others([one for key, one in of_key.items() if key not in shared]):
        note, wrong = KEY_OF_ANOTHER, list(keyed.values())
    else:
        note, wrong = KEY_OF_SEVERAL, [one for one in keyed.values() if one.given_key in shared]
    instead = {id(one): one.with_own_key(note) for one in wrong}
    instead |= {
        id(one): one.with_own_key(KEYS_THAT_DIFFER)
        for one in _with_several_keys(one for one in keyed.values() if id(one) not in instead)
    }
    if not instead:
        return molecules
    # One object for all rows that say the same: its key is computed once.
    return [instead.get(id(one), one) for one in molecules]


def _with_several_keys(molecules: Iterable[Molecule]) -> list[Molecule]:
    """Return the molecules whose structure occurs with another first block too."""
    of_structure: dict[str, list[Molecule]] = {}
    for one in _that_may_be_same(list(molecules)):
        of_structure.setdefault(one.smiles, []).append(one)
    return [
        one
        for same in of_structure.values()
        if len(same) > 1 and len({each.first_block for each in same}) > 1
        for one in same
    ]


def _that_may_be_same(molecules: list[Molecule]) -> Iterable[Molecule]:
    """Return molecules without most that are like no other one, if their SMILES are not known."""
    if not is_quick(len(molecules)) or all(one.knows_smiles for one in molecules):
        return molecules
    # Some at a time: what is taken of each is kilobytes.
    parts = [molecules[start : start + BATCH] for start in range(0, len(molecules), BATCH)]
    digests = np.concatenate([Topologies([one.binary for one in part]).digests for part in parts])
    _, numbers, counts = np.unique(digests, return_inverse=True, return_counts=True)
    return itertools.compress(molecules, (counts[numbers] > 1).tolist())


def _are_of_others(molecules: Sequence[Molecule]) -> bool:
    """Return whether most given keys are of other structures, by some that are looked at."""
    sample = molecules[:: -(-len(molecules) // _KEYS_COMPUTED) or 1]
    computed = [(one.first_block, one.with_key("").first_block) for one in sample]
    n_wrong = sum(bool(own) and own != given for given, own in computed)
    return n_wrong >= _FEWEST_WRONG and 2 * n_wrong > len(sample)


def _are_one_compound(one: Molecule, other: Molecule) -> bool:
    """Return whether two structures have one first block, computed only where they look unlike."""
    if one.smiles == other.smiles:
        return True
    flat = (Chem.MolToSmiles(each.mol, isomericSmiles=False) for each in (one, other))
    return len(set(flat)) == 1 or one.with_key("").first_block == other.with_key("").first_block


def parse_rows(rows: Sequence[Cells], kept: Kept | None = None) -> list[Molecule | str]:
    """Return the structures of rows, with the keys that they give, or why there is none.

    `kept` is computed of them at once, see `parse_together`.
    """
    parsed = parse_together([(cells.smiles, cells.inchi) for cells in rows], kept)
    return [
        trusting(found, cells) if isinstance(found, Molecule) else found
        for found, cells in zip(parsed, rows, strict=True)
    ]


def parse_texts(
    texts: Sequence[str], n_jobs: int | None = 1, cache: StructureCache | None = None
) -> list[Molecule | str]:
    """Return the structures of some SMILES, without keys, or why there is none.

    Parameters
    ----------
    texts
        SMILES, each once.
    n_jobs
        Processes that parse many; None for one per core.
    cache
        Where structures are looked up and kept; None for no cache.

    Raises
    ------
    SpecvaeError
        If the system ends one of the processes.
    """
    pairs = [(text, "") for text in texts]
    found: list[Molecule | str | None] = list(
        cache.lookup(pairs) if cache is not None else [None] * len(pairs)
    )
    missing = [pair for pair, one in zip(pairs, found, strict=True) if one is None]
    batches = (missing[start : start + BATCH] for start in range(0, len(missing), BATCH))
    n_processes = min(n_jobs or usable_cores(), len(missing) // BATCH)
    parsed: Iterator[list[Molecule | str]]
    if n_processes <= 1 or (len(missing) < WORTH_PROCESSES and not n_waiting()):
        parsed = map(parse_together, batches)
    else:
        parsed = in_order(parse_together, batches, n_processes, "parse structures")
    fresh = list(itertools.chain.from_iterable(parsed))
    if cache is not None:
        cache.put(missing, fresh)
        cache.save()
    rest = iter(fresh)
    return [next(rest) if one is None else one for one in found]


def read_molecules(path: Path, report: ReadReport) -> Iterator[tuple[str, Molecule]]:
    """Yield name and molecule of each usable structure of a CSV, TSV or SMI file.

    The name is the row's ``id``, else its ``name``, else ``FILE#N`` with the line's number.

    Raises
    ------
    InputError
        See `read_rows`.
    """
    for row in read_rows(path, report):
        name = row.id or row.name or f"{path.name}#{row.line}"
        molecule = row.molecule.with_key("")
        if molecule.inchikey:
            yield name, molecule
        else:
            report.n_read -= 1
            report.skip(
                str(path),
                row.line,
                name,
                Reason.BAD_STRUCTURE,
                "no InChIKey can be computed for it",
            )
