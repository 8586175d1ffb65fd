"""Spectra as instruments give them: with noise, and with ions of another compound.

Most spectra of libraries were cleaned, and a user's were not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from specvae.spectra.spectrum import Spectrum

_NEIGHBOURS = 40  # spectra of like precursor m/z that one is drawn from
_ABOVE = 1.0  # Th above the precursor
_LEAST_MZ = 50.0
_NOISE_PEAKS = 5, 200
_NOISE_HEIGHTS = 0.001, 0.05  # of the highest peak
_OTHER_HEIGHTS = 0.05, 1.0


class Contamination:
    """What the spectra of a library are contaminated with: noise, and each other.

    A third of the spectra that `of` returns have noise, 5 to 200 peaks anywhere, of .1 to 5 % of
    the highest peak; a third have the peaks of another compound of like precursor m/z, the highest
    of 5 to 100 %; and a third have both. Where the spectra of like m/z are all of the same
    compound, there are no peaks of another.

    Parameters
    ----------
    spectra
        By first block.
    """

    def __init__(self, spectra: Mapping[str, Sequence[Spectrum]]) -> None:
        pairs = [(one, block) for block, some in spectra.items() for one in some]
        mz = np.array([one.precursor_mz or 0.0 for one, _ in pairs])
        order = np.argsort(mz, kind="stable")
        self._mz = mz[order]
        self._pairs = [pairs[i] for i in order.tolist()]

    def of(self, spectrum: Spectrum, block: str, rng: np.random.Generator) -> Spectrum:
        """Return a compound's spectrum, contaminated.

        Parameters
        ----------
        spectrum, block
            The spectrum, and the first block of its compound.
        rng
            Draws what is added.
        """
        kind = rng.random()
        highest = float(spectrum.intensity.max(initial=0.0))
        top = (spectrum.precursor_mz or float(spectrum.mz.max(initial=0.0))) + _ABOVE
        mz, intensity = [spectrum.mz], [spectrum.intensity]
        if kind < 2 / 3 and top > _LEAST_MZ:
            n = round(_between(_NOISE_PEAKS, 1, rng).item())
            mz.append(rng.uniform(_LEAST_MZ, top, n))
            intensity.append(highest * _between(_NOISE_HEIGHTS, n, rng))
        if kind > 1 / 3 and (other := self._other(spectrum, block, rng)) is not None:
            kept = (other.mz < top) & (other.intensity > 0)
            if kept.any():
                found = other.intensity[kept]
                mz.append(other.mz[kept])
                height = highest * _between(_OTHER_HEIGHTS, 1, rng)
                intensity.append(height * found / found.max())
        all_mz = np.concatenate(mz)
        order = np.argsort(all_mz, kind="stable")
        return replace(spectrum, mz=all_mz[order], intensity=np.concatenate(intensity)[order])

    def of_share(
        self, spectrum: Spectrum, block: str, share: float, rng: np.random.Generator
    ) -> Spectrum:
        """Return what `of` does for a share of the spectra, the others as they are."""
        return self.of(spectrum, block, rng) if rng.random() < share else spectrum

    def _other(self, spectrum: Spectrum, block: str, rng: np.random.Generator) -> Spectrum | None:
        at = int(np.searchsorted(self._mz, spectrum.precursor_mz or 0.0))
        near = self._pairs[max(at - _NEIGHBOURS // 2, 0) : at + _NEIGHBOURS // 2]
        others = [one for one, of_block in near if of_block != block]
        return others[int(rng.integers(len(others)))] if others else None


def _between(ends: tuple[float, float], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw numbers whose logarithms are spread evenly, (n,)."""
    low, high = np.log(ends)
    return np.exp(rng.uniform(low, high, n))
