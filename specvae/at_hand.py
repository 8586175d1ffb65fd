"""Spectra and candidates that a user of Python has at hand: in memory, or as open files.

They are written to a temporary file where files have rules for what is in them, so that errors have
the same messages; these name no file that nobody has seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specvae.arguments import as_path, is_path, kind_of
from specvae.errors import InputError, SpecvaeError
from specvae.files import remove_temporary_folder, temporary_folder
from specvae.report import Skip
from specvae.sources import called_source, rewindable, with_sources
from specvae.spectra.exchange import read_matchms
from specvae.spectra.folders import spectra_files
from specvae.spectra.read import with_unique_ids
from specvae.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    import matchms
    import pandas as pd

GivenSpectra = Path | list[Path] | list[Spectrum | Skip]

_TABLE = ".csv"  # the suffix of a table that has no name
_WANTED_SPECTRA = "wanted a path, several, an open file, or spectra of specvae or matchms"
_WANTED_CANDIDATES = (
    "wanted a path, an open file, a DataFrame, or a list of SMILES or of RDKit's molecules"
)


@contextmanager
def given_spectra(
    spectra: Any,  # noqa: ANN401 (of a user)
    log: Callable[[str], None],
) -> Iterator[GivenSpectra]:
    """Yield the file of spectra, several, or those in memory, each under a name of its own.

    In place of a spectrum in memory that cannot be used, such as one without peaks, stands why.

    A folder stands for the files in it, as in the command: see `spectra_files`, and for `log`.

    Raises
    ------
    InputError
        If they are none of these.
    """
    if is_path(spectra):
        path = as_path(spectra, "spectra")
        yield list(spectra_files([path], log)) if path.is_dir() else rewindable(path)
    elif is_open_file(spectra):
        with _stored(spectra, "spectra", "") as path:
            yield path
    elif (
        isinstance(spectra, Mapping)
        or hasattr(spectra, "columns")
        or not (isinstance(spectra, Iterable | Spectrum) or hasattr(spectra, "metadata"))
    ):
        raise InputError(f"spectra: found {kind_of(spectra)}, {_WANTED_SPECTRA}")
    elif any(map(is_path, given := _listed(spectra))):
        paths = [as_path(path, f"spectra {n}") for n, path in enumerate(given, start=1)]
        yield [rewindable(path) for path in spectra_files(paths, log)]
    else:
        yield _ours(given)


def _listed(spectra: Any) -> list[Any]:  # noqa: ANN401 (of a user)
    try:
        given = list(spectra) if isinstance(spectra, Iterable) else [spectra]
    except TypeError:  # an array without dimensions
        return [spectra]
    # Paths of a set have another order in each process.
    return sorted(given) if isinstance(spectra, Set) and all(map(is_path, given)) else given


def _ours(spectra: Sequence[Spectrum | matchms.Spectrum]) -> list[Spectrum | Skip]:
    found = [
        spectrum if isinstance(spectrum, Spectrum) else read_matchms(spectrum, number)
        for number, spectrum in enumerate(spectra, start=1)
    ]
    named = with_unique_ids(one for one in found if isinstance(one, Spectrum))
    return [one if isinstance(one, Skip) else next(named) for one in found]


@contextmanager
def given_candidates(candidates: Any) -> Iterator[tuple[Path, bool]]:  # noqa: ANN401 (of a user)
    """Yield the file of candidates, and whether the user knows it by its name.

    Raises
    ------
    InputError
        If they are of no kind that is known.
    """
    if is_path(candidates):
        # Path.exists fails on a text that is too long for a name.
        if not os.path.exists(candidates) and _is_smiles(candidates):  # noqa: PTH110
            raise InputError("candidates: found a SMILES, wanted a list of them or a path")
        yield rewindable(as_path(candidates, "candidates"), _TABLE), True
    elif is_open_file(candidates):
        with _stored(candidates, "candidates", _TABLE) as path:
            yield path, _name_of(candidates) is not None
    else:
        table = _plain_table(_table_of(candidates))
        with _temporary(f"candidates{_TABLE}", "candidates") as path:
            table.to_csv(path, index=False, errors="backslashreplace")
            yield path, False


def _is_smiles(text: object) -> bool:
    from specvae.molecules.structure_text import is_smiles

    return isinstance(text, str) and bool(text) and is_smiles(text)


# --- Open files -----------------------------------------------------------------------------------


def is_open_file(value: object) -> bool:
    """Return whether a value can be read as an open file is."""
    return callable(getattr(value, "read", None))


def _name_of(stream: object) -> str | None:
    name = getattr(stream, "name", None)  # a number, where only a descriptor is known
    return name if isinstance(name, str) and name else None


@contextmanager
def _stored(stream: Any, role: str, suffix: str) -> Iterator[Path]:  # noqa: ANN401
    """Yield a file of what is left of an open file, of the same name if that has one."""
    name = _name_of(stream)
    base = Path(name or role).name or role
    with _temporary(base if Path(base).suffix else f"{base}{suffix}", name or role) as path:
        with path.open("wb") as target:
            for chunk in _chunks(stream, role):
                target.write(chunk)
            is_empty = target.tell() == 0
        if is_empty:
            raise InputError(
                f"{role}: found an open file at its end, or an empty one, wanted one at its "
                "beginning"
            )
        yield path


def _chunks(stream: Any, role: str) -> Iterator[bytes]:  # noqa: ANN401
    while True:
        try:
            chunk = stream.read(1 << 20)
            chunk = chunk.encode("utf-8", "surrogateescape") if isinstance(chunk, str) else chunk
        except UnicodeDecodeError as error:
            raise InputError(
                f"{role}: the open file is no text in {error.encoding}: open it with mode 'rb', or "
                "give its path"
            ) from None
        except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
            raise InputError(f"{role}: the open file cannot be read ({error})") from None
        if not isinstance(chunk, bytes):
            raise InputError(
                f"{role}: found {type(stream).__name__}, wanted a path or an open file"
            )
        if not chunk:
            return
        yield chunk


@contextmanager
def _temporary(name: str, called: str) -> Iterator[Path]:
    """Yield a place for a file, which is removed afterwards; messages call it otherwise."""
    folder = temporary_folder()
    try:
        with called_source(folder / name, called), named_as_given():
            yield folder / name
    finally:
        remove_temporary_folder(folder)


@contextmanager
def named_as_given() -> Iterator[None]:
    """Let messages of errors name files as the user does, and not copies of what was at hand.

    Raises
    ------
    SpecvaeError
        Whatever is raised within.
    """
    try:
        yield
    except SpecvaeError as error:
        message = str(error)
        called = with_sources(message)
        if called == message:
            raise
        raise type(error)(called) from None


# --- Tables ---------------------------------------------------------------------------------------


def _table_of(candidates: Any) -> pd.DataFrame:  # noqa: ANN401 (whatever a user gives)
    """Return candidates in memory as a table."""
    import pandas as pd

    candidates = _of_pandas(candidates)
    if isinstance(candidates, pd.DataFrame):
        return candidates
    if not isinstance(candidates, Iterable):
        raise InputError(f"candidates: found {kind_of(candidates)}, {_WANTED_CANDIDATES}")
    if isinstance(candidates, Mapping):
        # One candidate, or columns.
        is_row = bool(candidates) and all(
            isinstance(value, str) or not isinstance(value, Iterable)
            for value in candidates.values()
        )
        return _made([candidates] if is_row else _listed_columns(candidates))
    try:
        # A set has another order in each process.
        is_set = isinstance(candidates, Set)
        listed = sorted(candidates, key=_as_text) if is_set else list(candidates)
    except TypeError:  # an array without dimensions
        raise InputError(
            f"candidates: found {type(candidates).__name__}, {_WANTED_CANDIDATES}"
        ) from None
    if listed and _row_of(listed[0]) is not None:
        rows = [_row_of(one) for one in listed]
        if all(row is not None for row in rows):
            return _made(rows)
    smiles = []
    for number, one in enumerate(listed, start=1):
        text = _as_smiles(one)
        if not isinstance(text, str):
            raise InputError(
                f"candidate {number}: found {kind_of(one)}, wanted a SMILES or a molecule of RDKit"
            )
        smiles.append(text)
    return pd.DataFrame({"smiles": smiles})


def _of_pandas(candidates: Any) -> Any:  # noqa: ANN401 (whatever a user gives)
    """Return a table of pyarrow, polars and others as one of pandas, and a row as a dictionary."""
    import pandas as pd

    if hasattr(candidates, "to_pandas") and not isinstance(candidates, pd.DataFrame):
        try:
            candidates = candidates.to_pandas()
        except Exception as error:
            raise InputError(f"candidates: no table can be made of them ({error})") from None
    # A list of SMILES may be long.
    may_be_row = isinstance(candidates, pd.Series) and len(candidates) <= _MOST_COLUMNS
    is_row = may_be_row and _STRUCTURES & _lower(candidates.index)
    return candidates.to_dict() if is_row else candidates


def _row_of(one: Any) -> Mapping[Any, Any] | None:  # noqa: ANN401 (whatever a user gives)
    """Return an item as the row of a table that it is, of ``iterrows`` or ``itertuples`` too."""
    if isinstance(one, Mapping):
        return one
    as_row = getattr(one, "_asdict", None) or getattr(one, "to_dict", None)
    row = as_row() if callable(as_row) else None
    return row if isinstance(row, Mapping) and _STRUCTURES & _lower(row) else None


def _lower(names: Iterable[Any]) -> set[str]:
    return {str(name).strip().lower() for name in names}


def _listed_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns by name; pandas would repeat a generator in each row."""
    return {
        name: list(column) if isinstance(column, Iterator) else column
        for name, column in columns.items()
    }


def _made(data: Any) -> pd.DataFrame:  # noqa: ANN401 (whatever a user gives)
    import pandas as pd

    try:
        return pd.DataFrame(data)
    except (ValueError, TypeError) as error:
        raise InputError(f"candidates: no table can be made of them ({error})") from None


def _plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as a file can hold it.

    What names rows may be a column of the file (``table.set_index("query_id")``). Molecules are
    written as SMILES, and whole numbers as such: pandas makes floats of those in a column with
    gaps.

    Raises
    ------
    InputError
        If the names of columns have several levels.
    """
    from rdkit import Chem

    if table.columns.nlevels > 1:
        raise InputError(
            f"candidates: found columns whose names have {table.columns.nlevels} levels, wanted one"
        )
    named = [name for name in table.index.names if name not in (None, *table.columns)]
    table = (table.reset_index(named) if named else table).copy(deep=False)
    names = list(table.columns)
    has_structures = bool(_STRUCTURES & _lower(names))
    for place in range(len(names)):  # of one name there may be several
        column = table.iloc[:, place]
        if column.dtype.kind == "f":
            known = column.dropna()
            if ((known % 1 == 0) & (known.abs() < _LARGEST_WHOLE)).all():
                table.isetitem(place, column.astype("Int64").array)
        elif column.dtype == object and any(isinstance(cell, Chem.Mol) for cell in column):
            table.isetitem(place, [_as_smiles(cell) for cell in column])
            if not has_structures:
                names[place] = "smiles"
    table.columns = names
    return table


def _as_text(one: Any) -> str:  # noqa: ANN401 (of a set)
    return str(_as_smiles(one))


def _as_smiles(cell: Any) -> Any:  # noqa: ANN401 (of a table)
    from rdkit import Chem

    return Chem.MolToSmiles(cell) if isinstance(cell, Chem.Mol) else cell


_LARGEST_WHOLE = 2**53  # beyond it, floats are no exact whole numbers
_MOST_COLUMNS = 1000  # of a row
_STRUCTURES = frozenset({"smiles", "inchi"})
