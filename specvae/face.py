"""What `import specvae` gives: read spectra, train a model, load it, annotate.

The functions do what the commands of the same names do, and take the same settings.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from specvae.annotation.evidence.odds import logistic
from specvae.annotation.output.cells import Cell
from specvae.annotation.output.provenance import provenance
from specvae.annotation.output.tables import FILE_COLUMN, all_rows
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.options import DEFAULT_COUNTS_WEIGHT, RunOptions
from specvae.annotation.ranking.result import COLUMNS, NUMBERS
from specvae.annotation.ranking.run import RankingRun
from specvae.annotation.training.run import train as run_training
from specvae.annotation.training.run_files import MODEL_FILE, TrainFiles
from specvae.annotation.training.settings import preset_config
from specvae.arguments import as_path, checked
from specvae.at_hand import (
    GivenSpectra,
    given_candidates,
    given_spectra,
    is_open_file,
    named_as_given,
)
from specvae.errors import ConfigError, InputError
from specvae.interruption import heeding_interrupts
from specvae.progress import Bars, Progress, Silence, in_notebook
from specvae.report import ReadReport, Skip
from specvae.settings import flatten, override
from specvae.sources import name_of_source, rewindable
from specvae.spectra.exchange import from_matchms, refusal_of, to_matchms
from specvae.spectra.read import read_spectra as read_records
from specvae.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    import matchms
    import pandas as pd
    from numpy.typing import NDArray
    from rdkit import Chem

__all__ = [
    "Model",
    "annotate",
    "from_matchms",
    "load",
    "read_spectra",
    "to_matchms",
    "train",
]

_log = logging.getLogger(__name__)
_TABLE = ".csv"  # the suffix of a table that comes through a pipe

_PATH = (str, os.PathLike)
AnyPath = str | os.PathLike[str]
Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Device = str | torch.device
Spectra: TypeAlias = (
    "Files | IO[Any] | Spectrum | matchms.Spectrum | Iterable[Spectrum | matchms.Spectrum]"
)
Candidates: TypeAlias = (
    "AnyPath | IO[Any] | pd.DataFrame | Mapping[str, Any] "
    "| Iterable[str | Chem.Mol | Mapping[str, Any]]"
)


class Model:
    """A trained model; `load` makes one.

    Attributes
    ----------
    path
        The file that it was loaded from.
    annotator
        The model with the layouts of its inputs and outputs.
    """

    def __init__(self, path: Path, annotator: Annotator) -> None:
        self.path = path
        self.annotator = annotator

    def __repr__(self) -> str:
        """Say which model it is, and what it was trained on."""
        return f"<specvae.Model {str(self.path)!r}: {self.annotator.header.trained_on}>"

    @checked("spectra", "candidates")
    def annotate(
        self,
        spectra: Spectra,
        candidates: Candidates,
        ppm: float = 10.0,
        *,
        top: int | Literal["all"] | None = 10,
        in_list: float | None = None,
        known: float | tuple[float, float] | None = None,
        assume_adduct: str | None = None,
        assume_ion_mode: str | None = None,
        try_adducts: str | Iterable[str] | None = None,
        library: Files | None = (),
        use_library: bool = True,
        use_retention_times: bool = True,
        use_mass_errors: bool | None = None,
        use_nearness: bool = True,
        counts: AnyPath | None = None,
        counts_columns: str | Iterable[str] | None = (),
        counts_weight: float = DEFAULT_COUNTS_WEIGHT,
        merge_by: str | None = None,
        rescore: int | None = None,
        n_jobs: int | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Rank the candidates of each spectrum.

        Parameters
        ----------
        spectra
            A file, several or a folder, or spectra: as `read_spectra` returns them, or of matchms.
            Where several have one name, the later ones are called ``NAME#2`` and so on.
        candidates
            A file of structures, or a pool (``.h5``); a DataFrame with the columns of such a file
            (``smiles`` or ``inchi``, and if there ``query_id``, ``name``, ``id``), or what pandas
            makes one of (a dictionary of columns, a list of dictionaries); or a list of SMILES or
            of RDKit's molecules.
        ppm
            Largest distance of a candidate's exact mass from the spectrum's neutral mass, where
            the table has no column ``query_id``.
        top
            Most candidates of a spectrum; None or ``all``: all.
        in_list
            Share of spectra whose candidates hold the right structure; None estimates it from all
            spectra together.
        known
            Share of spectra whose compound the model's library knows, among those whose candidates
            hold it; or two: by spectra of the same ion mode, and by spectra of the other one only.
            None estimates both likewise.
        assume_adduct, assume_ion_mode
            Of spectra that state none.
        try_adducts
            Ion species of spectra that state none, of each of which candidates are ranked:
            ``"[M+H]+,[M+Na]+"`` or a list of them, or ``"common"``; None: one species.
        library
            Files of spectra with structures, or of ``specvae library build``, that are remembered
            for this call beside the model's own.
        use_library
            Whether the model's own library counts.
        use_retention_times
            Whether the retention times that spectra state count.
        use_mass_errors
            Whether errors of precursor m/z count, as the run shows them. None: unless `in_list` and
            `known` are both given.
        use_nearness
            Whether it counts how near candidates are to the library's compounds.
        counts
            A table of compounds with counts of references, patents or the like; None: these do
            not count.
        counts_columns
            Of it, which are added up; none: the only one that is called like counts.
        counts_weight
            A compound of n references is (1 + n) to this power as likely as one of none.
        merge_by
            Field by which spectra are of one feature and get one answer, such as ``FEATURE_ID``.
        rescore
            Only so many candidates of a spectrum, the best by all other evidence, and those with
            own spectra are broken into fragments; None: all.
        n_jobs
            Processes that parse long tables, compute fingerprints and break many molecules; None
            for one per core.
        progress
            Whether a bar shows how far it is; None: in a notebook only.

        Returns
        -------
        pandas.DataFrame
            One row per ranked candidate, in the columns of ``specvae annotate``; a spectrum that
            could not be ranked has one row whose ``status`` says why. ``attrs`` holds what the
            table was made from: under ``provenance`` digests, options, versions and date, as in
            the JSON file that ``specvae annotate`` writes, and under ``summary`` what the command
            says: how many were ranked, why others were not, and what would help.

        Raises
        ------
        InputError
            If a file, a spectrum or the candidates cannot be used.
        ConfigError
            If an adduct is unknown or a number is out of range.
        """
        shown = None if top == "all" else top
        if shown is not None and not (isinstance(shown, Integral) and shown >= 1):
            raise ConfigError(f"top: found {top!r}, wanted a number above 0, or None for all")
        if try_adducts is not None and not isinstance(try_adducts, str):
            try_adducts = ",".join(try_adducts) or None
        columns = (counts_columns,) if isinstance(counts_columns, str) else counts_columns or ()
        with (
            _undisturbed(),
            named_as_given(),
            given_candidates(candidates) as (path, is_named),
            given_spectra(spectra, _log.warning) as queries,
        ):
            options = RunOptions(
                candidates=path,
                ppm=ppm,
                in_list=in_list,
                known=known,
                assume_adduct=assume_adduct,
                assume_ion_mode=assume_ion_mode,
                try_adducts=try_adducts,
                library=_paths(library),
                use_library=use_library,
                use_retention_times=use_retention_times,
                use_mass_errors=use_mass_errors,
                use_nearness=use_nearness,
                counts=None if counts is None else rewindable(Path(counts), _TABLE),
                counts_columns=tuple(columns),
                counts_weight=counts_weight,
                merge_by=merge_by,
                rescore=rescore,
                n_jobs=n_jobs,
            )
            top = None if shown is None else int(shown)
            return self._annotate(queries, options, is_named, top, _shown(progress))

    def _annotate(
        self,
        spectra: Path | list[Path] | list[Spectrum | Skip],
        options: RunOptions,
        is_named: bool,
        top: int | None,
        progress: Progress,
    ) -> pd.DataFrame:
        """Rank; `is_named` says whether the file of candidates is the user's."""
        run = RankingRun(self.annotator, options, progress)
        found = run.results(spectra, top=top)
        _warn_of_skips(run.queries, "spectra")
        _warn_of_skips(run.candidates, "candidates")
        _warn_of_skips(run.library, "spectra of the library")
        paths = _paths_among(spectra)
        names = [name_of_source(path) for path in paths] if isinstance(paths, list) else None
        files = None if names is None else [names[number] for number in found.file_numbers]
        table = _typed(all_rows(found.results, files), has_files=files is not None)
        made_by = provenance(
            options,
            self.annotator.header,
            queries=paths,
            model=self.path,
            top=top,
        )
        if not is_named:
            made_by["inputs"]["candidates"]["path"] = None
        table.attrs = {
            "model": str(self.path),
            "model digest": self.annotator.header.weights_sha256,
            "candidates": name_of_source(options.candidates) if is_named else "in memory",
            "provenance": made_by,
            "share of lists with their truth": found.share_in_list,
            "summary": run.told(found).lines,
        }
        return table

    def predict(self, spectra: Spectra) -> NDArray[np.float64]:
        """Return the probability of each fingerprint bit, float64 (n_spectra, n_bits).

        Of files, the spectra are those that `read_spectra` returns, in their order.
        """
        with _undisturbed():
            logits = self.annotator.predict(self._with_ions(spectra))
        return logistic(logits)

    def embed(self, spectra: Spectra) -> NDArray[np.float32]:
        """Return the latent mean of each spectrum, float32 (n_spectra, n_latent).

        Of files, the spectra are those that `read_spectra` returns, in their order.
        """
        with _undisturbed():
            return self.annotator.embed(self._with_ions(spectra))

    def _with_ions(self, spectra: Spectra) -> list[Spectrum]:
        """Return spectra, each with its ion assigned."""
        with named_as_given(), given_spectra(spectra, _log.warning) as given:
            read = _all_read(given)
        return [self.annotator.assign_ion(spectrum).spectrum for spectrum in read]


@checked()
def load(path: AnyPath, device: Device = "auto") -> Model:
    """Load a trained model.

    Parameters
    ----------
    path
        The folder that `train` wrote, or its ``model.safetensors``.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    CheckpointError
        If there is no whole model of this program.
    ConfigError
        If a GPU is asked for and there is none.
    """
    file = Path(path)
    if file.is_dir():
        file /= MODEL_FILE
    with _undisturbed():
        return Model(file, Annotator.load(file, str(device)))


def read_spectra(path: AnyPath | IO[Any]) -> list[Spectrum]:
    """Read a file of spectra, or a folder: MSP, MGF, mzML, mzXML or MassBank, also compressed.

    Records that cannot be read are left out, and counted in a warning of the log ``specvae.face``.

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    source = path if is_open_file(path) else as_path(path, "path")
    with _undisturbed(), named_as_given(), given_spectra(source, _log.warning) as given:
        return _all_read(given)


@checked("spectra", "candidates", "ppm")
def annotate(
    spectra: Spectra,
    candidates: Candidates,
    model: AnyPath | Model = "specvae-model",
    ppm: float = 10.0,
    **options: Any,  # noqa: ANN401 (those of Model.annotate)
) -> pd.DataFrame:
    """Rank the candidates of each spectrum with a model or the folder of one.

    Parameters
    ----------
    spectra, candidates, ppm, options
        As in `Model.annotate`.
    model
        A model, or where `load` finds it.
    """
    loaded = model if isinstance(model, Model) else load(model)
    return loaded.annotate(spectra, candidates, ppm, **options)


@checked()
def train(
    spectra: Files,
    output: AnyPath = "specvae-model",
    *,
    preset: str = "small",
    kind: str = "svae",
    settings: Mapping[str, Any] | None = None,
    exclude: Files | None = (),
    structures: AnyPath | None = None,
    fragment_score: AnyPath | None = None,
    device: Device = "auto",
    resume: bool = False,
    force: bool = False,
    progress: bool | None = None,
) -> Model:
    """Train a model on libraries of spectra with structures, write its folder, and load it.

    Parameters
    ----------
    spectra
        One library or several.
    output
        The folder that is written.
    preset, kind
        ``small`` or ``paper``; a name of ``specvae.vae.MODEL_KINDS``.
    settings
        Further settings by their flat keys, ``{"optim.epochs": 20}``, or in groups,
        ``{"optim": {"epochs": 20}}``.
    exclude
        Files of compounds that are not learned from.
    structures
        Table or pool of structures among which probabilities are fitted.
    fragment_score
        Weights that ``specvae bench fragments`` wrote; None for those that come with the program.
    device
        ``auto``, ``cpu`` or ``cuda``.
    resume, force
        Go on with an interrupted run; replace a model that is in the folder.
    progress
        Whether a bar shows how far it is; None: in a notebook only.

    Raises
    ------
    InputError, ConfigError, TrainingError
        If a file cannot be used, a setting is unknown or out of range, or training fails.
    """
    config = override(preset_config(preset, kind), flatten(settings or {}))
    paths = _paths(spectra)
    if not paths:
        raise InputError("spectra: found none, wanted files of spectra")
    files = TrainFiles(
        spectra=paths,
        output=Path(output),
        exclude=_paths(exclude),
        structures=None if structures is None else rewindable(Path(structures), _TABLE),
        fragment_score=None if fragment_score is None else Path(fragment_score),
    )
    with _undisturbed():
        run_training(
            config, files, device=str(device), resume=resume, force=force, progress=_shown(progress)
        )
    return load(output, device)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Heed Ctrl-C, and let no settings of numpy and torch count that the caller has changed.

    ``np.seterr(all="raise")`` would end a call, ``torch.autocast`` change its figures.
    """
    with ExitStack() as stack:
        stack.enter_context(heeding_interrupts())
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.is_autocast_enabled():  # on a GPU
            stack.enter_context(torch.autocast("cuda", enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (numbers := torch.get_default_dtype()) is not torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, numbers)
        yield


def _typed(cells: Iterable[Mapping[str, Cell]], *, has_files: bool) -> pd.DataFrame:
    """Return rows as a table whose columns have the same types, whatever is missing in them."""
    import pandas as pd

    columns = [*COLUMNS, FILE_COLUMN] if has_files else list(COLUMNS)
    table = pd.DataFrame(list(cells), columns=columns)
    # What pandas takes for text differs by its version; of nothing but None it makes objects.
    text = pd.Series([""]).dtype
    types = {"rank": "Int64", "n_candidates": "int64", **dict.fromkeys(NUMBERS, "float64")}
    return table.astype({column: types.get(column, text) for column in columns})


def _paths_among(spectra: GivenSpectra) -> Path | list[Path] | None:
    """Return what are files, None if they are spectra."""
    if isinstance(spectra, Path):
        return spectra
    return [path for path in spectra if isinstance(path, Path)] or None


def _all_read(spectra: GivenSpectra) -> list[Spectrum]:
    """Return the spectra of files, or those that are given.

    Raises
    ------
    InputError
        If one that is given cannot be used.
    """
    found: list[Spectrum] = []
    for each in [spectra] if isinstance(spectra, Path) else spectra:
        if isinstance(each, Skip):
            raise refusal_of(each)
        found += _read(each) if isinstance(each, Path) else [each]
    return found


def _read(path: Path) -> list[Spectrum]:
    """Return the spectra of a file, which say that they are of what the user calls it."""
    report = ReadReport()
    called = name_of_source(path)
    spectra = list(read_records(path, report))
    _warn_of_skips(report, "spectra")
    if called == str(path):
        return spectra
    return [replace(spectrum, path=called) for spectrum in spectra]


def _paths(files: Files | None) -> tuple[Path, ...]:
    given = () if files is None else (files,) if isinstance(files, _PATH) else tuple(files)
    return tuple(rewindable(Path(path)) for path in given)


def _shown(progress: bool | None) -> Progress:
    """Return what shows how far work is, if that is wanted."""
    wanted = in_notebook() if progress is None else progress
    return Bars(in_notebook()) if wanted else Silence()


def _warn_of_skips(report: ReadReport, noun: str) -> None:
    if report.skips:
        _log.warning("%s", report.summary(noun))
