"""How readily molecules become an ion species, whatever the spectrum says.

A phosphate is hardly ever met as its acetate adduct, since it loses a proton instead, and what has
no hydrogen to lose is hardly met as [M-H]-. No spectrum is needed to see that, so this is what is
known of candidates before, given the ion species of the query.
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
    """What tells how readily a molecule becomes an ion species.

    Attributes
    ----------
    group
        SMARTS of a group that tells; empty for none.
    present, absent
        Nats of a molecule that has the group, and of one that has not.
    neutral
        Nats for one that is no cation itself.
    typical
        Nats for all where several species are tried. They make the odds of a library's compounds 1
        on average, so that the species are as common as `log_shares` says.
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
    """Return how readily molecules become an ion species, float64 (n_molecules,), nats.

    It is ``log p(ion | molecule)``, as far as a group and the charge tell it, and but for a
    constant: 0 where nothing speaks against it.

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
    """Return how readily candidates become their ion species, float64 (n_candidates,), nats.

    Those of several species can be compared: see `Formation.typical`.

    Parameters
    ----------
    candidates
        Of one query.
    ions
        The species that they may be of, one or those that `CandidateSet.ion` are numbers of; None
        if it is not known.
    library
        What it has measured as that species becomes it; None for no library.
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
