"""The layout of ``--help``, and suggestions for misspelt words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import click

from specvae.cli.address_space import require_address_space
from specvae.errors import nearest
from specvae.files import require_current_folder

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Input": (
        "spectra", "unpaired-spectra", "unpaired-molecules", "structures", "fragment-score",
        "molecules", "candidates", "truth", "model", "library", "no-library", "exclude", "ion-mode",
        "adduct", "instrument-type", "assume-ion-mode", "assume-adduct", "try-adducts",
        "merge-by", "strict", "limit",
    ),
    "Model": (
        "model-kind", "preset", "fingerprint", "supervision", "epochs",
    ),
    "Ranking": (
        "ppm", "formula", "elements", "rank-by", "rescore",
        "counts", "counts-column", "counts-weight", "no-retention-times", "mass-errors",
        "no-nearness", "in-list", "known",
    ),
    "Server": ("host", "port", "token", "max-upload", "keep"),
    "Output": (
        "output", "format", "top", "min-probability", "summary", "report", "json", "plot",
        "reliability", "append", "force",
    ),
    "Machine": ("device", "jobs", "scheduler", "shard", "resume", "state-every", "keep-state"),
    "General": ("seed", "config", "set", "quiet", "verbose", "help"),
}  # fmt: skip
"""Sections of a long ``--help``, in order, and the long names of the options in each."""

_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}
_ORDER = {name: place for place, name in enumerate(_GROUP_OF)}
_SHORT = 10  # options; fewer are one list
_COLUMN = 30  # characters; a longer name has its text below it


class _Formatter(click.HelpFormatter):
    """Headings are bold on a terminal."""

    def write_heading(self, heading: str) -> None:
        """Write a heading; click removes the styles where no terminal shows them."""
        self.write(f"{'':>{self.current_indent}}{click.style(heading + ':', bold=True)}\n")


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose ``--help`` shows its options in the sections of `GROUPS`."""

    context_class = _Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments; a second file for an option that takes one is an error.

        Click would take the last one and silently ignore the others.
        """
        self._require_two_dashes(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in {param for param in order if isinstance(param, click.Option)}:
            n_given = order.count(option)
            if n_given > 1 and isinstance(option.type, click.Path) and not option.multiple:
                raise click.UsageError(f"{option.opts[-1]} is given {n_given} times, wanted once")
        return super().parse_args(ctx, args)

    def _require_two_dashes(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse ``-output``, which click would read as the option ``-o`` with the value utput."""
        known = {name for param in self.get_params(ctx) for name in param.opts}
        for arg in itertools.takewhile(lambda each: each != "--", args):
            name = arg.partition("=")[0]
            if name not in known and f"-{name}" in known and len(name) > 2:
                raise click.UsageError(f"No such option {name!r}. Did you mean '-{name}'?", ctx)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command, if its libraries can be loaded."""
        require_current_folder()
        require_address_space(" ".join(ctx.command_path.split()[1:2]))
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group of options, or one list if there are few."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        shown = [(p, record) for p in options if (record := p.get_help_record(ctx)) is not None]
        sections: dict[str, list[tuple[str, str]]] = {}
        for option, record in sorted(shown, key=lambda pair: _place(pair[0])):
            group = "Options" if len(shown) < _SHORT else group_of(option)
            sections.setdefault(group, []).append(record)
        width = max((len(name) for _, (name, _) in shown if len(name) <= _COLUMN), default=0)
        for group, records in sections.items():
            with formatter.section(group):
                # The column is equally wide in all sections, so that they are aligned.
                formatter.write_dl([(f"{n:<{width}}", text) for n, text in records], _COLUMN)


def _place(option: click.Option) -> int:
    """Return the place of an option among all of `GROUPS`; options of no group come first."""
    return next((_ORDER[name] for name in _long_names(option) if name in _ORDER), -1)


def group_of(option: click.Option) -> str:
    """Return the section of an option: ``Options`` for one that `GROUPS` does not name."""
    return next((_GROUP_OF[name] for name in _long_names(option) if name in _GROUP_OF), "Options")


def _long_names(option: click.Option) -> list[str]:
    return [name.removeprefix("--") for name in option.opts if name.startswith("--")]


class Group(click.Group):
    """A group that suggests the most similar command if one is misspelt."""

    context_class = _Context
    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` starts with, or fail with the most similar one."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)


class Choice(click.Choice[str]):
    """One of some words; the message on another word names the most similar one."""

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the word."""
        try:
            return str(super().convert(value, param, ctx))
        except click.BadParameter as error:
            known = [str(choice) for choice in self.choices]
            raise click.BadParameter(
                error.message + did_you_mean(str(value), known), ctx=ctx, param=param
            ) from None


class IonMode(Choice):
    """``positive`` or ``negative``, also in other words that files use (``pos``)."""

    def __init__(self) -> None:
        super().__init__(["positive", "negative"])

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the word."""
        from specvae.spectra.values import parse_ion_mode  # not for commands without the option

        return super().convert(parse_ion_mode(str(value)) or value, param, ctx)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` with the most similar known word, or nothing."""
    alike = nearest(word, known, likeness=0.6)
    return f" Did you mean {alike!r}?" if alike else ""
