"""Write the demo data: a small library, queries, candidates and the truth.

THE SPECTRA ARE SIMULATED. No instrument measured them: a bond-breaking fragmenter makes them up
from the structures in ``demo_molecules.smi``. They show how the program is used and they test it;
they say nothing about how well it does on real spectra.

The fragmenter cuts one or two places of a molecule. A place is a single bond outside rings, or two
bonds of one ring. Each place has a cost, and an ion's intensity falls with the summed cost, the
more slowly the higher the collision energy. Hydrogens move as in even-electron fragmentation: to
the heteroatom of a cut bond, away from a carbon that makes a stable cation.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import rdinchi
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.Chem.rdMolDescriptors import CalcExactMolWt, CalcMolFormula

from specvae.masses import ELECTRON_MASS, ISOTOPE_MASSES, formula_mass

HERE = Path(__file__).resolve().parent
NOTE = "simulated by data/make_demo.py, not measured"

H_MASS = ISOTOPE_MASSES["H"]  # Da
PROTON_MASS = H_MASS - ELECTRON_MASS
CO_MASS = formula_mass("CO")

ENERGIES = (10, 20, 40)  # eV
TOLERANCE_PPM = 10.0
MIN_MZ = 40.0
MAX_PEAKS = 30
MIN_INTENSITY = 0.5  # % of the base peak

N_QUERIES = 48
MIN_QUERY_PEAKS = 6
MIN_QUERY_SIMILARITY = 0.5  # Tanimoto of Morgan bits to the nearest library molecule
N_CANDIDATES = 8  # decoys are made until a query has that many, where the molecule allows it
MAX_DECOY_SIMILARITY = 0.6

_N_COMBINED = 40  # of the sides of a molecule that are cut off, the cheapest: two by two

SP2 = Chem.HybridizationType.SP2

_MORGAN = GetMorganGenerator(radius=2, fpSize=2048)
_UNSTABLE = Chem.MolFromSmarts("[$([O,N,S;!R]-[O,F,Cl,Br;!R]),$([#7+;!H0])]")
_LOSES_CO = Chem.MolFromSmarts("[$([c]-[OH]),$([#6;R](=O)),$(c-C=O)]")


@dataclass(frozen=True)
class Compound:
    """A named molecule."""

    name: str
    molecule: Chem.Mol

    @cached_property
    def smiles(self) -> str:
        """Canonical SMILES."""
        return str(Chem.MolToSmiles(self.molecule))

    @cached_property
    def inchikey(self) -> str:
        """Standard InChIKey; its first 14 characters are the connectivity."""
        return str(rdinchi.MolToInchiKey(self.molecule))

    @property
    def first_block(self) -> str:
        """The connectivity part of the InChIKey."""
        return self.inchikey[:14]

    @cached_property
    def exact_mass(self) -> float:
        """Monoisotopic mass in Da."""
        return float(CalcExactMolWt(self.molecule))

    @property
    def precursor_mz(self) -> float:
        """The m/z of [M+H]+ in Th."""
        return self.exact_mass + PROTON_MASS

    @cached_property
    def bits(self) -> DataStructs.ExplicitBitVect:
        """Morgan bits, for similarity only."""
        bits: DataStructs.ExplicitBitVect = _MORGAN.GetFingerprint(self.molecule)
        return bits

    def similarity(self, others: Sequence[Compound]) -> list[float]:
        """Tanimoto similarity to each of `others`."""
        return list(DataStructs.BulkTanimotoSimilarity(self.bits, [other.bits for other in others]))


@dataclass(frozen=True)
class Cut:
    """One side of a molecule cut at one place.

    Attributes
    ----------
    atoms
        The side's atoms as a bit mask.
    cost
        How hard the place is to cut; no unit.
    shift
        Hydrogens that the side gains (negative: loses).
    place
        The bonds cut, as a bit mask.
    stable
        Whether the side makes a stable cation at the cut.
    """

    atoms: int
    cost: float
    shift: int
    place: int
    stable: bool


@dataclass(frozen=True)
class Ion:
    """A fragment ion: m/z in Th, cost of making it, and its weight before energy is applied."""

    mz: float
    cost: float
    weight: float


def read_molecules(path: Path) -> list[Compound]:
    """Read ``SMILES name`` lines; lines that start with ``#`` and empty ones are skipped."""
    compounds = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        smiles, name = line.split(maxsplit=1)
        compounds.append(Compound(name, Chem.MolFromSmiles(smiles)))
    return compounds


def _is_acyl(atom: Chem.Atom) -> bool:
    return atom.GetSymbol() in "CSP" and any(
        bond.GetBondType() == Chem.BondType.DOUBLE
        and bond.GetOtherAtom(atom).GetSymbol() in ("O", "S")
        for bond in atom.GetBonds()
    )


def _is_saturated(atom: Chem.Atom) -> bool:
    return bool(atom.GetHybridization() == Chem.HybridizationType.SP3)


def _is_activated(atom: Chem.Atom, other: Chem.Atom) -> bool:
    """Whether a cation at `atom` is stabilised by a neighbour other than `other`."""
    return _is_saturated(atom) and any(
        neighbour.GetIdx() != other.GetIdx()
        and (neighbour.GetSymbol() in ("N", "O") or neighbour.GetHybridization() == SP2)
        and not _is_acyl(neighbour)
        for neighbour in atom.GetNeighbors()
    )


def _bond_cost(bond: Chem.Bond) -> float:
    """Return how hard a single bond is to break; amides and glycosides break first."""
    a, b = bond.GetBeginAtom(), bond.GetEndAtom()
    if a.GetSymbol() != "C" or (b.GetSymbol() == "C" and _is_acyl(a)):
        a, b = b, a  # a is the carbon; of two carbons, b is the acyl one
    if a.GetSymbol() != "C" or b.GetSymbol() != "C":
        if _is_acyl(a) or _is_acyl(b):
            return 1.0
        if a.GetIsAromatic() or not _is_saturated(a):
            return 3.2
        if b.GetSymbol() == "O" and a.GetDegree() == 1:
            return 1.9
        return 0.8 if _is_activated(a, b) else 1.3
    if _is_acyl(b):
        return 1.7 if _is_saturated(a) else 2.2
    if _is_activated(a, b) or _is_activated(b, a):
        return 2.0
    return 2.8 if _is_saturated(a) and _is_saturated(b) else 3.4


def _masks(molecule: Chem.Mol, closed: Iterable[int]) -> Iterator[int]:
    """Yield the connected parts that remain without the bonds in `closed`, as atom masks."""
    missing = set(closed)
    unseen = set(range(molecule.GetNumAtoms()))
    while unseen:
        stack = [min(unseen)]
        part = 0
        while stack:
            index = stack.pop()
            if index not in unseen:
                continue
            unseen.remove(index)
            part |= 1 << index
            stack.extend(
                bond.GetOtherAtomIdx(index)
                for bond in molecule.GetAtomWithIdx(index).GetBonds()
                if bond.GetIdx() not in missing
            )
        yield part


def _bond_cuts(molecule: Chem.Mol) -> Iterator[Cut]:
    for bond in molecule.GetBonds():
        if bond.IsInRing() or bond.GetBondType() != Chem.BondType.SINGLE:
            continue
        cost = _bond_cost(bond)
        for part in _masks(molecule, [bond.GetIdx()]):
            inner, outer = bond.GetBeginAtom(), bond.GetEndAtom()
            if not part >> inner.GetIdx() & 1:
                inner, outer = outer, inner
            stable = _is_acyl(inner) or _is_activated(inner, outer)
            gains = inner.GetSymbol() != "C" or not (stable or outer.GetSymbol() != "C")
            shift = 1 if gains else -1
            if inner.GetSymbol() == "O" and outer.GetDegree() == 1 and outer.GetSymbol() == "C":
                shift = 0  # a methyl ether loses a methyl radical
            yield Cut(part, cost, shift, 1 << bond.GetIdx(), stable)


def _ring_cuts(molecule: Chem.Mol) -> Iterator[Cut]:
    for ring in molecule.GetRingInfo().BondRings():
        bonds = [molecule.GetBondWithIdx(index) for index in ring]
        aromatic = all(bond.GetIsAromatic() for bond in bonds)
        if aromatic and not any(
            _is_acyl(atom) for bond in bonds for atom in (bond.GetBeginAtom(), bond.GetEndAtom())
        ):
            continue
        for first, second in itertools.combinations(bonds, 2):
            if Chem.BondType.DOUBLE in (first.GetBondType(), second.GetBondType()):
                continue
            parts = list(_masks(molecule, [first.GetIdx(), second.GetIdx()]))
            if len(parts) != 2:
                continue
            cost = 1.6 if aromatic else 0.8 + 0.5 * (_bond_cost(first) + _bond_cost(second))
            place = 1 << first.GetIdx() | 1 << second.GetIdx()
            for part in parts:
                yield Cut(part, cost, 0, place, stable=False)


def _is_connected(atoms: int, neighbours: Sequence[int]) -> bool:
    reached = atoms & -atoms
    frontier = reached
    while frontier:
        index = frontier.bit_length() - 1
        frontier ^= 1 << index
        new = neighbours[index] & atoms & ~reached
        reached |= new
        frontier |= new
    return reached == atoms


def fragment(molecule: Chem.Mol) -> list[Ion]:
    """Return the fragment ions of a protonated neutral molecule, without the precursor."""
    atoms = list(molecule.GetAtoms())
    table = Chem.GetPeriodicTable()
    masses = [
        table.GetMostCommonIsotopeMass(atom.GetAtomicNum()) + atom.GetTotalNumHs() * H_MASS
        for atom in atoms
    ]
    neighbours = [sum(1 << other.GetIdx() for other in atom.GetNeighbors()) for atom in atoms]
    basic = sum(1 << atom.GetIdx() for atom in atoms if atom.GetSymbol() == "N")
    co_sites = sum(1 << match[0] for match in molecule.GetSubstructMatches(_LOSES_CO))

    def ion(cut: Cut) -> Ion:
        mass = sum(masses[i] for i in range(len(masses)) if cut.atoms >> i & 1)
        mz = mass + cut.shift * H_MASS + PROTON_MASS
        holds_charge = 1.0 if cut.atoms & basic or not basic else 0.25
        return Ion(mz, cut.cost, holds_charge * (1.4 if cut.stable else 1.0))

    cuts = sorted((*_bond_cuts(molecule), *_ring_cuts(molecule)), key=lambda cut: cut.cost)
    best: dict[tuple[int, int], Cut] = {(cut.atoms, cut.shift): cut for cut in reversed(cuts)}
    for one, two in itertools.combinations(cuts[:_N_COMBINED], 2):
        common = one.atoms & two.atoms
        if common in (0, one.atoms, two.atoms) or one.place & two.place:
            continue
        both = Cut(
            common,
            one.cost + two.cost,
            one.shift + two.shift,
            one.place | two.place,
            one.stable and two.stable,
        )
        known = best.get((common, both.shift))
        if (known is None or both.cost < known.cost) and _is_connected(common, neighbours):
            best[common, both.shift] = both
    ions = [ion(cut) for cut in best.values()]
    ions += [
        Ion(parent.mz - CO_MASS, parent.cost + 0.8, parent.weight)
        for cut, parent in zip(best.values(), ions, strict=True)
        if cut.atoms & co_sites and cut.cost < 2
    ]
    if co_sites:
        ions.append(Ion(CalcExactMolWt(molecule) + PROTON_MASS - CO_MASS, 1.6, 1.0))
    return ions


def simulate(
    compound: Compound, ions: Sequence[Ion], energy: int, chance: random.Random
) -> list[tuple[float, float]]:
    """Return the peaks of one spectrum: m/z in Th, ascending, and intensity in % of the base peak.

    Parameters
    ----------
    compound
        The molecule.
    ions
        What `fragment` makes of it.
    energy
        Collision energy in eV.
    chance
        Source of the noise in m/z (2 ppm standard deviation) and intensity.
    """
    temperature = 0.35 + 0.015 * energy
    whole = compound.precursor_mz
    peaks: dict[int, tuple[float, float]] = {}  # one peak per mDa

    def add(mz: float, intensity: float) -> None:
        noisy = mz * (1 + 1e-6 * max(-5.0, min(5.0, chance.gauss(0, 2))))
        height = intensity * math.exp(chance.gauss(0, 0.25))
        old_mz, old = peaks.get(round(mz * 1000), (noisy, 0.0))
        peaks[round(mz * 1000)] = (old_mz, old + height)

    add(whole, 1.2 * math.exp(-energy / 14))
    for ion in ions:
        if MIN_MZ <= ion.mz < whole:
            further = math.exp(-0.03 * energy * ion.mz / whole)  # large ions break again
            add(ion.mz, ion.weight * further * math.exp(-ion.cost / temperature))
    base = max(height for _, height in peaks.values())
    strongest = sorted(peaks.values(), key=lambda peak: -peak[1])[:MAX_PEAKS]
    return sorted(
        (mz, 100 * height / base)
        for mz, height in strongest
        if 100 * height / base >= MIN_INTENSITY
    )


def isomer(compound: Compound, chance: random.Random) -> Compound | None:
    """Return an isomer made by moving groups to other atoms, or None if the attempt fails."""
    molecule = compound.molecule
    for _ in range(chance.randint(1, 3)):
        bonds = [
            bond
            for bond in molecule.GetBonds()
            if not bond.IsInRing() and bond.GetBondType() == Chem.BondType.SINGLE
        ]
        if not bonds:
            return None
        bond = chance.choice(bonds)
        keep, move = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if chance.random() < 0.5:
            keep, move = move, keep
        rest = next(part for part in _masks(molecule, [bond.GetIdx()]) if part >> keep & 1)
        targets = [
            atom.GetIdx()
            for atom in molecule.GetAtoms()
            if rest >> atom.GetIdx() & 1
            and atom.GetIdx() != keep
            and atom.GetSymbol() == "C"
            and atom.GetTotalNumHs() > 0
        ]
        if not targets:
            return None
        target = chance.choice(targets)
        edit = Chem.RWMol(molecule)
        edit.RemoveBond(keep, move)
        edit.AddBond(target, move, Chem.BondType.SINGLE)
        for index, change in ((keep, 1), (target, -1)):
            atom = edit.GetAtomWithIdx(index)
            n_hydrogens = molecule.GetAtomWithIdx(index).GetTotalNumHs()
            atom.SetNumExplicitHs(n_hydrogens + change)
            atom.SetNoImplicit(True)
        molecule = edit.GetMol()
        try:
            Chem.SanitizeMol(molecule)
        except Chem.MolSanitizeException:
            return None
    molecule = Chem.MolFromSmiles(Chem.MolToSmiles(molecule))
    if molecule is None or molecule.HasSubstructMatch(_UNSTABLE):
        return None
    return Compound("constructed isomer", molecule)


def within(mass: float, compounds: Iterable[Compound]) -> list[Compound]:
    """Return the compounds whose exact mass lies within the tolerance of `mass` (Da)."""
    return [c for c in compounds if abs(c.exact_mass - mass) <= TOLERANCE_PPM * 1e-6 * mass]


def make_decoys(
    query: Compound, known: Sequence[Compound], chance: random.Random
) -> list[Compound]:
    """Return isomers of `query` that fill its same-mass neighbours up to `N_CANDIDATES`."""
    missing = N_CANDIDATES - len(within(query.exact_mass, known))
    taken = {compound.first_block for compound in known}
    decoys: list[Compound] = []
    for _ in range(300):
        if len(decoys) >= missing:
            break
        decoy = isomer(query, chance)
        if (
            decoy is not None
            and decoy.first_block not in taken
            and abs(decoy.exact_mass - query.exact_mass) < 1e-4
            and query.similarity([decoy])[0] <= MAX_DECOY_SIMILARITY
        ):
            taken.add(decoy.first_block)
            decoys.append(decoy)
    return decoys


def choose_queries(compounds: Sequence[Compound], chance: random.Random) -> list[Compound]:
    """Choose molecules to hold out that still have a relative among the ones that stay."""
    chosen: list[Compound] = []
    order = list(compounds)
    chance.shuffle(order)
    for compound in order:
        if len(chosen) == N_QUERIES:
            break
        held_out = {compound.name, *(other.name for other in chosen)}
        library = [other for other in compounds if other.name not in held_out]
        peaks = simulate(compound, fragment(compound.molecule), ENERGIES[1], random.Random(0))
        if (
            140 <= compound.exact_mass <= 650
            and len(peaks) >= MIN_QUERY_PEAKS
            and max(compound.similarity(library)) >= MIN_QUERY_SIMILARITY
        ):
            chosen.append(compound)
    return chosen


def _peak_lines(peaks: Iterable[tuple[float, float]]) -> str:
    return "".join(f"{mz:.4f} {height:.1f}\n" for mz, height in peaks)


def write_library(path: Path, compounds: Sequence[Compound], chance: random.Random) -> int:
    """Write an MSP file in MoNA's dialect; return the number of spectra."""
    n_spectra = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for compound in compounds:
            ions = fragment(compound.molecule)
            for energy in ENERGIES:
                n_spectra += 1
                peaks = simulate(compound, ions, energy, chance)
                stream.write(
                    f"Name: {compound.name}\n"
                    f"DB#: DEMO{n_spectra:05d}\n"
                    f"InChIKey: {compound.inchikey}\n"
                    "Precursor_type: [M+H]+\n"
                    "Spectrum_type: MS2\n"
                    f"PrecursorMZ: {compound.precursor_mz:.4f}\n"
                    "Instrument_type: simulated\n"
                    "Ion_mode: P\n"
                    f"Collision_energy: {energy} eV\n"
                    f"Formula: {CalcMolFormula(compound.molecule)}\n"
                    f"ExactMass: {compound.exact_mass:.5f}\n"
                    f'Comments: "SMILES={compound.smiles}" "note={NOTE}"\n'
                    f"Num Peaks: {len(peaks)}\n{_peak_lines(peaks)}\n"
                )
    return n_spectra


def write_queries(path: Path, queries: Sequence[Compound], chance: random.Random) -> None:
    """Write an MGF file with one spectrum per held-out molecule, at 20 and 40 eV by turns."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for number, query in enumerate(queries, 1):
            energy = ENERGIES[1 + number % 2]
            peaks = simulate(query, fragment(query.molecule), energy, chance)
            stream.write(
                f"BEGIN IONS\nTITLE=query-{number:02d}\nPEPMASS={query.precursor_mz:.4f}\n"
                f"CHARGE=1+\nADDUCT=[M+H]+\nIONMODE=Positive\nMSLEVEL=2\n"
                f"COLLISION_ENERGY={energy} eV\nCOMMENT={NOTE}\n{_peak_lines(peaks)}END IONS\n\n"
            )


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def make_demo(molecules: Path, out: Path, seed: int) -> str:
    """Write the four files into `out` and return a line that says what they hold."""
    compounds = read_molecules(molecules)
    chance = random.Random(seed)
    queries = choose_queries(compounds, chance)
    held_out = {query.first_block for query in queries}
    library = [compound for compound in compounds if compound.first_block not in held_out]

    candidates = list(compounds)
    for query in queries:
        candidates += make_decoys(query, candidates, chance)
    candidates.sort(key=lambda compound: (round(compound.exact_mass, 3), compound.first_block))
    counts = sorted(len(within(query.exact_mass, candidates)) for query in queries)

    out.mkdir(parents=True, exist_ok=True)
    n_spectra = write_library(out / "library.msp", library, chance)
    write_queries(out / "queries.mgf", queries, chance)
    write_table(
        out / "candidates.csv",
        ("smiles", "name", "id"),
        ((c.smiles, c.name, f"C{number:04d}") for number, c in enumerate(candidates, 1)),
    )
    write_table(
        out / "truth.csv",
        ("query_id", "inchikey14"),
        ((f"query-{number:02d}", query.first_block) for number, query in enumerate(queries, 1)),
    )
    return (
        f"{n_spectra} simulated spectra of {len(library)} molecules, {len(queries)} queries, "
        f"{len(candidates)} candidates (median {counts[len(counts) // 2]} for a query) in {out}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Write simulated demo data.")
    parser.add_argument("-o", "--out", type=Path, default=HERE / "demo")
    parser.add_argument("--molecules", type=Path, default=HERE / "demo_molecules.smi")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with rdBase.BlockLogs():
        summary = make_demo(options.molecules, options.out, options.seed)
    sys.stdout.write(summary + "\n")


if __name__ == "__main__":
    main()
