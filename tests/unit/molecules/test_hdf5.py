"""HDF5 files that are written where the disk is full, or a signal comes."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from specvae.molecules.fingerprint_cache import FingerprintCache
from specvae.molecules.hdf5 import WrittenFile, written_hdf5

DATA = np.random.default_rng(3).integers(0, 256, (3000, 64), dtype=np.uint8)


def write(path: Path, options: Mapping[str, str]) -> None:
    with written_hdf5(path, **options) as file:
        file.create_dataset("plain", data=DATA)
        for k in range(40):
            rows = DATA[: 50 * k + 50]
            file.create_dataset(f"packed{k}", data=rows, chunks=(50, 64), compression="gzip")
        file.create_dataset("text", data=["caf\u00e9"] * 100, dtype=h5py.string_dtype())
        file.attrs["n"] = 3


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}])
def test_what_is_written_is_read(tmp_path: Path, options: dict[str, str]) -> None:
    write(tmp_path / "x.h5", options)
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["plain"], DATA)
        np.testing.assert_array_equal(file["packed7"], DATA[:400])
        assert file["text"].asstr()[99] == "caf\u00e9"
        assert file.attrs["n"] == 3


@pytest.fixture(params=[2_000, 150_000])
def room(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let no file grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request.param, before[1]))
    yield request.param
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}])
def test_a_full_disk_is_told_at_the_end(tmp_path: Path, room: int, options: dict[str, str]) -> None:
    """HDF5 itself could not close the file, and ended the process by a segmentation fault."""
    with pytest.raises(OSError, match="too large") as caught:
        write(tmp_path / "x.h5", options)
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "x.h5").stat().st_size <= room


def test_what_is_not_written_is_read_back(tmp_path: Path, room: int) -> None:
    written = WrittenFile(tmp_path / "x.h5")
    data = bytes(range(256)) * 2000
    written.seek(100)
    assert written.write(memoryview(data)) == len(data)
    assert written.seek(0, os.SEEK_END) == written.tell() == 100 + len(data)
    for first, size in ((50, 700), (1_900, 300), (199_000, 3_000), (511_900, 300)):
        written.seek(first)
        expected = (bytes(100) + data)[first : first + size].ljust(size, b"\0")
        found = written.read(size)
        if first > 100:
            assert found == expected
    with pytest.raises(OSError, match="too large"):
        written.close()


def test_fingerprints_that_the_cache_has_no_room_for_are_kept_in_memory(
    tmp_path: Path, room: int
) -> None:
    cache = FingerprintCache(tmp_path)
    names = [str(k) for k in range(len(DATA))]
    cache.store("layout", names, DATA)
    assert room < DATA.size
    assert not list(tmp_path.rglob("*.h5"))
    found = cache.lookup("layout", names, 64)
    np.testing.assert_array_equal([found[name] for name in names], DATA)


class Signalling:
    """An open file; at one of the calls of its methods, Ctrl-C comes."""

    n_calls = 0
    at = -1

    def __init__(self, stream: Any) -> None:  # noqa: ANN401
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if Signalling.n_calls == Signalling.at:
            os.kill(os.getpid(), signal.SIGINT)
        Signalling.n_calls += 1
        return getattr(self._stream, name)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("options", [{}, {"libver": "latest"}])
def test_no_signal_is_lost_and_none_leaves_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """HDF5 lost the exception and went on, so that a file that lacked data seemed to be whole."""
    path = tmp_path / "x.h5"
    write(path, options)
    whole = path.read_bytes()
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *how, **options: Signalling(opened(path, *how, **options))
    )
    handler = signal.getsignal(signal.SIGINT)
    Signalling.n_calls, Signalling.at = 0, -1
    write(path, options)
    for at in range(0, Signalling.n_calls, 5):
        Signalling.n_calls, Signalling.at = 0, at
        with pytest.raises(KeyboardInterrupt):
            write(path, options)
        assert signal.getsignal(signal.SIGINT) is handler
        with opened(path, "rb") as stream:  # what was written is sound, and HDF5 in order
            assert stream.read() == whole
