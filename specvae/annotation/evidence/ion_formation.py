"""How readily molecules form an ion species: a prior that does not depend on the spectrum.

A phosphate is hardly ever measured as its acetate adduct, since it loses a proton instead. A
molecule without an acidic hydrogen is hardly measured as [M-H]-. So the ion species of a query
makes some candidates likelier than others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.library.ion_shares import IONS_OF_CATIONS
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import Molecule
from specvae.molecules.substructure import SubstructureMatcher
from specvae.molecules.topology import Topologies
from specvae.spectra.adducts import Adduct

__all__ = ["FORMATION", "Formation", "formation_of_candidates", "ion_formation"]

_ACID_OF_P_OR_S = "[OX2H][P,S]=O"
_HYDROGEN_ON_O_N_OR_S = "[O,S,#7;!H0]"
_ALIPHATIC_AMINE = "[NX3;!$(N[C,S,P]=[O,S,N]);!$(N~[!#6;!#1]);!$(N[c,$(C=C)])]"  # no amide, aniline


@dataclass(frozen=True)
class Formation:
    """How readily molecules form an ion species, by a functional group and by their charge.

    Attributes
    ----------
    group
        SMARTS of the functional group; empty for none.
    present, absent
        Nats for molecules with the group, and for molecules without it.
    neutral
        Nats for molecules that are no cations themselves.
    typical
        Nats that are added for all molecules where several species are tried. They make the mean
        odds of a library's compounds 1, so that species are as common as `log_shares` says.
    """

    group: str = ""
    present: float = 0.0
    absent: float = 0.0
    neutral: float = 0.0
    typical: float = 0.0


_OF_ANION = Formation(_ACID_OF_P_OR_S, present=-5.0, typical=0.15)

FORMATION: Mapping[str, Formation] = {
    **dict.fromkeys(IONS_OF_CATIONS, Formation(neutral=-4.0)),
    "[M+NH4]+": Formation(_ALIPHATIC_AMINE, present=-1.5, typical=0.15),
    "[M-H]-": Formation(_HYDROGEN_ON_O_N_OR_S, absent=-1.5, typical=0.15),
    "[M+HCOO]-": _OF_ANION,
    "[M+CH3COO]-": _OF_ANION,
    "[M+Cl]-": _OF_ANION,
    "[M+Br]-": _OF_ANION,
}
"""By ion species; of all others nothing is known. Fitted to MassBank: docs/research.md, section 37.
"""


def ion_formation(molecules: Sequence[Molecule], ion: Adduct) -> NDArray[np.float64]:
    """Return how readily molecules form an ion species, float64 (n_molecules,), nats.

    It estimates ``log p(ion | molecule)`` from a functional group and the charge, up to a constant:
    it is 0 for molecules that readily form the ion.

    Parameters
    ----------
    molecules
        In their standard form, in which acids are not ionised.
    ion
        The species.
    """
    formation = FORMATION.get(ion.name)
    nats = np.zeros(len(molecules))
    if formation is None or not len(molecules):
        return nats
    if formation.neutral:
        nats[[molecule.charge <= 0 for molecule in molecules]] += formation.neutral
    if formation.group:
        taken = Topologies([molecule.binary for molecule in molecules])
        has_group = _matcher(formation.group).matches(taken)[:, 0]
        nats += np.where(has_group, formation.present, formation.absent)
    return nats


def formation_of_candidates(
    candidates: CandidateSet, ions: Sequence[Adduct | None], library: LibraryMemory | None
) -> NDArray[np.float64]:
    """Return how readily candidates form their ion species, float64 (n_candidates,), nats.

    Values of different species can be compared: see `Formation.typical`.

    Parameters
    ----------
    candidates
        Of one query.
    ions
        The species that were tried: one, or those that `CandidateSet.ion` numbers; None if the
        species is unknown.
    library
        Compounds with library spectra of the species do form it; None for no library.
    """
    nats = np.zeros(len(candidates))
    for number, ion in enumerate(ions):
        if ion is None or ion.name not in FORMATION:
            continue
        of_ion, rows = candidates, np.arange(len(candidates))
        if candidates.ion is not None:
            rows = np.flatnonzero(candidates.ion == number)
            of_ion = candidates.select(rows)
        nats[rows] = ion_formation(of_ion.molecules.tolist(), ion)
        if candidates.ion is not None:
            nats[rows] += FORMATION[ion.name].typical
        if library is not None:
            measured = library.measured_as(of_ion, ion)
            nats[rows] = np.where(measured, 0.0, nats[rows])
    return nats


@cache
def _matcher(group: str) -> SubstructureMatcher:
    return SubstructureMatcher([Chem.MolFromSmarts(group)])
