"""Files that a user names: missing ones, what stands in their place, and pipes."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from specvae.errors import InputError
from specvae.molecules.candidates import read_candidates
from specvae.report import ReadReport, Reason
from specvae.sources import (
    descriptor_of,
    from_home,
    is_pool,
    no_such_file,
    rewindable,
    with_sources,
)
from specvae.spectra.lines import sniff_format


def test_a_missing_file_names_the_one_beside_it_that_is_most_like_it(tmp_path: Path) -> None:
    for name in ("mylib.msp", "query.mgf"):
        (tmp_path / name).touch()
    wanted = f"no such file; did you mean {tmp_path / 'mylib.msp'}?"
    assert no_such_file(tmp_path / "mylib.mps") == wanted
    assert no_such_file(tmp_path / "candidates.csv") == "no such file"
    assert no_such_file(tmp_path / "absent" / "mylib.msp") == "no such file"
    (tmp_path / "link.msp").symlink_to("elsewhere.msp")
    wanted = "is a link to elsewhere.msp, which is not there"
    assert no_such_file(tmp_path / "link.msp") == wanted


def test_stdin_that_has_no_name_is_read_from_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows, or where it is a file that another user alone may open."""
    monkeypatch.setattr("specvae.sources._SOURCES", {})
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) != "/dev/stdin" and access(path, mode)
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"smiles\r\nCCO\r\n")))
    copy = rewindable(Path("/dev/stdin"), ".csv")
    assert (copy.suffix, copy.read_bytes()) == (".csv", b"smiles\r\nCCO\r\n")
    assert with_sources(str(copy)) == "stdin"
    with pytest.raises(InputError, match="stdin: was read already"):
        rewindable(Path("/dev/stdin"), ".csv")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="stdin: is closed"):
        rewindable(Path("/dev/stdin"))


def test_home_stands_where_the_shell_did_not_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert from_home(Path("~/x.csv")) == Path("/home/me/x.csv")
    for same in ("x~", "./a/~/x", "/tmp/~", "~no-such-user/x"):
        assert from_home(Path(same)) == Path(same)
    (tmp_path / "~").mkdir()
    assert from_home(Path("~/x.csv")) == Path("~/x.csv")


def feed(path: Path, content: bytes) -> threading.Thread:
    """Write into a named pipe, which waits for its reader."""
    thread = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


def test_what_a_pipe_brings_can_be_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "spectra"
    os.mkfifo(pipe)
    content = bytes(range(256)) * 4000  # more than a pipe holds
    thread = feed(pipe, content)
    copy = rewindable(pipe, ".csv")
    thread.join()
    assert copy.name == "spectra.csv"
    assert copy.read_bytes() == copy.read_bytes() == content


def test_a_pool_that_a_pipe_brings_is_known_by_its_name(tmp_path: Path) -> None:
    """It was said to be no text file."""
    pipe = tmp_path / "candidates"
    os.mkfifo(pipe)
    thread = feed(pipe, b"\x89HDF\r\n\x1a\n and so on")
    copy = rewindable(pipe, ".csv")
    thread.join()
    assert is_pool(copy)
    assert with_sources(f"{copy}: x") == f"{pipe}: x"


def test_files_folders_and_devices_are_read_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "x.mgf"
    file.write_text("x")
    for path in (file, tmp_path, Path("/dev/null"), tmp_path / "none"):
        assert rewindable(path) == path


def test_a_file_that_is_redirected_has_its_own_suffix(tmp_path: Path) -> None:
    table, other, gone = tmp_path / "x.tsv", tmp_path / "x", tmp_path / "y.tsv"
    for file in (table, other, gone):
        file.write_text("smiles\nCCO\n")
    with table.open() as named, other.open() as unnamed, gone.open() as removed:
        gone.unlink()
        opened = [Path(f"/dev/fd/{file.fileno()}") for file in (named, unnamed, removed)]
        assert rewindable(opened[0], ".csv") == table.resolve()
        for path in opened[1:]:
            copy = rewindable(path, ".csv")
            assert copy.suffix == ".csv"
            assert copy.read_text() == "smiles\nCCO\n"
        # The format of spectra is found by content, so that no suffix is wanted.
        assert rewindable(opened[1]) == opened[1]


def test_a_file_that_is_redirected_is_stored_where_no_name_opens_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS ``/dev/fd/3`` is no link, and goes on where the descriptor was read last."""
    file = tmp_path / "x.mgf"
    file.write_text("BEGIN IONS\n")
    resolve = Path.resolve
    monkeypatch.setattr(
        Path, "resolve", lambda path: path if path.parts[1] == "dev" else resolve(path)
    )
    with file.open() as stream:
        copy = rewindable(Path(f"/dev/fd/{stream.fileno()}"))
        assert copy.read_text() == "BEGIN IONS\n"
        assert with_sources(str(copy)) == f"/dev/fd/{stream.fileno()}"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no names of open files here")
def test_a_socket_is_read_as_a_pipe_is() -> None:
    """As by programs that start others with sockets for streams, and cannot be opened by name."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"BEGIN IONS\n")
        theirs.shutdown(socket.SHUT_WR)
        copy = rewindable(Path(f"/dev/fd/{ours.fileno()}"))
        assert copy.read_bytes() == b"BEGIN IONS\n"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("/dev/stdin", 0),
        ("/dev/stderr", 2),
        ("/dev/fd/63", 63),
        ("/proc/self/fd/1", 1),
        ("/dev/fd/x", None),
        ("/dev/shm/1", None),
        ("fd/1", None),
    ],
)
def test_names_of_open_files(name: str, number: int | None) -> None:
    assert descriptor_of(Path(name)) == number


def test_a_pipe_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "spectra"
    os.mkfifo(pipe)
    thread = feed(pipe, b"all of it")
    copy = rewindable(pipe)
    thread.join()
    feed(pipe, b"").join(0.1)
    with pytest.raises(InputError, match=rf"^{pipe}: was read already"):
        rewindable(pipe)
    # Messages name the pipe, not where its content is stored.
    assert with_sources(f"{copy}:3: what it says") == f"{pipe}:3: what it says"
    report = ReadReport()
    report.skip(str(copy), 3, "x", Reason.NO_PEAKS)
    assert report.skips[0].path == str(pipe)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a pointer of"),
        ("\n<!DOCTYPE html><html><body>404</body></html>\n", "a web page"),
        ("<HTML>\n", "a web page"),
    ],
)
def test_what_stands_in_a_file_s_place_is_named(tmp_path: Path, content: str, said: str) -> None:
    for name, read in (
        ("x.csv", read_candidates),
        ("x.mgf", sniff_format),
        ("x.mzML", sniff_format),
    ):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=f"is {said}.*fetch the file itself"):
            read(path)
