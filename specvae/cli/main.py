"""The `specvae` command: a table of commands, each imported only when it is used."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click

from specvae import __version__
from specvae.cli.console import escaped_line, open_closed_streams, use_utf8
from specvae.cli.help import Group
from specvae.errors import Interrupted, SpecvaeError
from specvae.files import NO_ROOM
from specvae.interruption import ending_by_signals, is_interrupt
from specvae.sources import with_sources

# Command -> (module and attribute, its line in the table of commands). Commands are imported when
# they run: importing torch alone takes seconds, for which --help must not wait.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "train": ("specvae.cli.train:train", "Train a model on a spectral library."),
    "annotate": ("specvae.cli.annotate:annotate", "Rank candidate structures for each query."),
    "merge": ("specvae.cli.merge:merge", "Join the parts of a run that annotate --shard wrote."),
    "evaluate": ("specvae.cli.evaluate:evaluate", "Rank candidates and compare with the truth."),
    "predict": ("specvae.cli.predict:predict", "Predict fingerprint bits of each query."),
    "embed": ("specvae.cli.embed:embed", "Write latent means of spectra or molecules."),
    "fingerprint": ("specvae.cli.fingerprint:fingerprint", "Compute fingerprints of molecules."),
    "check": ("specvae.cli.check:check", "Show how spectra or candidates are understood."),
    "library": ("specvae.cli.library:library", "Encode spectra for --library, and inspect them."),
    "pool": ("specvae.cli.pool:pool", "Build and inspect candidate pools."),
    "info": ("specvae.cli.info:info", "Show what a model is and what it was trained on."),
    "package-model": (
        "specvae.cli.package_model:package_model",
        "Pack a model, its card and checksums for others.",
    ),
    "download": ("specvae.cli.download:download", "Fetch a public data set, or a model."),
    "serve": ("specvae.cli.serve:serve", "A local web page: drop spectra, read the report."),
    "demo": ("specvae.cli.demo:demo", "Annotate spectra that come with the program."),
    "doctor": ("specvae.cli.doctor:doctor", "Check the installation, the machine and a model."),
    "docs": ("specvae.cli.docs:docs", "Read the documentation, which comes with the program."),
    "bench": ("specvae.cli.main:bench", "Run experiments and comparisons with peers."),
}
BENCHMARKS: Mapping[str, tuple[str, str]] = {
    "casmi2017": (
        "specvae_bench.folds.casmi:casmi2017",
        "Top-k curves on CASMI 2017 (figure 11 D).",
    ),
    "fragments": (
        "specvae_bench.fragments.command:fragments",
        "Fit the weights of the fragment score.",
    ),
    "fragment-scores": (
        "specvae_bench.fragments.comparison_command:fragment_scores",
        "Compare fragment scores on held-out compounds.",
    ),
    "holdout": ("specvae_bench.folds.holdout:holdout", "Make a held-out fold of a library."),
    "laboratories": (
        "specvae_bench.laboratories.command:laboratories",
        "Rank each laboratory's spectra with the library of all others.",
    ),
    "mnist-split": (
        "specvae_bench.paper.commands:mnist_split",
        "Halves of digits (table 1, figures 3, 4, 6).",
    ),
    "mnist-split-3": ("specvae_bench.paper.commands:mnist_split_3", "Thirds of digits (figure 7)."),
    "mnist-svhn": (
        "specvae_bench.paper.commands:mnist_svhn",
        "Written digits and house numbers (figure 8).",
    ),
    "cub-captions": (
        "specvae_bench.paper.commands:cub_captions",
        "Birds and their captions (figure 9).",
    ),
    "mnist-colour": (
        "specvae_bench.paper.commands:mnist_colour",
        "A stand-in for mnist-svhn, made from MNIST.",
    ),
    "mnist-captions": (
        "specvae_bench.paper.commands:mnist_captions",
        "A stand-in for cub-captions, made from MNIST.",
    ),
    "retention": (
        "specvae_bench.laboratories.retention_command:retention",
        "Fit the index by which retention times become evidence.",
    ),
    "retrieval": (
        "specvae_bench.retrieval.command:retrieval",
        "Compare methods of ranking candidates on a fold.",
    ),
    "supervision": (
        "specvae_bench.supervision.command:supervision",
        "Rank after training on few pairs and unpaired examples.",
    ),
    "report": (
        "specvae_bench.paper.report:report",
        "Draw tables and curves of finished runs again.",
    ),
    "speed": ("specvae_bench.speed.command:speed", "Measure speed against the peers."),
    "gpu": ("specvae_bench.gpu.command:gpu", "Everything that needs a GPU, within a time limit."),
}


class LazyGroup(Group):
    """A group whose commands are imported when they are run.

    Parameters
    ----------
    table
        Command name -> ("module:attribute", help line).
    """

    def __init__(
        self, *args: object, table: Mapping[str, tuple[str, str]], **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the table in its order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; end quietly if the reader of its output has gone, such as head(1).

        Click alone would exit with 1 and no message.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if not _has_lost_its_reader():
                raise SpecvaeError(f"a pipe to another process broke: {error}") from error
            # Nothing more can be written, at interpreter exit either.
            _drop_output()
            ctx.exit(0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="specvae")
def cli() -> None:
    """Annotate tandem mass spectra with molecular structures, offline, from your own library.

    \b
    Example:
      specvae train --spectra mona.msp
      specvae annotate query.mgf --candidates cands.csv
    """


@click.group(cls=LazyGroup, table=BENCHMARKS)
def bench() -> None:
    """Run the experiments of the paper and comparisons with peers.

    \b
    Example:
      specvae bench casmi2017 --data casmi/2017 --model specvae-model --output fig11d
      specvae bench retrieval --data holdout --spectra mona.msp --model specvae-model
    """


def main() -> None:
    """Run the command line: errors in one line on stderr, exit 0 done, 1 error, 2 usage.

    After a signal it is 128 plus its number. At Ctrl-C the process ends by the signal itself, which
    a shell shows as 130: by this alone a loop of a shell knows that it is to end, too.
    """
    logging.lastResort = logging.NullHandler()
    # A long table is hundreds of thousands of objects that stay in use. With its default settings,
    # Python's garbage collector takes a third of the time of reading the table.
    gc.set_threshold(100_000, 20, 10)
    open_closed_streams()
    use_utf8()
    code: int | None = None
    received: Sequence[int] = ()
    try:
        try:
            with ending_by_signals() as received:
                code = _run(received)
        except KeyboardInterrupt:  # of a signal that came when all was done, or when it was said
            code = _interrupted(received) if code is None else code
        if code == 128 + signal.SIGINT:
            sys.excepthook = lambda *_: None  # it has been said
            raise KeyboardInterrupt  # Python ends by the signal, once it has cleared away
        if code:
            sys.exit(code)
    finally:
        # All ends with the process: that need not be searched for what is unused once more. What
        # libraries do at the end is no place for Ctrl-C.
        gc.freeze()
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _run(received: Sequence[int]) -> int:
    """Run the command line and return the exit code; `received` are the signals that came."""
    try:
        # Commands return nothing; where one raises Exit, click returns its code.
        return cli.main(prog_name="specvae", standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return 1
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return _interrupted(received)
    except SpecvaeError as error:
        _say(escaped_line(with_sources(str(error))))
        return _interrupted(received) if isinstance(error, Interrupted) else 1
    except Exception as error:
        code = _code_of_failure(error, received)
        if code is None:
            raise  # a defect of the program
        return code


def _code_of_failure(error: Exception, received: Sequence[int]) -> int | None:
    """Say what the system failed at, and return the exit code; None if it did not fail."""
    if is_interrupt(error):
        _say("interrupted")
        return _interrupted(received)
    if _is_want_of_memory(error):
        found = str(error).strip().partition("\n")[0]
        _say(f"not enough memory{escaped_line(f' ({found})' if found else '')}")
        return 1
    if not isinstance(error, OSError):
        return None
    if received:
        return _interrupted(received)  # as of a terminal that is closed
    reason = error.strerror or str(error).partition("\n")[0]  # of a library that has its own words
    if not reason:
        return None
    is_of_stdout = error.filename is None and error.errno in _CANNOT_WRITE  # files are named
    where = "stdout: " if is_of_stdout else f"{error.filename}: " if error.filename else ""
    _say(f"{escaped_line(where)}{escaped_line(reason)}")
    if is_of_stdout:
        _drop_output()  # a full disk, for one, fails again when the buffer is flushed
    return 1


def _is_want_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out, as torch and the loader of libraries do."""
    if isinstance(error, ImportError | RuntimeError):
        return _NO_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError)


_CANNOT_WRITE = (*NO_ROOM, errno.EBADF, errno.EIO)
_NO_MEMORY = re.compile("can't allocate memory|[Cc]annot allocate memory|failed to map segment")


def _say(text: str) -> None:
    """Write a line to stderr, where that can be: it may lie on a full disk, or be gone."""
    with suppress(OSError):
        click.echo(f"specvae: {text}", err=True)


def _interrupted(received: Sequence[int]) -> int:
    return 128 + (received[0] if received else signal.SIGINT)


def _has_lost_its_reader() -> bool:
    """Return whether the reader of stdout or stderr has gone, as far as the system can tell."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it is no file, or closed
            poll.register(stream.fileno(), select.POLLOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _drop_output() -> None:
    """Discard the text that is still buffered for stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
