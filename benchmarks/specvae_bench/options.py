"""Options that several benchmarks share; light, for ``--help``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from specvae.cli.options import INPUT, Decorated, NumberRange, WholeRange, model_file
from specvae.cli.outputs import require_paths
from specvae.errors import InputError
from specvae.files import is_foreign

library_option = click.option(
    "--spectra", type=INPUT, multiple=True, required=True, help="Library (repeatable)."
)

exclude_option = click.option(
    "--exclude",
    type=INPUT,
    multiple=True,
    help="Compounds to keep out of the library (repeatable).",
)

ppm_option = click.option(
    "--ppm",
    type=NumberRange(min=0.0, min_open=True),
    default=10.0,
    show_default=True,
    help="Mass window of candidates, ± ppm.",
)

title_option = click.option(
    "--title", default=None, help="Title of the plot.  [default: the folder's name]"
)


def structures_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--structures``, which must be given and may be repeated."""
    return click.option("--structures", type=INPUT, multiple=True, required=True, help=about)


def models_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--model``, which may be repeated; the command gets `models`."""
    return click.option("--model", "models", type=INPUT, multiple=True, help=about)


def seed_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--seed``; `about` says what is random."""
    return click.option("--seed", type=WholeRange(min=0), default=0, show_default=True, help=about)


def contaminated_option(about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--contaminated``, a share; `about` says of what."""
    return click.option(
        "--contaminated",
        type=NumberRange(min=0.0, max=1.0),
        default=0.0,
        show_default=True,
        metavar="SHARE",
        help=about,
    )


def output_option(default: str, about: str) -> Callable[[Decorated], Decorated]:
    """Add ``--output``; `about` says what is written."""
    return click.option(
        "-o", "--output", type=INPUT, default=Path(default), show_default=True, help=about
    )


def require_results(*results: Path, reads: Iterable[Path] = ()) -> None:
    """Fail before the work if a result cannot be written, or would replace what is read.

    What the command at hand reads is every path among its arguments and options but ``--output``,
    and the files in the folders among these.

    Parameters
    ----------
    results
        Files that it writes.
    reads
        Files that it reads without their being named: those within a folder.

    Raises
    ------
    InputError
        Naming both files.
    """
    inputs = _inputs()
    within = {
        name: [file for path in paths if path.is_dir() for file in path.iterdir() if file.is_file()]
        for name, paths in inputs.items()
    }
    _require(results, [inputs, within], reads)


def _inputs() -> dict[str, tuple[Path, ...]]:
    """Return the paths that the command at hand reads, by its options."""
    context = click.get_current_context()
    return {
        param.opts[-1]: value if isinstance(value, tuple) else (value,)
        for param in context.command.params
        if isinstance(param.type, click.Path)
        and param.name not in ("output", "config_file")
        and (value := context.params.get(param.name or "")) is not None
    }


def _require(
    results: Iterable[Path],
    inputs: Iterable[Mapping[str, Sequence[Path]]],
    reads: Iterable[Path],
) -> None:
    read: dict[str, list[Path]] = {}
    for of_options in inputs:
        for name, paths in of_options.items():
            read.setdefault(name, []).extend(paths)
    read["the command"] = list(reads)
    require_paths(read, {"--output": list(results)}, must_exist=False)


def require_results_folder(folder: Path, names: Iterable[str], reads: Iterable[Path] = ()) -> None:
    """Fail if a result cannot be written, or would replace what is read or is of others.

    An earlier run, whose files may be replaced, is known by a result that it has left, a JSON file
    with the version of specvae.

    Raises
    ------
    InputError
        Naming the file that would be replaced.
    """
    results = [folder / name for name in names]
    _require(results, [_inputs()], reads)
    there = [path for path in results if path.is_file() and path.stat().st_size]
    own = [path for path in there if path.suffix == ".json" and _is_result(path)]
    for path in there:
        if path.suffix == ".json" and path not in own:
            raise InputError(
                f"{path}: is no result of an earlier run, and would be replaced; {ELSEWHERE}"
            )
    if there and not own and not has_result(folder):
        raise InputError(
            f"{there[0]}: would be replaced, and no result of an earlier run is beside it; "
            f"{ELSEWHERE}"
        )


ELSEWHERE = "wanted another folder (-o), or that file elsewhere"


def require_own_head(path: Path, head: str, wanted: str = ELSEWHERE) -> None:
    """Fail if a file is there that does not begin as an earlier run wrote it.

    Parameters
    ----------
    path
        The file that would be replaced.
    head
        A regular expression, found in the first 200 bytes of what a run writes.
    wanted
        What the message asks for.

    Raises
    ------
    InputError
        Naming it.
    """
    if is_foreign(path, re.compile(head.encode(), re.DOTALL)):
        raise InputError(f"{path}: is no result of an earlier run, and would be replaced; {wanted}")


def has_result(folder: Path) -> bool:
    """Whether a run of a benchmark has left a result in a folder."""
    return any(_is_result(path) for path in sorted(folder.glob("*.json")))


def _is_result(path: Path) -> bool:
    try:
        result = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    versions = result.get("versions") if isinstance(result, dict) else None
    return isinstance(versions, dict) and "specvae" in versions


def require_unused(names: Iterable[str], why: str) -> None:
    """Fail if the command line has options that would be without effect.

    Parameters
    ----------
    names
        Parameters of the command at hand.
    why
        What is said of the first that is given.

    Raises
    ------
    click.UsageError
        Naming it. A file of ``--config`` may serve several commands, and is not looked at.
    """
    context = click.get_current_context()
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if param.name in set(names) and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{param.opts[-1]} {why}")


def model_files(models: Sequence[Path]) -> dict[str, Path]:
    """Return the checkpoints that ``--model`` names, by the name of their folder.

    Raises
    ------
    InputError
        If one is missing.
    click.UsageError
        If two have the same name.
    """
    require_own_names(models, "models")
    return {path.name or str(path): model_file(path) for path in models}


def require_own_names(folders: Sequence[Path], what: str) -> None:
    """Fail if results would be called by one name, that of their folders.

    Raises
    ------
    click.UsageError
        If two folders have the same name; `what` says what they are.
    """
    if len({path.name or str(path) for path in folders}) < len(folders):
        raise click.UsageError(f"two {what} have the same folder name; rename one")
