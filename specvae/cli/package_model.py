"""`specvae package-model`."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import click

from specvae.annotation.training.run_files import MODEL_FILE
from specvae.cli.console import Console, verbosity
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command
from specvae.cli.options import INPUT, model_file
from specvae.cli.outputs import require_paths
from specvae.counting import counted
from specvae.errors import ConfigError, InputError
from specvae.files import atomic_path, folder_beside

CARD = "MODEL_CARD.md"
SUMS = "SHA256SUMS"
_PACKED_FILES = (MODEL_FILE, CARD, SUMS)
_DATE = (1980, 1, 1, 0, 0, 0)  # the same model gives the same archive


@click.command("package-model", cls=Command)
@click.argument("model", type=INPUT)
@click.option("-o", "--output", type=INPUT, required=True, help="Archive to write, a .zip file.")
@click.option(
    "--licence",
    metavar="TEXT",
    default=None,
    help='Terms under which you give the model away, e.g. "CC BY-SA 4.0"; written to its card.',
)
@settings_options
@verbosity
def package_model(model: Path, output: Path, licence: str | None) -> None:
    """Pack a model for others: the model, its card and checksums in one archive.

    MODEL is a model folder or its model.safetensors. The state for resuming, the split and the
    record of the epochs are left out. The card lists the data, the licences stated in their
    records, figures, settings, versions and the digest. A model remembers the spectra and
    structures that it was trained on: give it away only if you may give away its data.

    \b
    Example:
      specvae package-model my-model -o my-model.zip --licence "CC BY-SA 4.0"
    """
    path = model_file(model)
    if output.suffix.lower() != ".zip" or not re.fullmatch(r"[\w.+-]+", output.stem):
        raise ConfigError(
            f"-o {output}: wanted NAME.zip, where NAME has letters, digits and . _ + - only"
        )
    require_paths({"MODEL": path}, {"--output": output})

    from specvae.annotation.output.card import licence_remarks, model_card
    from specvae.annotation.ranking.annotator import Annotator

    header = Annotator.load(path, "cpu").header  # compares the digests of what is packed
    card = model_card(header, output.stem, licence).encode()
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    sums = f"{digest}  {path.name}\n{hashlib.sha256(card).hexdigest()}  {CARD}\n"
    with (
        atomic_path(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        _add(archive, f"{output.stem}/{path.name}", path)
        _add(archive, f"{output.stem}/{CARD}", card)
        _add(archive, f"{output.stem}/{SUMS}", sums.encode())
    console = Console()
    console.log(f"{output}: {output.stem}/ with {path.name}, {CARD} and {SUMS}")
    for text, n in header.provenance.licences.items():
        console.log(f"licence {text}: {counted(n, 'spectra')}")
    for remark in licence_remarks(header):
        console.log(f"note: {remark}")
    click.echo(str(output))


def unpack_model(archive: Path, folder: Path) -> Path:
    """Unpack an archive of `package-model`; return the model's file.

    Nothing is written unless the archive holds a model, its card and checksums, and nothing else,
    and the checksums are right.

    Raises
    ------
    InputError
        If the file is no such archive, or damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack_whole(opened, archive, folder)
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, zlib.error, ValueError) as error:
        raise InputError(f"{archive}: no whole archive of a model ({error})") from None
    return folder / MODEL_FILE


def _unpack_whole(opened: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """Unpack model and card into a new folder, if the archive holds no more and the sums agree.

    The folder appears with both of them or not at all.
    """
    names = opened.namelist()
    entries = {PurePosixPath(name).name: name for name in names}
    if len(names) != len(_PACKED_FILES) or set(entries) != set(_PACKED_FILES):
        raise InputError(
            f"{archive}: found {', '.join(sorted(names)[:5])}, wanted "
            f"{', '.join(_PACKED_FILES)} in one folder: no archive of specvae package-model"
        )
    sums = opened.read(entries[SUMS]).decode("utf-8").splitlines()
    wanted = {name: digest for digest, _, name in (line.partition("  ") for line in sums)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(folder) as temporary:
        whole = temporary / folder.name
        whole.mkdir()
        for file in (whole / CARD, whole / MODEL_FILE):
            found = _unpack(opened, entries[file.name], file)
            if found != wanted.get(file.name):
                raise InputError(
                    f"{archive}: {file.name} has the SHA-256 {found}, "
                    f"wanted {wanted.get(file.name)}"
                )
        whole.rename(folder)


def _unpack(archive: zipfile.ZipFile, name: str, target: Path) -> str:
    """Write an entry of an archive to a file; return its SHA-256."""
    digest = hashlib.sha256()
    with archive.open(name) as source, target.open("wb") as stream:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    if isinstance(content, bytes):
        archive.writestr(entry, content)
        return
    entry.file_size = content.stat().st_size
    with content.open("rb") as source, archive.open(entry, "w") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
