"""One mass spectrum with its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from specvae.spectra.adducts import Adduct, default_adduct, parse_adduct

MAX_MZ = 1e6
"""Highest m/z (Th) that is read; beyond it a number is no m/z."""

LOWEST_SCALE = 1e-100
"""The highest peak of a spectrum is not lower than this, and not higher than its inverse."""

# As MoNA's MSP writes it: "license=CC BY-SA", the quotation marks around both or around the terms.
_LICENCE = re.compile(r"""(?i)licen[sc]e=(?:["']([^"']+)|([^"';]+))""")
_FIRST_BLOCK = re.compile(r"[A-Z]{14}(?![A-Z])")

LIGHTEST_LOSS = 0.5
"""No fragment lies nearer to its precursor (Th); a hydrogen atom weighs twice as much."""

ABOVE_PRECURSOR = 1.5
"""How far above the precursor (Th) peaks are of its ion: those of its isotopes."""

FAINTEST = 0.001
"""Peaks below this share of the highest are not compared: they may be noise."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Spectrum:
    """One mass spectrum, immutable and checked.

    Parameters
    ----------
    mz
        Positions of the peaks (n_peaks,), float64, Th, ascending, positive, at most `MAX_MZ`.
    intensity
        Heights of the peaks (n_peaks,), float64, arbitrary unit, none negative, one above 0.
    query_id
        Identifier of the record in results; unique within a file.
    name
        Of the compound, as found.
    precursor_mz
        m/z (Th) of the ion that was fragmented, None if the record does not say.
    adduct
        Ion species by its canonical name, or as found where it cannot be read.
    charge, ion_mode
        Signed charge; ``positive`` or ``negative``.
    ms_level
        2 for a fragment spectrum; None if the record does not say.
    collision_energy, normalized_collision_energy, collision_energy_text
        Energy in eV, or in percent of the instrument's scale (never both meanings in one field),
        and the words of the record.
    retention_time
        Seconds.
    instrument, instrument_type
        As found.
    smiles, inchi, inchikey, formula
        The structure that the record states, as found; None where it states none.
    path, line
        Where the record begins (1-based; in mzML and mzXML the index of the spectrum).
    ordinal
        Place among all records of the file, those that are skipped included (1-based); 0 where
        there is no file.
    notes
        Decisions of the reader on the record, see `specvae.spectra.notes`.
    metadata
        Every other field of the record, as found.

    Raises
    ------
    ValueError
        If the peaks are not as described above.
    """

    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]
    query_id: str
    name: str | None = None
    precursor_mz: float | None = None
    adduct: str | None = None
    charge: int | None = None
    ion_mode: str | None = None
    ms_level: int | None = None
    collision_energy: float | None = None
    normalized_collision_energy: float | None = None
    collision_energy_text: str | None = None
    retention_time: float | None = None
    instrument: str | None = None
    instrument_type: str | None = None
    smiles: str | None = None
    inchi: str | None = None
    inchikey: str | None = None
    formula: str | None = None
    path: str = ""
    line: int = 0
    ordinal: int = 0
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mz = np.array(self.mz, dtype=np.float64)
        intensity = np.array(self.intensity, dtype=np.float64)
        if mz.ndim != 1 or mz.shape != intensity.shape:
            raise ValueError(
                f"peaks need two equally long rows of numbers, not {mz.shape} and {intensity.shape}"
            )
        if mz.size == 0:
            raise ValueError("no peaks: a spectrum has one at least")
        # A NaN fails every comparison, wherever it stands; argmin and argmax find it first. Small
        # arrays are the rule, for which counting and finding take half the time of all and min.
        if np.count_nonzero(mz[1:] >= mz[:-1]) < mz.size - 1:
            raise ValueError("m/z values must ascend")
        if not 0 < mz.item(0) <= mz.item(-1) <= MAX_MZ:
            raise ValueError(f"m/z values must be positive and at most {MAX_MZ:g}")
        lowest = intensity.item(intensity.argmin())
        highest = intensity.item(intensity.argmax())
        if not (lowest >= 0 and 0 < highest < np.inf):
            raise ValueError("intensities must be finite, none negative and one above 0")
        if not LOWEST_SCALE <= highest <= 1 / LOWEST_SCALE:
            raise ValueError(f"the highest intensity must not be as far from 1 as {highest:g}")
        if self.precursor_mz is not None and not 0 < self.precursor_mz < np.inf:
            raise ValueError(f"precursor m/z must be positive and finite, not {self.precursor_mz}")
        mz.setflags(write=False)
        intensity.setflags(write=False)
        object.__setattr__(self, "mz", mz)
        object.__setattr__(self, "intensity", intensity)

    @property
    def licence(self) -> str | None:
        """Terms of use that the record states: a field LICENSE, or ``license=`` in its comments."""
        for key, value in self.metadata.items():
            if key.lower() in ("license", "licence"):
                return value.strip() or None
        for key, value in self.metadata.items():
            if key.lower() in ("comment", "comments") and (found := _LICENCE.search(value)):
                return (found[1] or found[2]).strip() or None
        return None

    @property
    def n_peaks(self) -> int:
        """Number of peaks."""
        return int(self.mz.size)

    @property
    def relative_intensity(self) -> NDArray[np.float64]:
        """Intensities (n_peaks,) with the highest peak at 1."""
        relative: NDArray[np.float64] = self.intensity / self.intensity.max()
        return relative

    @property
    def ion(self) -> Adduct | None:
        """The ion species: the record's own, else the protonated or deprotonated molecule.

        None if the record names a species that cannot be read, or neither species nor ion mode.
        """
        if self.adduct:
            return parse_adduct(self.adduct, self.ion_mode)
        return default_adduct(self.ion_mode, self.charge)

    @property
    def neutral_mass(self) -> float | None:
        """Mass in Da of the neutral molecule, None if precursor m/z or ion species is not known."""
        ion = self.ion
        if ion is None or self.precursor_mz is None:
            return None
        return ion.neutral_mass(self.precursor_mz)

    @property
    def singly_charged_mz(self) -> float | None:
        """The m/z (Th) that the ion would have with one charge; no fragment has a higher one.

        For [M+2H]2+ it is that of [M+H]+, as fragments with one charge lie above the precursor. If
        the ion species is unknown, it is the precursor's own m/z.
        """
        ion = self.ion
        if ion is None or abs(ion.charge) == 1 or self.precursor_mz is None:
            return self.precursor_mz
        single = default_adduct(ion.ion_mode)
        assert single is not None
        # Of several molecules with few charges the ion itself is the heavier one.
        return max(self.precursor_mz, single.precursor_mz(ion.neutral_mass(self.precursor_mz)))

    @property
    def has_fragments(self) -> bool:
        """Whether any peak that is compared may be of a fragment; True if that is unknown."""
        return self.highest_fragment >= FAINTEST

    @property
    def highest_fragment(self) -> float:
        """Height of the highest peak that may be of a fragment, relative to the highest of the ion.

        0 if there is no such peak, 1 if that is unknown.
        """
        end = self.singly_charged_mz
        if end is None or self.precursor_mz is None:
            return 1.0
        is_precursor = np.abs(self.mz - self.precursor_mz) < LIGHTEST_LOSS
        fragments = self.intensity[(self.mz < end - LIGHTEST_LOSS) & ~is_precursor]
        highest = self.intensity[self.mz <= end + ABOVE_PRECURSOR].max(initial=0.0)
        return float(fragments.max(initial=0.0) / highest) if highest > 0.0 else 0.0

    @property
    def is_compared(self) -> NDArray[np.bool_]:
        """Which peaks may be of the ion, and are not as low as noise, bool (n_peaks,)."""
        end = self.singly_charged_mz
        found = self.mz <= (np.inf if end is None else end + ABOVE_PRECURSOR)
        faintest = FAINTEST * self.intensity[found].max(initial=0.0)
        return np.asarray(found & (self.intensity > 0.0) & (self.intensity >= faintest))

    @property
    def n_compared(self) -> int:
        """Number of peaks that are compared, at least 1."""
        return max(int(np.count_nonzero(self.is_compared)), 1)

    @property
    def first_block(self) -> str | None:
        """The 14 letters of the InChIKey that stand for the connectivity."""
        match = _FIRST_BLOCK.match(self.inchikey or "")
        return match.group() if match else None
