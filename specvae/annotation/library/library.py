"""Spectra with structures, ready for training."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.folds import fold_of
from specvae.annotation.library.header import NO_LICENCE
from specvae.annotation.library.labels import PREDICTED, TENTATIVE, SpectrumLabel
from specvae.annotation.library.pairs import StructureParser, usable_pairs
from specvae.errors import StructureError
from specvae.molecules.molecule import Molecule, blocks_of_inchi, blocks_of_salt
from specvae.report import ReadReport, Reason
from specvae.spectra.binning import BinLayout
from specvae.spectra.doubts import is_tentative
from specvae.spectra.notes import Note, note_kind
from specvae.spectra.sparse import SparseMatrix
from specvae.spectra.spectrum import Spectrum

_CHUNK = 1024
_LONGEST_NAME = 120  # characters; longer names are systematic ones that nobody reads


@dataclass(frozen=True)
class Library:
    """Binned spectra, each with its compound.

    Attributes
    ----------
    spectra
        Encoded spectra (n_spectra, n_columns) in compressed rows.
    compound
        int64 (n_spectra,): index into `molecules`.
    molecules
        One per InChIKey first block, in order of first appearance.
    peaks
        The same spectra in a second layout, if one was asked for.
    signs
        int8 (n_spectra,): 1 for positive, -1 for negative ions, 0 where it is not known.
    labels
        Of the spectra (n_spectra,).
    records
        The spectra as they were read, if they were asked for.
    licences
        Spectra by the terms of use that their records state, or `NO_LICENCE`.
    """

    spectra: SparseMatrix
    compound: NDArray[np.int64]
    molecules: tuple[Molecule, ...]
    peaks: SparseMatrix | None = None
    ion_modes: Counter[str] = field(default_factory=Counter)
    adducts: Counter[str] = field(default_factory=Counter)
    signs: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    records: tuple[Spectrum, ...] = ()
    labels: tuple[SpectrumLabel, ...] = ()
    licences: Counter[str] = field(default_factory=Counter)

    @classmethod
    def from_spectra(
        cls,
        spectra: Iterable[Spectrum],
        layout: BinLayout,
        report: ReadReport,
        wanted: SpectrumFilter | None = None,
        peaks: BinLayout | None = None,
    ) -> Library:
        """Encode the spectra that pass the filter and whose structure can be parsed.

        Every other spectrum is counted in `report` with its reason. Memory holds the encoded
        peaks, never the file.

        Parameters
        ----------
        spectra
            Consumed once.
        layout
            How a spectrum becomes columns.
        report
            Where skipped spectra are counted.
        wanted
            The filter; None lets every MS2 spectrum with a fitting structure pass.
        peaks
            Layout of `Library.peaks`; None for none.
        """
        pairs = usable_pairs(spectra, wanted or SpectrumFilter(), report)
        return cls.from_pairs(pairs, layout, peaks)

    @classmethod
    def from_pairs(
        cls,
        pairs: Iterable[tuple[Spectrum, Molecule]],
        layout: BinLayout | None = None,
        peaks: BinLayout | None = None,
        *,
        keep_records: bool = False,
    ) -> Library:
        """Encode spectra of known structures; those of one first block are one compound.

        Parameters
        ----------
        pairs
            Consumed once.
        layout
            How a spectrum becomes columns; None for a matrix without any.
        peaks
            Layout of `Library.peaks`; None for none.
        keep_records
            Keep the spectra themselves, too, without their metadata.
        """
        index: dict[str, int] = {}
        molecules: list[Molecule] = []
        compound: list[int] = []
        encoders = [None if each is None else _ChunkEncoder(each) for each in (layout, peaks)]
        ion_modes: Counter[str] = Counter()
        adducts: Counter[str] = Counter()
        licences: Counter[str] = Counter()
        signs: list[int] = []
        labels: list[SpectrumLabel] = []
        records: list[Spectrum] = []
        for spectrum, molecule in pairs:
            if molecule.first_block not in index:
                index[molecule.first_block] = len(molecules)
                molecules.append(molecule)
            compound.append(index[molecule.first_block])
            ion_modes[spectrum.ion_mode or "unknown"] += 1
            adducts[spectrum.adduct or "unknown"] += 1
            licences[spectrum.licence or NO_LICENCE] += 1
            signs.append({"positive": 1, "negative": -1}.get(spectrum.ion_mode or "", 0))
            name = " ".join((spectrum.name or "").split())[:_LONGEST_NAME]
            is_predicted = Note.PREDICTED in map(note_kind, spectrum.notes)
            origin = PREDICTED if is_predicted else TENTATIVE if is_tentative(spectrum) else ""
            labels.append(SpectrumLabel(spectrum.query_id, spectrum.adduct or "", name, origin))
            for encoder in encoders:
                if encoder is not None:
                    encoder.add(spectrum)
            if keep_records:
                # Metadata of a whole library takes more memory than the peaks.
                records.append(replace(spectrum, metadata={}))
        encoded, second = (None if each is None else each.finish() for each in encoders)
        return cls(
            SparseMatrix.empty(len(compound)) if encoded is None else encoded,
            np.asarray(compound, dtype=np.int64),
            tuple(molecules),
            second,
            ion_modes,
            adducts,
            np.array(signs, dtype=np.int8),
            tuple(records),
            tuple(labels),
            licences,
        )

    def __len__(self) -> int:
        return len(self.compound)

    def folds(self, validation: float, test: float, seed: int) -> dict[str, str]:
        """Return first block -> ``train``, ``val`` or ``test``; see `fold_of`."""
        return {
            molecule.first_block: fold_of(molecule.first_block, validation, test, seed)
            for molecule in self.molecules
        }

    def split(self, folds: Mapping[str, str]) -> dict[str, NDArray[np.int64]]:
        """Return the spectra's rows by fold, int64 (n_spectra of the fold,).

        Every spectrum of a compound is in one fold.
        """
        fold = np.array([folds[molecule.first_block] for molecule in self.molecules])
        of_spectrum = fold[self.compound] if len(self) else np.empty(0, dtype="U5")
        return {name: np.flatnonzero(of_spectrum == name) for name in ("train", "val", "test")}


def encode_unpaired_spectra(
    spectra: Iterable[Spectrum],
    layout: BinLayout,
    report: ReadReport,
    wanted: SpectrumFilter,
    held_out: frozenset[str] = frozenset(),
) -> SparseMatrix:
    """Encode spectra without structures for training.

    Compounds of `wanted.excluded` and `held_out` (first blocks of the validation and test folds)
    are skipped, as far as a spectrum states its structure or InChIKey.
    """
    parse = StructureParser()
    encoder = _ChunkEncoder(layout)
    for spectrum in spectra:
        rejected = wanted.reject(spectrum)
        if rejected is None and (wanted.excluded or held_out):
            rejected = reject_compound(_stated_blocks(spectrum, parse), wanted.excluded, held_out)
        if rejected is not None:
            report.leave_out(spectrum.path, spectrum.line, spectrum.query_id, *rejected)
            continue
        encoder.add(spectrum)
    return encoder.finish()


def reject_compound(
    blocks: Iterable[str], excluded: frozenset[str], held_out: frozenset[str]
) -> tuple[Reason, str] | None:
    """Return why a compound with these first blocks is left out of training, or None."""
    for block in blocks:
        if block in excluded:
            return Reason.EXCLUDED, block
        if block in held_out:
            return Reason.HELD_OUT, block
    return None


def _stated_blocks(spectrum: Spectrum, parse: StructureParser) -> list[str]:
    """Return the first blocks that a spectrum states by its InChIKey and by its structure."""
    blocks = [spectrum.first_block] if spectrum.first_block else []
    blocks += sorted(blocks_of_inchi(spectrum.inchi) | blocks_of_salt(spectrum.smiles))
    if spectrum.smiles or spectrum.inchi:
        with contextlib.suppress(StructureError):
            blocks.append(parse(spectrum).first_block)
    return blocks


class _ChunkEncoder:
    """Encodes spectra as they come, a thousand at a time, and joins the rows at the end."""

    def __init__(self, layout: BinLayout) -> None:
        self._layout = layout
        self._waiting: list[Spectrum] = []
        self._parts: list[SparseMatrix] = []

    def add(self, spectrum: Spectrum) -> None:
        self._waiting.append(spectrum)
        if len(self._waiting) == _CHUNK:
            self._flush()

    def finish(self) -> SparseMatrix:
        if self._waiting or not self._parts:
            self._flush()
        return SparseMatrix.stack(self._parts, self._layout.n_columns)

    def _flush(self) -> None:
        self._parts.append(self._layout.encode_many(self._waiting))
        self._waiting = []
