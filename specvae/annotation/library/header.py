"""The header of an annotator's checkpoint: the model's header, and entries on its spectra.

It is read without torch. Two keys of the file have older names than the attributes here:
``config`` holds the settings, ``experts`` the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from specvae import settings
from specvae.counting import counted
from specvae.errors import CheckpointError, ConfigError
from specvae.spectra.binning import BinLayout
from specvae.vae.header import Header, read_header

if TYPE_CHECKING:  # rdkit is not needed to read a header
    from specvae.molecules.fingerprint import FingerprintLayout


@dataclass(frozen=True)
class LayoutIdentity:
    """The fingerprint layout of a model.

    Attributes
    ----------
    name, version, n_bits
        Of the layout.
    probe_sha256
        Digest of the fingerprints of fixed molecules, as the training machine computed them.
    """

    name: str
    version: int
    n_bits: int
    probe_sha256: str
    others: Mapping[str, Any] = settings.unknown_keys()

    @classmethod
    def of(cls, layout: FingerprintLayout) -> LayoutIdentity:
        """Return the identity of a layout on this machine."""
        return cls(layout.name, layout.version, layout.n_bits, layout.probe_sha256)


@dataclass(frozen=True)
class KindSettings:
    """Table ``model`` of the settings; `kind` is a key of ``MODEL_KINDS``."""

    kind: str = "unknown"
    others: Mapping[str, Any] = settings.unknown_keys()


@dataclass(frozen=True)
class EpochSettings:
    """Table ``optim`` of the settings."""

    epochs: int = 0
    others: Mapping[str, Any] = settings.unknown_keys()


NO_LICENCE = "not stated"
"""The entry for records that state no terms of use."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of a training that are shown afterwards.

    ``TrainConfig`` has all settings. Settings of other versions are kept as they are, since nothing
    depends on them once the model is trained.

    Attributes
    ----------
    preset
        Name of the preset.
    supervision
        Share of the pairs that kept their structures.
    model, objective, optim
        Tables of settings.
    """

    preset: str = "unknown"
    supervision: float = 1.0
    model: KindSettings = field(default_factory=KindSettings)
    objective: Mapping[str, Any] = field(default_factory=dict)
    optim: EpochSettings = field(default_factory=EpochSettings)
    others: Mapping[str, Any] = settings.unknown_keys()


@dataclass(frozen=True)
class FileRead:
    """A file that was read, by name (without its folder) and SHA-256."""

    name: str
    sha256: str
    others: Mapping[str, Any] = settings.unknown_keys()


@dataclass(frozen=True)
class Provenance:
    """What an annotator was trained on.

    Attributes
    ----------
    files
        All files that were read.
    n_spectra, n_compounds
        Of the library.
    n_spectra_by_fold
        ``train``, ``val``, ``test``.
    n_pairs
        Training spectra that kept their structures; None in older files.
    ion_modes, adducts
        Spectra of each; ``unknown`` where a spectrum states none.
    licences
        Spectra by the terms of use that their records state, or `NO_LICENCE`; empty in older files.
    skipped
        Records by the name of their ``Reason``.
    split_sha256
        Digest of ``split.csv``.
    device
        Where it was trained.
    versions
        Of Python and of the libraries.
    """

    files: tuple[FileRead, ...] = ()
    n_spectra: int = 0
    n_compounds: int = 0
    n_spectra_by_fold: Mapping[str, int] = field(default_factory=dict)
    n_pairs: int | None = None
    ion_modes: Mapping[str, int] = field(default_factory=dict)
    adducts: Mapping[str, int] = field(default_factory=dict)
    licences: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    split_sha256: str | None = None
    device: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Any] = settings.unknown_keys()


@dataclass(frozen=True)
class ValidationFigures:
    """How validation spectra were ranked among structures of like mass.

    Attributes
    ----------
    n_queries, n_compounds
        Spectra, and their compounds.
    n_candidates
        Largest number of structures among which a spectrum's own was ranked.
    hit_at_1, hit_at_5, mrr
        Expected under random breaking of ties.
    random_hit_at_1, blind_hit_at_1
        Of a random order, and of the same model given an empty spectrum.
    """

    n_queries: int
    n_compounds: int
    n_candidates: int
    hit_at_1: float
    hit_at_5: float
    mrr: float
    random_hit_at_1: float
    blind_hit_at_1: float
    others: Mapping[str, Any] = settings.unknown_keys()

    def __str__(self) -> str:
        """Return the hit rate and what it is to be compared with, as a phrase."""
        return (
            f"hit@1 {self.hit_at_1:.1%} among {counted(self.n_candidates, 'structures')} of like "
            f"mass (random {self.random_hit_at_1:.1%}, blind {self.blind_hit_at_1:.1%})"
        )

    @property
    def doubt(self) -> str:
        """What to know of a model whose prediction is no better than chance; else empty."""
        if self.hit_at_1 > max(self.random_hit_at_1, self.blind_hit_at_1):
            return ""
        return (
            "note: predicted fingerprints rank no better than chance: more epochs or "
            "compounds would help; like spectra and fragments count all the same"
        )


@dataclass(frozen=True)
class CalibrationFigures:
    """What the weights of the evidence and the probabilities were fitted to.

    Attributes
    ----------
    n_queries, n_compounds
        Validation spectra whose structure was among the candidates, and their compounds.
    ppm
        Largest distance of a candidate's mass.
    hit_at_1, hit_at_5
        Of the same queries that the weights were fitted to.
    structures
        Name of the file of candidates.
    """

    n_queries: int
    n_compounds: int
    ppm: float
    hit_at_1: float
    hit_at_5: float
    structures: str | None = None
    others: Mapping[str, Any] = settings.unknown_keys()


@dataclass(frozen=True)
class StoredEvidence:
    """The part of the header on the evidence beside the predicted fingerprint.

    Its arrays lie beside the weights of the model.

    Attributes
    ----------
    bins
        Layout of the remembered spectra.
    fingerprint, probe_sha256
        Layout of the remembered compounds' fingerprints, and its probe digest.
    weights
        By kind of evidence.
    first_blocks, smiles
        Of the remembered compounds.
    scale
        The scale of the weights (today `specvae.annotation.evidence.defaults.SCALE`).
    own_spectra, other_mode
        Coefficients of the evidence of own spectra; in older files there are fewer.
    """

    bins: BinLayout
    fingerprint: str
    probe_sha256: str
    weights: Mapping[str, float]
    first_blocks: tuple[str, ...]
    smiles: tuple[str, ...]
    scale: str = ""
    own_spectra: Mapping[str, float] = field(default_factory=dict)
    other_mode: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, Any] = settings.unknown_keys()


_EVIDENCE = "experts"  # the key of the evidence in the file


@dataclass(frozen=True, kw_only=True)
class AnnotatorHeader(Header):
    """The header of an annotator's checkpoint.

    Attributes
    ----------
    bins
        Layout of the spectra that the model reads.
    fingerprint
        Layout of the fingerprints that it predicts.
    config
        Settings of the training.
    provenance
        What it was trained on.
    compounds
        InChIKey first blocks by fold: ``train`` and ``val``.
    best_epoch
        Number of the epoch that was kept.
    seconds
        By step of the training.
    validation
        None without a validation fold.
    evidence
        The other evidence; None: the model ranks by the predicted fingerprint alone.
    probability
        ``ProbabilityModel.to_json()``; None: candidates get no probabilities.
    calibration
        None: weights and probabilities are the defaults.
    """

    bins: BinLayout
    fingerprint: LayoutIdentity
    config: RunSettings
    provenance: Provenance
    compounds: Mapping[str, tuple[str, ...]]
    best_epoch: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    validation: ValidationFigures | None = None
    evidence: StoredEvidence | None = None
    probability: Mapping[str, Any] | None = None
    calibration: CalibrationFigures | None = None

    @property
    def trained_on(self) -> str:
        """How many spectra and compounds of the library the networks were trained on, in words."""
        n_spectra = self.provenance.n_spectra_by_fold.get("train", 0)
        n_compounds = len(self.compounds.get("train", ()))
        return f"{counted(n_spectra, 'spectra')} of {counted(n_compounds, 'compounds')}"

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build from JSON values of the present format version.

        Raises
        ------
        ConfigError
            If a key is missing or a value has the wrong type.
        """
        if isinstance(data, Mapping):
            data = {"evidence" if key == _EVIDENCE else key: data[key] for key in data}
            if data.get("validation") == {}:
                data["validation"] = None  # how it was written without a validation fold
        return super().from_json(data)

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values; what is None is left out."""
        data = super().to_json()
        return {_EVIDENCE if key == "evidence" else key: value for key, value in data.items()}

    @classmethod
    def of_model(cls, header: Header, path: Path) -> Self:
        """Return the header of the model in `path`, with its entries on spectra parsed.

        Raises
        ------
        CheckpointError
            If it has no such parts (the model is not of spectra), or one that makes no sense.
        """
        data = header.to_json()
        for key in ("bins", "fingerprint", "config", "provenance", "compounds"):
            if key not in data:
                raise CheckpointError(
                    f"{path}: no {key!r} in the header: a specvae model, but not of spectra"
                )
        try:
            return cls.from_json(data)
        except ConfigError as error:
            raise CheckpointError(f"{path}: header: {error}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the header of an annotator's checkpoint.

        Raises
        ------
        CheckpointError
            If the file is missing, truncated, foreign, of a newer format, or not of spectra.
        """
        return cls.of_model(read_header(path), path)
