"""``specvae download``: fetch public data sets, resumable and verified."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

import click

from specvae import __version__
from specvae.cli import datasets
from specvae.cli.console import Console, verbosity
from specvae.cli.datasets import Dataset, RemoteFile
from specvae.cli.defaults import settings_options
from specvae.cli.help import Command, did_you_mean
from specvae.cli.options import INPUT
from specvae.cli.package_model import unpack_model
from specvae.errors import InputError, SpecvaeError
from specvae.files import LOCK, atomic_text, exclusive, sha256_of
from specvae.interruption import telling

SUMS = "SHA256SUMS"
_CHUNK = 1 << 18  # bytes
_TIMEOUT = 30.0  # s without a byte
_MODEL = "model"
_ARCHIVE = re.compile(r"[\w.+-]+\.zip")
PAUSES = (1.0, 3.0, 9.0)  # s before each further try

# What urllib lets through unwrapped when a connection fails.
_CONNECTION_ERRORS = (http.client.HTTPException, ConnectionError, TimeoutError)

Progress = Callable[[int, int | None], None]


class DownloadError(SpecvaeError):
    """A file could not be fetched, or differs from the published one."""


class _InterruptedError(Exception):
    """A failure after which another try may succeed."""


# --- The command ----------------------------------------------------------------------------------


@click.command(cls=Command)
@click.argument("name", required=False, shell_complete=lambda *given: _beginning(given[-1]))
@click.argument("url", required=False)
@click.option(
    "-o",
    "--output",
    type=INPUT,
    default=Path("data/cache"),
    show_default=True,
    help="Folder for data sets; each gets a folder of its own in it.",
)
@click.option(
    "--mirror",
    metavar="URL",
    default=None,
    help="Fetch each file from this address with its name behind it, instead of the published one.",
)
@click.option(
    "--sha256",
    metavar="HEX",
    default=None,
    help="With 'model': what the archive's SHA-256 must be.",
)
@click.option("--list", "list_only", is_flag=True, help="List the data sets and exit.")
@settings_options
@verbosity
def download(
    name: str | None,
    url: str | None,
    output: Path,
    mirror: str | None,
    sha256: str | None,
    list_only: bool,
) -> None:
    """Fetch a public data set (massbank, mona, casmi2017, mnist, svhn, cub), or a model.

    Prints the paths of the files. An interrupted download continues when the command is run again.
    Files are checked against their published checksum. Where none is published, the SHA-256 of the
    download is kept beside the file and checked from then on. A proxy is taken from the environment
    (https_proxy, http_proxy).

    'model' takes the address of an archive that 'specvae package-model' wrote, checks what is in it
    and unpacks it into a folder of its name.

    \b
    Example:
      specvae download massbank
      specvae download model https://example.org/my-model.zip -o .
    """
    if list_only:
        for key, dataset in datasets.CATALOGUE.items():
            click.echo(_described(key, dataset))
        return
    if name == _MODEL:
        _download_model(url, output, sha256)
        return
    if url is not None or sha256 is not None:
        raise click.UsageError("an address and --sha256 go with 'model' only.")
    if name is None or name not in datasets.CATALOGUE:
        known = [*datasets.CATALOGUE, _MODEL]
        found = "no data set is named" if name is None else f"{name!r} is not a known data set"
        hint = did_you_mean(name or "", known)
        raise click.UsageError(f"{found}; known are {', '.join(known[:-1])} and {_MODEL}.{hint}")
    console = Console()
    dataset = datasets.CATALOGUE[name]
    console.log(f"{dataset.title}\nlicence: {dataset.licence}; see {dataset.source}")
    for file in dataset.files:
        if mirror is not None:
            file = replace(file, url=f"{mirror.rstrip('/')}/{file.name}")
        path = fetch(file, output / name, console)
        click.echo(str(path))
    if dataset.note:
        console.log(f"note: {dataset.note}")


def _beginning(text: str) -> list[str]:
    """Return the names of data sets that begin with a text, for the Tab key."""
    return [name for name in (*datasets.CATALOGUE, _MODEL) if name.startswith(text)]


def _download_model(url: str | None, output: Path, sha256: str | None) -> None:
    """Fetch an archive, unpack it beside its own place, and remove it.

    It stays where the unpacking failed by a full disk or Ctrl-C, so that it is not fetched again.
    """
    name = PurePosixPath(urlsplit(url or "").path).name
    if url is None or not _ARCHIVE.fullmatch(name):
        raise click.UsageError(
            "download model takes the address of an archive, such as "
            "https://example.org/my-model.zip."
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise click.UsageError(f"--sha256 is {sha256!r}; wanted 64 hexadecimal digits.")
    folder = output / name.removesuffix(".zip")
    if folder.exists():
        raise DownloadError(f"{folder}: is there already; -o names another folder for the model")
    checksum = None if sha256 is None else f"sha256:{sha256.lower()}"
    console = Console()
    store = output / f".{name}.download"
    archive = fetch(RemoteFile(name, url, checksum, "as given"), store, console)
    try:
        with _one_line_errors(archive), telling(lambda: f"{archive} is kept, {_SAME_COMMAND}"):
            path = unpack_model(archive, folder)
    except InputError:
        _remove_archive(archive)
        raise
    _remove_archive(archive)
    click.echo(str(path))


def _remove_archive(archive: Path) -> None:
    """Remove an archive with its folder, in which a killed process may have left a lock."""
    archive.unlink(missing_ok=True)
    for name in (SUMS, LOCK):
        (archive.parent / name).unlink(missing_ok=True)
    archive.parent.rmdir()


def _described(key: str, dataset: Dataset) -> str:
    lines = [f"{key}: {dataset.title}", f"  source: {dataset.source}"]
    lines.append(f"  licence: {dataset.licence}")
    for file in dataset.files:
        lines.append(f"  file: {file.name} from {file.url}")
        lines.append(f"    checksum: {file.checksum or 'none published'}")
        lines.append(f"    address: {file.origin}")
    if dataset.note:
        lines.append(f"  note: {dataset.note}")
    return "\n".join(lines)


# --- Fetching -------------------------------------------------------------------------------------


def fetch(file: RemoteFile, directory: Path, console: Console) -> Path:
    """Fetch one file into `directory` unless it is there, and verify it.

    Bytes are collected in ``NAME.part``, which a later call continues. Only a complete and verified
    file gets the final name. One process at a time has the folder.

    Parameters
    ----------
    file
        What to fetch.
    directory
        Created if it is missing; holds ``SHA256SUMS`` for files without a published checksum.
    console
        Shows progress and log lines.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DownloadError
        If the server refuses, the connection keeps breaking, or the bytes are not the published
        ones. A wrong file that has just arrived is removed; one that was there before is kept.
    InputError
        If another process is downloading into the folder, or it cannot be made.
    """
    path = directory / file.name
    with _one_line_errors(path):
        if path.exists():
            _verify_present(file, path, console)
            _Part(path).remove()  # of a process that was killed when it had just given the name
            return path
        with exclusive(directory, f"{directory}: another process is downloading into this folder"):
            if path.exists():  # by then
                _verify_present(file, path, console)
                return path
            part = _Part(path)
            with telling(lambda: _kept(part)):
                _gather(file.url, part, console)
            _accept(file, part, console)
    return path


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror or error}") from None


@dataclass(frozen=True)
class _Part:
    """An incomplete file, and the server's name for the version that its bytes belong to."""

    path: Path  # of the complete file

    @property
    def file(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def tag_file(self) -> Path:
        return self.path.with_name(self.path.name + ".part.tag")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    @property
    def tag(self) -> str:
        return self.tag_file.read_text(encoding="utf-8") if self.tag_file.exists() else ""

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
        self.tag_file.unlink(missing_ok=True)


def _gather(url: str, part: _Part, console: Console) -> None:
    """Fetch until the part is complete, trying again after interruptions."""
    for pause in (*PAUSES, None):
        try:
            _continue(url, part, lambda n, total: console.progress(part.path.name, n, total))
            return
        except _InterruptedError as interruption:
            if pause is None:
                kept = "; ".join(filter(None, (str(interruption), _kept(part))))
                raise DownloadError(f"{url}: {kept}") from None
            console.log(f"{url}: {interruption}; next try in {pause:g} s")
            time.sleep(pause)


def _kept(part: _Part) -> str:
    """Return the message on a download that ended early, "" if nothing of it is kept."""
    n = part.size
    return f"{n:,} bytes are kept, {_SAME_COMMAND}" if n else ""


_SAME_COMMAND = "the same command goes on from there"


def _continue(url: str, part: _Part, on_progress: Progress) -> None:
    """Request the missing bytes once, and append them.

    Raises
    ------
    _InterruptedError
        If the connection fails or ends early; what arrived is in the part.
    DownloadError
        If the server refuses the request.
    """
    # Without the name of the version, bytes of two versions could be mixed.
    done = part.size if part.tag else 0
    headers = {"User-Agent": f"specvae/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": part.tag}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        ) as response:
            _require_no_page(response, url)
            is_rest = response.status == 206 and _start(response) == done
            if response.status == 206 and not is_rest:
                part.remove()
                raise _InterruptedError("the server answered with another range than asked for")
            if not is_rest:
                done = 0
                tag = response.headers.get("ETag") or ""
                # A weak tag does not promise the same bytes.
                if not tag or tag.startswith("W/"):
                    tag = response.headers.get("Last-Modified") or ""
                # What is there is of another version, and must not be continued as one of this.
                part.file.unlink(missing_ok=True)
                part.tag_file.write_text(tag, encoding="utf-8")
            length = response.headers.get("Content-Length")
            total = done + int(length) if length and length.isdecimal() else None
            with part.file.open("ab" if is_rest else "wb") as stream:
                done = _copy(response, stream, done, total, on_progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and _is_complete(error.headers.get("Content-Range"), done):
            return
        raise _refusal(error, url, part) from None
    except urllib.error.URLError as error:
        raise _InterruptedError(f"cannot be reached ({_cause(error.reason)})") from None
    except _CONNECTION_ERRORS as error:
        raise _InterruptedError(f"gave no answer ({_cause(error)})") from None
    if total is not None and done < total:
        raise _InterruptedError(f"connection ended after {done:,} of {total:,} bytes")


def _require_no_page(response: http.client.HTTPResponse, url: str) -> None:
    """Refuse a web page in place of the file, such as a login or a notice that it has moved."""
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise DownloadError(
            f"{url}: the server answered with a web page, not with the file; "
            "see whether a browser can fetch it, or name another place by --mirror"
        )


def _refusal(error: urllib.error.HTTPError, url: str, part: _Part) -> Exception:
    """Return the error to raise: an interruption if another try may help, else a final one."""
    if error.code == 416:  # nothing at that offset: the part is of another version
        part.remove()
        return _InterruptedError("the server has another file than before")
    if error.code in (408, 429) or error.code >= 500:
        return _InterruptedError(f"HTTP {error.code} {error.reason}")
    return DownloadError(f"{url}: HTTP {error.code} {error.reason}")


def _copy(
    response: http.client.HTTPResponse,
    stream: IO[bytes],
    done: int,
    total: int | None,
    on_progress: Progress,
) -> int:
    """Append the bytes of the response; return the size of the file."""
    while True:
        try:
            chunk = response.read(_CHUNK)
        except _CONNECTION_ERRORS as error:
            raise _InterruptedError(
                f"connection broke after {done:,} bytes ({_cause(error)})"
            ) from None
        if not chunk:
            return done
        stream.write(chunk)
        done += len(chunk)
        on_progress(done, total)


def _start(response: http.client.HTTPResponse) -> int | None:
    """Return the offset of the first byte in ``Content-Range: bytes 5-9/10``."""
    text = (response.headers.get("Content-Range") or "").removeprefix("bytes ")
    first = text.partition("-")[0]
    return int(first) if first.isdecimal() else None


def _is_complete(content_range: str | None, size: int) -> bool:
    """Return whether `size` is the full size in ``Content-Range: bytes */10``."""
    total = (content_range or "").rpartition("/")[2]
    return total.isdecimal() and int(total) == size


def _cause(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


# --- Verification ---------------------------------------------------------------------------------


def _accept(file: RemoteFile, part: _Part, console: Console) -> None:
    """Rename a complete part to its final name if its checksum is the published one.

    Without a checksum, an archive is at least tested for truncation, as a server may state a wrong
    length.
    """
    sha256 = sha256_of(part.file)
    if file.checksum is not None:
        found = _digest(part.file, file.checksum)
        if found != file.checksum:
            part.remove()
            raise DownloadError(
                f"{file.url}: checksum is {found}, wanted {file.checksum}; the file was not kept"
            )
        console.log(f"{file.name}: {file.checksum.partition(':')[0]} verified")
    else:
        if part.path.suffix == ".zip" and not zipfile.is_zipfile(part.file):
            part.remove()
            raise DownloadError(f"{file.url}: is no whole zip archive; the file was not kept")
        _remember(part.path, sha256)
        console.log(f"{file.name}: no checksum is published; sha256 {sha256} kept in {SUMS}")
    part.file.replace(part.path)
    part.remove()


def _verify_present(file: RemoteFile, path: Path, console: Console) -> None:
    """Check a file that is already there against its published or stored checksum."""
    wanted = file.checksum
    if wanted is None:
        remembered = _remembered(path.parent).get(path.name)
        wanted = f"sha256:{remembered}" if remembered else None
    if wanted is None:
        console.log(f"{path}: is there, not verified (no checksum is known)")
        return
    found = _digest(path, wanted)
    if found != wanted:
        raise DownloadError(
            f"{path}: checksum is {found}, wanted {wanted}; delete the file to fetch it again"
        )
    console.log(f"{file.name}: is there, {wanted.partition(':')[0]} verified")


def _digest(path: Path, like: str) -> str:
    algorithm = like.partition(":")[0]
    with path.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _remembered(directory: Path) -> dict[str, str]:
    """Return file name -> digest of a ``SHA256SUMS`` in the format of sha256sum."""
    path = directory / SUMS
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[1].removeprefix("*"): pair[0] for pair in pairs if len(pair) == 2}


def _remember(path: Path, sha256: str) -> None:
    sums = _remembered(path.parent) | {path.name: sha256}
    with atomic_text(path.parent / SUMS) as stream:
        stream.writelines(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
