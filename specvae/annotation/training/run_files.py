"""The files of a training run: those that it reads, and the folder that it writes.

Imports neither torch nor RDKit, so that a missing file is reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from specvae.annotation.library.folds import SPLIT_COLUMNS
from specvae.errors import InputError
from specvae.files import is_foreign
from specvae.report import SKIP_COLUMNS
from specvae.sources import no_such_file

MODEL_FILE = "model.safetensors"
STATE_FILE = "training-state.safetensors"
EPOCHS_FILE = "epochs.jsonl"
SPLIT_FILE = "split.csv"
SKIPPED_FILE = "skipped.csv"
PLOT_FILE = "training.png"
FILES = (MODEL_FILE, STATE_FILE, EPOCHS_FILE, SPLIT_FILE, SKIPPED_FILE, PLOT_FILE)
"""All that a run writes into its folder."""


@dataclass(frozen=True)
class TrainFiles:
    """The files of a training run.

    Attributes
    ----------
    spectra
        Libraries: spectra with structures.
    output
        The folder that is written.
    unpaired_spectra, unpaired_molecules
        Spectra and structures that are used for training unpaired.
    exclude
        Files of compounds that are left out of training.
    structures
        Table or pool of candidates among which weights and probabilities are fitted.
    fragment_score
        Weights of the fragment score; those that come with the program are taken for ion modes
        that it does not have.
    """

    spectra: tuple[Path, ...]
    output: Path
    unpaired_spectra: tuple[Path, ...] = ()
    unpaired_molecules: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()
    structures: Path | None = None
    fragment_score: Path | None = None

    @property
    def inputs(self) -> Mapping[str, tuple[Path, ...]]:
        """The files that are read, by option of the command line."""
        return {
            "--spectra": self.spectra,
            "--unpaired-spectra": self.unpaired_spectra,
            "--unpaired-molecules": self.unpaired_molecules,
            "--exclude": self.exclude,
            "--structures": () if self.structures is None else (self.structures,),
            "--fragment-score": () if self.fragment_score is None else (self.fragment_score,),
        }


def require_files(files: TrainFiles) -> None:
    """Raise an InputError if a file that is read is missing, or can be read only once."""
    for option, paths in files.inputs.items():
        for path in paths:
            if not path.exists():
                raise InputError(f"{path}: {no_such_file(path)} ({option})")
            if not path.is_file() and not path.is_dir():
                raise InputError(f"{path}: is no plain file, and {option} is read more than once")


def require_free(folder: Path, *, resume: bool, force: bool) -> None:
    """Raise an InputError if a run would replace a model, or others' files, without being asked.

    What an earlier run that failed has left is replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, wanted a folder to write")
    if (folder / MODEL_FILE).exists() and not (resume or force):
        raise InputError(
            f"{folder / MODEL_FILE}: there is a model already; --resume goes on with its training, "
            "--force replaces it, and -o names another folder"
        )
    if force:
        return
    for name, own in _OWN_HEADS.items():
        if name == PLOT_FILE and _has_run(folder):
            continue  # that of an earlier version says nothing of the program
        if is_foreign(folder / name, own):
            raise InputError(
                f"{folder / name}: is no file that an earlier run has written, and would be "
                "replaced; --force replaces it, and -o names another folder"
            )


def _has_run(folder: Path) -> bool:
    """Whether there is a model, or the epochs of an earlier run, which are known to be its own."""
    epochs = folder / EPOCHS_FILE
    return (folder / MODEL_FILE).exists() or (epochs.is_file() and epochs.stat().st_size > 0)


def _table_head(columns: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(rb"\A[ \t]*%s\s*?(?:\n|\Z)" % ",".join(columns).encode())


_OWN_HEADS = {
    STATE_FILE: re.compile(rb'\A.{8}\{"__metadata__":\{"specvae', re.DOTALL),
    EPOCHS_FILE: re.compile(rb'\A\{"epoch": '),
    SPLIT_FILE: _table_head(SPLIT_COLUMNS),
    SKIPPED_FILE: _table_head(SKIP_COLUMNS),
    PLOT_FILE: re.compile(rb"Software\0specvae"),
}
"""How the files of a run begin, beside the model."""
