"""Single items of evidence that a report shows: bits, analogues, peaks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BitEvidence:
    """What one predicted bit says about the best candidate.

    Attributes
    ----------
    bit
        Index in the fingerprint.
    meaning
        The bit's SMARTS, key name or atom environment.
    probability
        Predicted chance that the bit is set.
    present
        Whether the candidate has it.
    """

    bit: int
    meaning: str
    probability: float
    present: bool


@dataclass(frozen=True, slots=True)
class Analogue:
    """A compound of the library whose spectrum is like a query's.

    Attributes
    ----------
    first_block, smiles
        The compound.
    cosine
        Likeness of the spectra, from 0 to 1.
    """

    first_block: str
    smiles: str
    cosine: float


@dataclass(frozen=True, slots=True)
class PeakEvidence:
    """A peak of the query as a fragment of the best candidate.

    Attributes
    ----------
    mz
        Th.
    relative_intensity
        The highest of the peaks that were explained or not has 1.
    formula
        Of the likeliest ion, in Hill order, with its sign.
    error_ppm
        m/z of the peak less the ion's, in parts per million of the ion's.
    gain
        By how many nats the candidate's fragments raise the log-odds of the peak.
    """

    mz: float
    relative_intensity: float
    formula: str
    error_ppm: float
    gain: float
