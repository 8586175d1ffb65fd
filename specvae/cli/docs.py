"""`specvae docs`."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import click

from specvae.cli.console import Console, echo, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command, did_you_mean
from specvae.errors import InputError

_INSTALLED = ("share", "doc", "specvae")


@click.command(cls=Command)
@click.argument("page", required=False, shell_complete=lambda *given: _beginning(given[-1]))
@settings_options
@verbosity
def docs(page: str | None) -> None:
    """Read the documentation, which is installed with the program.

    Without PAGE, the pages are listed. On a terminal a page is shown by the pager (the
    environment variable PAGER names another).

    \b
    Example:
      specvae docs
      specvae docs formats
    """
    known = pages()
    if page is None:
        width = max(map(len, known))
        for name, path in known.items():
            echo(f"{name:<{width}}  {_title(path)}")
        Console().log("'specvae docs PAGE' shows one of them.")
        return
    name = page.rpartition("/")[2].removesuffix(".md")
    if name not in known:
        raise click.UsageError(
            f"no page {page!r}; 'specvae docs' lists them.{did_you_mean(name, known)}"
        )
    text = known[name].read_text(encoding="utf-8")
    if sys.stdout is not None and sys.stdout.isatty():
        click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)


def _beginning(text: str) -> list[str]:
    """Return the pages whose name begins with a text, for the Tab key."""
    return [name for name in pages() if name.startswith(text)]


def pages() -> dict[str, Path]:
    """Return the pages of the documentation by name, of a checkout or of an installation.

    Raises
    ------
    InputError
        If there are none.
    """
    beside = Path(__file__).resolve().parents[2] / "docs"
    found = sorted(beside.glob("*.md")) if (beside / "formats.md").is_file() else _installed()
    if not found:
        raise InputError("the documentation is not installed beside the program; install it anew")
    return {path.stem: path for path in found}


def _installed() -> list[Path]:
    """Return the pages that a wheel installed beside the packages."""
    try:
        listed = files("specvae") or ()
    except PackageNotFoundError:
        return []
    return sorted(
        Path(str(file.locate()))
        for file in listed
        if file.parts[-4:-1] == _INSTALLED and file.suffix == ".md"
    )


def _title(path: Path) -> str:
    """Return the first heading of a page."""
    found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
