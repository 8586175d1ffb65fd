"""Spectra as sparse rows of numbers: binned peaks, neutral losses and the measuring conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from specvae.errors import ConfigError
from specvae.settings import from_json, to_json
from specvae.spectra.sparse import SparseMatrix, SparseVector
from specvae.spectra.spectrum import ABOVE_PRECURSOR, Spectrum

LAYOUT_VERSION = 3
"""The version is raised when the same options would give other columns or values.

Version 1 also dropped peaks above the precursor for ions with several charges, whose fragments have
fewer charges. Versions 1 and 2 began the bins of neutral losses at 0, so that a rounding error
could move the precursor's own peak out of them. Models of these versions still encode queries in
the same way.
"""
_KNOWN_VERSIONS = (1, 2, 3)

ADDUCTS: tuple[str, ...] = (
    "[M+H]+",
    "[M+Na]+",
    "[M+NH4]+",
    "[M+K]+",
    "[M]+",
    "[M+H-H2O]+",
    "[M+2H]2+",
    "[M-H]-",
    "[M+HCOO]-",
    "[M+CH3COO]-",
    "[M+Cl]-",
    "[M-2H]2-",
)
"""Ion species with a column of their own."""

INSTRUMENT_TYPES: tuple[str, ...] = (
    "LC-ESI-QTOF",
    "LC-ESI-ITFT",
    "LC-ESI-QFT",
    "LC-ESI-QQ",
    "LC-ESI-QQQ",
    "LC-ESI-IT",
    "LC-ESI-QIT",
    "LC-ESI-ITTOF",
    "ESI-QTOF",
    "LC-APCI-QTOF",
    "LC-APCI-ITFT",
    "LC-APPI-QQ",
)
"""Instrument types (MassBank's terms) with a column of their own."""

ION_MODES: tuple[str, ...] = ("positive", "negative")

_PEAK_SECTIONS = frozenset({"bins", "neutral_losses", "fine_bins", "fine_neutral_losses"})
_MASS_DEFECT_STEPS = 50
_ENERGY_STEP = 10.0
_N_ENERGY_STEPS = 16
_CHUNK_SPECTRA = 4096
_MOST_BINS = 100_000_000  # of one section: a layout with more is a damaged one
# Decimal m/z values such as 0.3 lie a rounding error below the border of their bin.
_BIN_SLACK = 1e-7
SOFT_EDGE = 0.002
"""Th; `BinLayout.soft_edge` of look-ups and of the default preset. At m/z 400 it is 5 ppm, the
accuracy of instruments."""

# Exponent of a peak's share in a bin, by which its intensity is multiplied. Look-ups compare fourth
# roots of intensities, which are then linear in the share.
_SHARE_POWER = 4


class _Section(NamedTuple):
    name: str
    start: int
    size: int


@dataclass(frozen=True)
class BinLayout:
    """The columns of encoded spectra.

    The columns come in sections, each section only if its option is on:

    ``bins``
        Peaks: with the base peak at 100 the intensities are summed per bin of `bin_width`, then
        log(1 + x). This is the only section that a model reconstructs.
    ``neutral_losses``
        The same for precursor m/z minus peak m/z, from 0 up to `max_loss`. The bins are centred on
        the multiples of their width: a peak of the precursor itself is at the centre of its bin.
    ``fine_bins``, ``fine_neutral_losses``
        Both again in steps of `fine_bin_width`, which separate peaks that share a bin of 0.1 Th.
    ``precursor``
        Precursor m/z: one column per Th up to `max_mz` (the last one for all above it), one per
        0.02 of its fractional part, one for 'not known'.
    ``collision_energy``
        eV / 100, NCE / 100, one column for 'neither known', and one per step of 10 of each.
    ``adduct``, ``instrument_type``, ``ion_mode``
        One column per known value, then one for all others.

    Parameters
    ----------
    bin_width, max_mz
        Th.
    fine_bin_width
        Th; None for no fine sections.
    neutral_losses, precursor, collision_energy, adduct, instrument_type, ion_mode
        Whether there are these sections.
    max_loss
        Upper end of the neutral losses in Th; None for `max_mz`.
    soft_edge
        Th; a peak within this distance of a bin's border belongs to both bins, with shares whose
        squares sum to 1: sine and cosine of an angle that goes from 0 to pi / 2 across the border.
        Its intensity counts times the fourth power of the share. So a small error of m/z changes no
        value by a jump. At most a quarter of the bin's width is used; 0 for hard borders.
    min_relative_intensity
        Peaks below this share of the highest one are left out.
    max_peaks
        Only so many of the highest peaks are used; None for all.
    drop_above_precursor
        Peaks more than 1.5 Th above `Spectrum.singly_charged_mz` are left out.
    adducts, instrument_types
        The values with a column of their own.
    context
        Columns behind the bins that are kept, ascending, numbered as if all were kept; None for
        all. A column that is hardly ever filled in training is only noise.
    version
        Version of the encoding, kept with a trained model.

    Raises
    ------
    ConfigError
        If an option makes no sense, or the version is none that this program knows.
    """

    bin_width: float = 0.1
    max_mz: float = 1100.0
    fine_bin_width: float | None = None
    neutral_losses: bool = False
    max_loss: float | None = None
    soft_edge: float = 0.0
    precursor: bool = False
    collision_energy: bool = False
    adduct: bool = False
    instrument_type: bool = False
    ion_mode: bool = False
    min_relative_intensity: float = 0.0
    max_peaks: int | None = None
    drop_above_precursor: bool = False
    adducts: tuple[str, ...] = ADDUCTS
    instrument_types: tuple[str, ...] = INSTRUMENT_TYPES
    context: tuple[int, ...] | None = None
    version: int = LAYOUT_VERSION

    def __post_init__(self) -> None:
        if self.version not in _KNOWN_VERSIONS:
            raise ConfigError(
                f"bin layout has version {self.version}, this program knows 1 to {LAYOUT_VERSION}"
            )
        for name in ("bin_width", "max_mz", "max_loss", "fine_bin_width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"bin layout: {name} must be a positive number, not {value}")
        self._require_bins()
        if not 0 <= self.soft_edge < math.inf:
            raise ConfigError(f"bin layout: soft_edge must be at least 0, not {self.soft_edge}")
        if not 0 <= self.min_relative_intensity < 1:
            raise ConfigError(
                "bin layout: min_relative_intensity must lie in [0, 1), "
                f"not {self.min_relative_intensity}"
            )
        if self.max_peaks is not None and self.max_peaks < 1:
            raise ConfigError(f"bin layout: max_peaks must be at least 1, not {self.max_peaks}")
        if self.context is not None:
            context = np.asarray(self.context, dtype=np.int64)
            last = self.sections[-1].start + self.sections[-1].size
            if context.size and (
                context[0] < self.n_bins or context[-1] >= last or (np.diff(context) <= 0).any()
            ):
                raise ConfigError(
                    f"bin layout: context must ascend from {self.n_bins} to {last - 1} at most"
                )
            object.__setattr__(self, "context", tuple(context.tolist()))
        object.__setattr__(self, "adducts", tuple(self.adducts))
        object.__setattr__(self, "instrument_types", tuple(self.instrument_types))

    # ------------------------------------------------------------------ columns

    def _require_bins(self) -> None:
        highest = max(self.max_mz, self.max_loss or 0.0)
        step = min(self.bin_width, self.fine_bin_width or math.inf)
        if highest / step > _MOST_BINS:
            raise ConfigError(
                f"bin layout: bins of {step:g} Th up to {highest:g} Th, at most {_MOST_BINS:,}"
            )

    @property
    def n_bins(self) -> int:
        """Number of columns that hold peaks, and that a model reconstructs."""
        return _n_steps(self.max_mz, self.bin_width)

    @property
    def n_columns(self) -> int:
        """Number of columns of an encoded spectrum."""
        if self.context is not None:
            return self.n_bins + len(self.context)
        return self._full_width

    @property
    def _full_width(self) -> int:
        last = self.sections[-1]
        return last.start + last.size

    def restricted(self, context: NDArray[np.int64]) -> BinLayout:
        """Return a layout that keeps only these of this layout's columns behind the bins.

        `context` is int64 (n,), as this layout numbers its columns.
        """
        kept = np.asarray(context, dtype=np.int64)
        if self.context is not None:
            kept = np.asarray(self.context, dtype=np.int64)[kept - self.n_bins]
        return replace(self, context=tuple(kept.tolist()))

    @property
    def sections(self) -> list[_Section]:
        """Name, first column and size of each section, in their order, as if all were kept."""
        sizes = [("bins", self.n_bins)]
        if self.neutral_losses:
            sizes.append(("neutral_losses", _n_steps(self._max_loss, self.bin_width)))
        if self.fine_bin_width is not None:
            sizes.append(("fine_bins", _n_steps(self.max_mz, self.fine_bin_width)))
            if self.neutral_losses:
                n_steps = _n_steps(self._max_loss, self.fine_bin_width)
                sizes.append(("fine_neutral_losses", n_steps))
        if self.precursor:
            sizes.append(("precursor", self._n_precursor_steps + _MASS_DEFECT_STEPS + 1))
        if self.collision_energy:
            sizes.append(("collision_energy", 3 + 2 * _N_ENERGY_STEPS))
        if self.adduct:
            sizes.append(("adduct", len(self.adducts) + 1))
        if self.instrument_type:
            sizes.append(("instrument_type", len(self.instrument_types) + 1))
        if self.ion_mode:
            sizes.append(("ion_mode", len(ION_MODES) + 1))
        sections: list[_Section] = []
        start = 0
        for name, size in sizes:
            sections.append(_Section(name, start, size))
            start += size
        return sections

    @property
    def _max_loss(self) -> float:
        return self.max_mz if self.max_loss is None else self.max_loss

    @property
    def _n_precursor_steps(self) -> int:
        return math.ceil(self.max_mz) + 1

    def _vocabulary(self, name: str) -> tuple[str, ...]:
        return {
            "adduct": self.adducts,
            "instrument_type": self.instrument_types,
            "ion_mode": ION_MODES,
        }[name]

    # ------------------------------------------------------------------ encoding

    def encode(self, spectrum: Spectrum) -> SparseVector:
        """Return the row of one spectrum."""
        matrix = self.encode_many([spectrum])
        return SparseVector(matrix.columns, matrix.values)

    def encode_many(self, spectra: Sequence[Spectrum]) -> SparseMatrix:
        """Return the rows of spectra, in their order."""
        chunks = [
            self._encode_chunk(spectra[i : i + _CHUNK_SPECTRA])
            for i in range(0, len(spectra), _CHUNK_SPECTRA)
        ]
        counts = [np.zeros(1, np.int64), *(count for count, _, _ in chunks)]
        return SparseMatrix(
            offsets=np.concatenate(counts).cumsum(),
            columns=np.concatenate([np.empty(0, np.int32), *(c for _, c, _ in chunks)]),
            values=np.concatenate([np.empty(0, np.float32), *(v for _, _, v in chunks)]),
            n_columns=self.n_columns,
        )

    def narrow(self, matrix: SparseMatrix) -> SparseMatrix:
        """Return a matrix of the same layout without `context`, without the dropped columns."""
        columns, kept = self._renumbered(matrix.columns.astype(np.int64))
        before = np.concatenate([np.zeros(1, np.int64), kept.cumsum()])
        return SparseMatrix(
            before[matrix.offsets], columns.astype(np.int32), matrix.values[kept], self.n_columns
        )

    def empty(self) -> SparseVector:
        """Return the row of an empty spectrum: no peaks, and unknown conditions."""
        found, values = self._context(None)
        order = np.argsort(found)
        columns, kept = self._renumbered(np.array(found, np.int64)[order])
        return SparseVector(columns.astype(np.int32), np.array(values, np.float32)[order][kept])

    def _tidy(self, spectrum: Spectrum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return m/z (n,) and intensity (n,) of the peaks that are used, the highest at 100."""
        mz, intensity = spectrum.mz, spectrum.intensity
        if self.drop_above_precursor and spectrum.precursor_mz is not None:
            end = spectrum.precursor_mz
            if self.version > 1 and mz[-1] > end + ABOVE_PRECURSOR:
                # Computed only if it matters: few spectra have such peaks.
                end = spectrum.singly_charged_mz or end
            keep = mz <= end + ABOVE_PRECURSOR
            mz, intensity = mz[keep], intensity[keep]
        if mz.size == 0 or not (highest := intensity.max()) > 0:
            return mz[:0], intensity[:0]
        if self.min_relative_intensity > 0:
            keep = intensity >= self.min_relative_intensity * highest
            mz, intensity = mz[keep], intensity[keep]
        if self.max_peaks is not None and mz.size > self.max_peaks:
            keep = np.sort(np.argsort(-intensity, kind="stable")[: self.max_peaks])
            mz, intensity = mz[keep], intensity[keep]
        return mz, intensity * (100.0 / highest)

    def _encode_chunk(
        self, spectra: Sequence[Spectrum]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return number of columns per row (n,), columns (nnz,) and values (nnz,)."""
        n = len(spectra)
        width = self._full_width
        peaks = [self._tidy(spectrum) for spectrum in spectra]
        rows = np.repeat(np.arange(n), [mz.size for mz, _ in peaks])
        mz = np.concatenate([mz for mz, _ in peaks])
        intensity = np.concatenate([intensity for _, intensity in peaks])
        precursor = np.array([s.precursor_mz or np.nan for s in spectra])
        # Where there is no precursor, a loss that no bin has.
        loss = np.nan_to_num(precursor[rows] - mz, nan=-1e9)
        keys: list[NDArray[np.int64]] = []
        amounts: list[NDArray[np.float64]] = []
        for name, start, size in self.sections:
            if name not in _PEAK_SECTIONS:
                continue
            step = self.fine_bin_width if name.startswith("fine_") else self.bin_width
            assert step is not None
            position = (loss if name.endswith("losses") else mz) / step + self._shift(name)
            for bins, share in self._shares(position, step):
                used = (bins >= 0) & (bins < size) & (intensity > 0) & (share > 0)
                keys.append(rows[used] * width + start + bins[used])
                amounts.append(intensity[used] * share[used] ** _SHARE_POWER)
        columns, values = _sum_by_key(np.concatenate(keys), np.concatenate(amounts))
        values = np.log1p(values)
        if any(section.name not in _PEAK_SECTIONS for section in self.sections):
            contexts = [self._context(spectrum) for spectrum in spectra]
            sizes = [len(context_columns) for context_columns, _ in contexts]
            context_rows = np.repeat(np.arange(n), sizes)
            flat = np.array([c for cs, _ in contexts for c in cs], dtype=np.int64)
            columns = np.concatenate([columns, context_rows * width + flat])
            values = np.concatenate([values, [v for _, vs in contexts for v in vs]])
            order = np.argsort(columns, kind="stable")
            columns, values = columns[order], values[order]
        of_row, columns = columns // width, columns % width
        columns, kept = self._renumbered(columns)
        counts = np.bincount(of_row[kept], minlength=n).astype(np.int64)
        return counts, columns.astype(np.int32), values[kept].astype(np.float32)

    def _shift(self, section: str) -> float:
        """Return how far below 0 the first bin of a section begins, as a share of its width."""
        return 0.5 if self.version > 2 and section.endswith("losses") else 0.0

    def _shares(
        self, position: NDArray[np.float64], step: float, slack: float = _BIN_SLACK
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return bins (n,) and shares (n,) in them: the peaks' own bins, then their neighbours.

        Parameters
        ----------
        position
            float64 (n,), in bins.
        step
            Width of a bin in Th.
        slack
            Bins; a position that is less than this below a border counts as above it.
        """
        home = np.floor(position + slack).astype(np.int64)
        if self.soft_edge == 0:
            return [(home, np.ones(home.size))]
        edge = min(self.soft_edge / step, 0.25)
        above = position - home  # from the lower border, 0 to 1 but for the slack
        is_low = above < 0.5
        distance = np.where(is_low, above, 1.0 - above)
        angle = np.pi / 4 * (1.0 + np.clip(distance / edge, 0.0, 1.0))
        # cos(pi / 2) is not quite 0.
        neighbour = np.where(distance < edge, np.cos(angle), 0.0)
        return [(home, np.sin(angle)), (np.where(is_low, home - 1, home + 1), neighbour)]

    def _renumbered(
        self, columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the columns that are kept under their own numbers, and which those were."""
        if self.context is None:
            return columns, np.ones(columns.size, dtype=np.bool_)
        number = self._numbers[columns]
        kept = number >= 0
        return number[kept], kept

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """Own number of each column of the full layout (_full_width,), -1 for a dropped one."""
        numbers = np.full(self._full_width, -1, dtype=np.int64)
        numbers[: self.n_bins] = np.arange(self.n_bins)
        numbers[list(self.context or ())] = self.n_bins + np.arange(len(self.context or ()))
        return numbers

    def _context(self, spectrum: Spectrum | None) -> tuple[list[int], list[float]]:
        """Return columns and values of everything but peaks; None stands for an empty spectrum."""
        columns: list[int] = []
        values: list[float] = []
        for name, start, size in self.sections:
            if name in _PEAK_SECTIONS:
                continue
            if name == "precursor":
                for step, value in self._precursor_columns(
                    spectrum.precursor_mz if spectrum else None
                ):
                    columns.append(start + step)
                    values.append(value)
            elif name == "collision_energy":
                for step, value in _energy_columns(spectrum):
                    columns.append(start + step)
                    values.append(value)
            else:
                text = getattr(spectrum, name) if spectrum else None
                vocabulary = self._vocabulary(name)
                known = text in vocabulary
                columns.append(start + (vocabulary.index(text) if known else size - 1))
                values.append(1.0)
        return columns, values

    def _precursor_columns(self, precursor_mz: float | None) -> list[tuple[int, float]]:
        """Return steps and values: shares in the Th and in the steps of the fractional part."""
        n = self._n_precursor_steps
        if precursor_mz is None:
            return [(n + _MASS_DEFECT_STEPS, 1.0)]
        found: dict[int, float] = {}
        whole = self._shares(np.array([precursor_mz]), 1.0, slack=0.0)
        steps = (precursor_mz - math.floor(precursor_mz)) * _MASS_DEFECT_STEPS
        fraction = self._shares(np.array([steps]), 1 / _MASS_DEFECT_STEPS, slack=0.0)
        for bins, share in whole:
            column = min(max(int(bins[0]), 0), n - 1)
            found[column] = found.get(column, 0.0) + float(share[0])
        for bins, share in fraction:
            # Fractional parts are a circle: after 0.99 comes 0.
            column = n + int(bins[0]) % _MASS_DEFECT_STEPS
            found[column] = found.get(column, 0.0) + float(share[0])
        return [(column, share) for column, share in sorted(found.items()) if share > 0]

    # ------------------------------------------------------------------ JSON

    def to_json(self) -> dict[str, Any]:
        """Return the options as a JSON object."""
        return cast(dict[str, Any], to_json(self))

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> BinLayout:
        """Return the layout that `to_json` described.

        Raises
        ------
        ConfigError
            If a key is unknown or a value makes no sense.
        """
        return from_json(cls, mapping, "bin layout")


def _n_steps(end: float, step: float) -> int:
    """Return the number of steps to the end; 1100 / 0.1 is 11000 in spite of rounding errors."""
    return math.ceil(end / step - _BIN_SLACK)


def _sum_by_key(
    keys: NDArray[np.int64], amounts: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the keys ascending, each once, and the sum of the amounts of each."""
    if keys.size == 0:
        return keys, amounts
    order = np.argsort(keys, kind="stable")
    keys, amounts = keys[order], amounts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(amounts, starts)


def _energy_columns(spectrum: Spectrum | None) -> list[tuple[int, float]]:
    ev = spectrum.collision_energy if spectrum else None
    nce = spectrum.normalized_collision_energy if spectrum else None
    if ev is None and nce is None:
        return [(2, 1.0)]
    pairs: list[tuple[int, float]] = []
    for i, energy in enumerate((ev, nce)):
        if energy is not None:
            if energy > 0:
                # kV energies of sector instruments must not drown everything else.
                pairs.append((i, min(energy / 100.0, 2.0)))
            step = min(int(energy / _ENERGY_STEP), _N_ENERGY_STEPS - 1)
            pairs.append((3 + i * _N_ENERGY_STEPS + step, 1.0))
    return pairs
