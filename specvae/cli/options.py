"""Options that several commands share, and the files that they name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from specvae.annotation.ranking.options import LARGEST_COUNTS_WEIGHT, RunOptions
from specvae.annotation.training.run_files import MODEL_FILE, STATE_FILE
from specvae.cli.help import Choice, IonMode
from specvae.errors import CheckpointError, ConfigError, InputError
from specvae.limits import changed_limits
from specvae.sources import READ_ALREADY, STDIN, descriptor_of, from_home, no_such_file, rewindable

if TYPE_CHECKING:
    from specvae.annotation.ranking.probability import ProbabilityModel
    from specvae.molecules.workers import Engine

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class NamedPath(click.Path):
    """The path of a file or folder with a name; ``./-`` is a file, unlike ``-``.

    ``~`` is the user's home also in a file of ``--config`` and behind ``--output=``, where the
    shell does not expand it.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return a path that is ``-`` only if exactly that was given."""
        text = os.fspath(value)
        if not text:
            self.fail("found an empty text, wanted the name of a file.", param, ctx)
        path = from_home(cast("Path", super().convert(value, param, ctx)))
        return Path.cwd() / path if str(path) == "-" != text else path


class InputFile(NamedPath):
    """An input file: a path, or ``-`` for stdin; the data of a pipe is stored in a file first.

    Parameters
    ----------
    suffix
        Suffix of that file, if the suffix decides the kind of file.
    """

    def __init__(self, suffix: str = "") -> None:
        super().__init__()
        self.suffix = suffix

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return a path that can be read more than once; stdin is for one input of a command.

        Raises
        ------
        InputError
            At the second ``-``, also where a shell redirects a file, which could be read again: it
            is hardly meant for two inputs.
        """
        path = super().convert(value, param, ctx)
        if str(path) == "-":
            path = STDIN
        if ctx is not None and descriptor_of(path) == 0:
            if _STDIN_TAKEN in ctx.meta:
                raise InputError(READ_ALREADY.format("stdin"))
            ctx.meta[_STDIN_TAKEN] = True
        return rewindable(path, self.suffix)


_STDIN_TAKEN = "specvae.stdin_taken"  # key of a click context's `meta`


INPUT = NamedPath()
INPUT_FILE = InputFile()
INPUT_TABLE = InputFile(".csv")
DEFAULT_MODEL = Path("specvae-model")


class KnownSharesType(click.ParamType[float | tuple[float, float]]):
    """A share, or two with a comma between them whose sum is at most 1."""

    name = "SHARE[,SHARE]"

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float | tuple[float, float]:
        """Return the share or the two."""
        one = NumberRange(min=0.0, max=1.0)
        first, *rest = (one.convert(part, param, ctx) for part in str(value).split(","))
        if not rest:
            return first
        if len(rest) > 1 or first + rest[0] > 1.0:
            self.fail(f"{value!r} is no share, nor two whose sum is at most 1.", param, ctx)
        return first, rest[0]


def number_as_written(text: str) -> float:
    """Return the number that a text is, as people write it.

    Python's own would take 1_0, a mistyped 1.0, for 10.

    Raises
    ------
    ValueError
        If it is none.
    """
    if "_" in text:
        raise ValueError(text)
    return float(text)


class WholeRange(click.IntRange):
    """A whole number in a range, as people write it; see `number_as_written`."""

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the number."""
        if "_" in str(value):
            self.fail(f"{value!r} is not a valid integer.", param, ctx)
        return int(super().convert(value, param, ctx))


class NumberRange(click.FloatRange):
    """A finite number in a range, as people write it; see `number_as_written`.

    Click's own type takes infinity and not-a-number. JSON has no number for these, so that a
    setting would be read back as another.
    """

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number."""
        if "_" in str(value):
            self.fail(f"{value!r} is not a valid float.", param, ctx)
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def add_options(*decorators: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return what adds several options to a command, in the order in which its help lists them."""

    def add(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return add


device_option = click.option(
    "--device",
    type=Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device that torch uses; auto takes a GPU if there is one.",
)

seed_option = click.option(
    "--seed",
    type=WholeRange(min=0),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)

model_option = click.option(
    "--model",
    type=INPUT,
    default=DEFAULT_MODEL,
    show_default=True,
    help="Model folder or model.safetensors file.",
)

jobs_option = click.option(
    "--jobs",
    type=WholeRange(min=1),
    default=None,
    help="Processes that parse long tables, compute fingerprints and break molecules.  "
    "[default: one per core]",
)

scheduler_option = click.option(
    "--scheduler",
    default=None,
    metavar="tcp://HOST:PORT|local:N",
    help="Share the work among the workers of a Dask scheduler, or N processes here; the "
    "result is the same. See 'specvae docs scale'.",
)


def _change_limits(ctx: click.Context, _: click.Parameter, assignments: tuple[str, ...]) -> None:
    if assignments:
        ctx.with_resource(changed_limits(assignments))


limit_option = click.option(
    "--limit",
    multiple=True,
    metavar="NAME=VALUE",
    expose_value=False,
    callback=_change_limits,
    help="Let a line, record, table or structure be larger, e.g. structure_atoms=2000; "
    "'specvae docs reliability' lists the names (repeatable).",
)
"""``--limit``, which holds while the command runs."""

strict_option = add_options(
    click.option("--strict", is_flag=True, help="Make the first malformed record an error."),
    limit_option,
)
"""``--strict`` and ``--limit``."""

query_filter_options = add_options(
    click.option(
        "--ion-mode",
        type=IonMode(),
        default=None,
        help="Only queries of this ion mode.",
    ),
    click.option(
        "--adduct",
        "adducts",
        multiple=True,
        metavar="ADDUCT",
        help='Only queries of this adduct, e.g. "[M+H]+" (repeatable).',
    ),
)

assumption_options = add_options(
    click.option(
        "--assume-adduct",
        default=None,
        metavar="ADDUCT",
        help='Adduct of queries that state none, e.g. "[M+Na]+"; their ion mode and charge must '
        "agree with it.  [default: [M+H]+ or [M-H]- by ion mode and charge]",
    ),
    click.option(
        "--assume-ion-mode",
        type=IonMode(),
        default=None,
        help="Ion mode of queries that state neither an ion mode nor an adduct.  [default: that of "
        "the model, if it was trained on one only]",
    ),
)

try_adducts_option = click.option(
    "--try-adducts",
    default=None,
    metavar="ADDUCTS",
    help="Rank candidates of each of these adducts for queries that state none; the table says "
    'which a candidate is of. "[M+H]+,[M+Na]+", or common: [M+H]+, [M+Na]+, [M+NH4]+, [M+K]+ '
    "or [M-H]-, [M+Cl]-, [M+HCOO]- by ion mode.  [default: one, as --assume-adduct says]",
)

library_options = add_options(
    click.option(
        "--library",
        type=INPUT_FILE,
        multiple=True,
        metavar="FILE",
        help="Spectra with structures to use in this run, beside those that the model remembers: "
        ".msp, .mgf, .mzML, or .h5 from 'specvae library build' (repeatable).",
    ),
    click.option(
        "--no-library",
        is_flag=True,
        help="Ignore the spectra that the model remembers; those of --library still count.",
    ),
)

library_filter_options = add_options(
    click.option(
        "--ion-mode",
        type=IonMode(),
        default=None,
        help="Only spectra of this ion mode.",
    ),
    click.option(
        "--adduct",
        "adducts",
        multiple=True,
        help='Only spectra of this adduct, e.g. "[M+H]+" (repeatable).',
    ),
    click.option(
        "--instrument-type",
        "instrument_types",
        multiple=True,
        help='Only spectra of this instrument type, e.g. LC-ESI-QTOF or "*QTOF*" (repeatable).',
    ),
)

rank_by_option = click.option(
    "--rank-by",
    type=Choice(["everything", "fingerprint"]),
    default="everything",
    show_default=True,
    help="everything: the predicted fingerprint, analogues in the library, the candidates' "
    "fragments, their own spectra in the library, and nearness to its compounds. fingerprint: "
    "only the likelihood of the candidate's fingerprint.",
)

candidate_options = add_options(
    click.option(
        "--candidates",
        type=INPUT_TABLE,
        required=True,
        help="CSV or TSV with a column smiles or inchi, an SMI or SD file, or a pool (.h5).",
    ),
    click.option(
        "--ppm",
        type=NumberRange(min=0.0, min_open=True),
        default=RunOptions.ppm,
        show_default=True,
        help="Largest difference between a candidate's exact mass and the query's neutral mass.",
    ),
    rank_by_option,
    click.option(
        "--rescore",
        type=WholeRange(min=1),
        default=None,
        metavar="N",
        help="For long lists: compute fragments only for the N candidates that are best by all "
        "other evidence, and for those with spectra in the library. The others keep their "
        "order below them.  [default: all]",
    ),
    click.option(
        "--formula",
        default=None,
        metavar="FORMULA",
        help="Only candidates of this formula, e.g. C9H8O4.",
    ),
    click.option(
        "--elements",
        default=None,
        metavar="CHNOPS",
        help="Only candidates made of these elements.",
    ),
    click.option(
        "--exclude",
        type=INPUT_FILE,
        multiple=True,
        metavar="FILE",
        help="Leave out candidates whose InChIKey first block is in this .csv .txt .mgf or "
        ".msp (repeatable).",
    ),
    jobs_option,
)

share_options = add_options(
    click.option(
        "--in-list",
        type=NumberRange(min=0.0, max=1.0),
        default=None,
        metavar="SHARE",
        help="Share of queries whose candidates include the right structure; probabilities "
        "depend on it.  [default: estimated from all queries]",
    ),
    click.option(
        "--known",
        type=KnownSharesType(),
        default=None,
        metavar="SHARE[,SHARE]",
        help="Share of queries whose compound has spectra in the library, among queries whose "
        "candidates include it; or two: of those with spectra of the query's ion mode, and of "
        "those with spectra of the other one only. Scores and probabilities depend on it.  "
        "[default: estimated from all queries]",
    ),
)

counts_options = add_options(
    click.option(
        "--counts",
        type=INPUT_TABLE,
        default=None,
        metavar="FILE",
        help="Prefer compounds that are well known: a .csv or .tsv of structures or InChIKeys "
        "with counts of references, patents or the like. It may be the table of candidates.",
    ),
    click.option(
        "--counts-column",
        "counts_columns",
        multiple=True,
        metavar="NAME",
        help="Column of the counts, e.g. PubMed_Count (repeatable: added up).  [default: the "
        "only one that is called like counts]",
    ),
    click.option(
        "--counts-weight",
        type=NumberRange(min=0.0, min_open=True, max=LARGEST_COUNTS_WEIGHT),
        default=RunOptions.counts_weight,
        show_default=True,
        metavar="W",
        help="A compound of n references is (1 + n)^W as likely as one of none.",
    ),
)

retention_option = click.option(
    "--no-retention-times",
    is_flag=True,
    help="Ignore the retention times that queries state. By default each candidate's structure "
    "is compared with its query's time, by what the run's other queries show of the column.",
)

mass_error_option = click.option(
    "--mass-errors/--no-mass-errors",
    "use_mass_errors",
    default=None,
    help="Whether candidates lose where they are off the precursor m/z by other than the run's "
    "other queries, which show what m/z are off by.  [default: yes, unless --in-list and "
    "--known are both given, so that the other queries do not count]",
)

merge_option = click.option(
    "--merge-by",
    metavar="FIELD",
    default=None,
    help="Give one answer for all spectra with the same value of this field, e.g. FEATURE_ID "
    "for several collision energies.  [default: one answer for each spectrum]",
)

nearness_option = click.option(
    "--no-nearness",
    is_flag=True,
    help="Do not prefer candidates that are like compounds of the library, whatever their "
    "spectra: for compounds of kinds that it has none of.",
)


def engine_of(scheduler: str | None, purpose: str) -> Engine | None:
    """Return the engine that ``--scheduler`` names, None if it is not given.

    Raises
    ------
    click.UsageError
        If it makes no sense.
    """
    if scheduler is None:
        return None
    from specvae.molecules.scheduler import parse_scheduler

    try:
        return parse_scheduler(scheduler, purpose)
    except ConfigError as error:
        raise click.UsageError(f"--{error}") from None


def require_calibrated(model: Path, probability: ProbabilityModel | None, option: str) -> None:
    """Fail if the model has no probabilities, which `option` needs.

    Raises
    ------
    CheckpointError
        Naming the model and the option.
    """
    if probability is None:
        raise CheckpointError(
            f"{model}: no probabilities, which {option} needs: the model is not calibrated, or "
            "ranks by less than it was calibrated with (--rank-by)"
        )


def model_file(path: Path) -> Path:
    """Return the checkpoint that ``--model`` names: a file, or a folder's model.safetensors.

    Raises
    ------
    InputError
        If there is none.
    """
    found = path / MODEL_FILE if path.is_dir() else path
    if found.is_file():
        return found
    if (path / STATE_FILE).is_file():
        raise InputError(
            f"{path}: its training has not finished; 'specvae train' continues it, with the same "
            "options and --resume"
        )
    if path == DEFAULT_MODEL:
        raise InputError(
            f"{found}: no such file; train a model with 'specvae train --spectra LIBRARY', or name "
            "one with --model"
        )
    if found.exists():
        raise InputError(f"{found}: is no file, wanted a model's folder or {MODEL_FILE}")
    raise InputError(f"{found}: {no_such_file(found)} ('specvae train -o {path}' makes one)")
