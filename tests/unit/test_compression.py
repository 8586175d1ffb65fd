"""Compressed files: content as it was, or one line or one skipped record where it is damaged."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from spectra_files import mgf_record, read_bytes

from specvae.annotation.library.compounds import read_truth
from specvae.compression import DECOMPRESSION_ERRORS, open_decompressed, uncompressed_name
from specvae.errors import InputError
from specvae.molecules.candidates import read_candidates
from specvae.report import Reason

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
}
ZSTD = next((n for n in ("compression", "backports") if find_spec(n)), "")
if ZSTD and find_spec(f"{ZSTD}.zstd"):  # Python's own library, or its backport
    library = import_module(f"{ZSTD}.zstd")
    # As the program zstd does; without a checksum nobody sees that a bit has changed.
    with_checksum = {library.CompressionParameter.checksum_flag: 1}
    PACK["zst"] = partial(library.compress, options=with_checksum)
CONTENT = random.Random(3).randbytes(300_000)
kinds = pytest.mark.parametrize("kind", PACK)


def write(folder: Path, content: bytes, name: str = "x") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@kinds
@pytest.mark.parametrize("n_streams", [1, 3])
def test_content_is_as_it_was(tmp_path: Path, kind: str, n_streams: int) -> None:
    step = -(-len(CONTENT) // n_streams)
    parts = [CONTENT[start : start + step] for start in range(0, len(CONTENT), step)]
    path = write(tmp_path, b"".join(map(PACK[kind], parts)))
    with open_decompressed(path) as stream:
        assert stream.read() == CONTENT
    with open_decompressed(path) as stream:
        pieces = list(iter(lambda: stream.read(1000), b""))
        assert stream.read(1) == b""  # asked again
    assert b"".join(pieces) == CONTENT


@kinds
def test_zeros_may_fill_the_end_and_nothing_else(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](b"some text\n")
    with open_decompressed(write(tmp_path, packed + b"\0" * 512)) as stream:
        assert stream.read() == b"some text\n"
    with (
        open_decompressed(write(tmp_path, packed + b"and more")) as stream,
        pytest.raises(DECOMPRESSION_ERRORS),
    ):
        stream.read()


@kinds
def test_what_stands_before_the_damage_is_read(tmp_path: Path, kind: str) -> None:
    def record(number: int) -> str:
        rng = random.Random(number)
        peaks = "".join(f"{50 + i + rng.random():.6f} {rng.random():.9f}\n" for i in range(400))
        return mgf_record(str(number), peaks=peaks)

    whole = PACK[kind]("".join(map(record, range(60))).encode())
    spectra, skips, _ = read_bytes(tmp_path, f"x.mgf.{kind}", whole[: len(whole) // 2])
    assert 10 < len(spectra) < 40
    assert [s.query_id for s in spectra] == [str(i) for i in range(len(spectra))]
    assert [skip.reason for skip in skips] == [Reason.TRUNCATED]
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    spectra, skips, _ = read_bytes(tmp_path, f"x.mgf.{kind}", damaged)
    assert len(spectra) < 60
    assert Reason.TRUNCATED in {skip.reason for skip in skips}


@kinds
def test_tables(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](b"query_id,smiles\nq,CCO\n")
    path = write(tmp_path, packed, f"x.csv.{kind}")
    assert read_candidates(path).smiles.tolist() == ["CCO"]
    assert read_truth(path) == {"q": "LFQSCWFLJHTTHZ"}
    path = write(tmp_path, packed[:-4], f"x.csv.{kind}")
    with pytest.raises(InputError, match="damaged or cut off"):
        read_candidates(path)


@kinds
def test_what_is_compressed_twice_is_refused(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](PACK[kind](mgf_record("a").encode()))
    with pytest.raises(InputError, match="compressed twice"):
        read_bytes(tmp_path, f"x.mgf.{kind}", packed)


def test_a_text_may_begin_like_a_compressed_file(tmp_path: Path) -> None:
    with open_decompressed(write(tmp_path, b"BZh9 is a name\n")) as stream:
        assert stream.read() == b"BZh9 is a name\n"


def test_names() -> None:
    names = ["a/X.MGF.gz", "x.csv.bz2", "x.sdf.XZ", "x.gz.csv", "CID-SMILES.gz"]
    assert [uncompressed_name(name) for name in names] == [
        "x.mgf", "x.csv", "x.sdf", "x.gz.csv", "cid-smiles",
    ]  # fmt: skip


def zstd_frame(content: bytes) -> bytes:
    """Return a frame of one block that is not compressed (RFC 8878)."""
    block = (len(content) << 3 | 1).to_bytes(3, "little")  # the last one, raw
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(content)]) + block + content


class Unpacker:
    """What Python's library for zstd has, for frames of `zstd_frame`."""

    def __init__(self) -> None:
        self.eof, self.needs_input, self.unused_data = False, True, b""
        self._seen = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._seen += data
        if len(self._seen) < 6 or len(self._seen) < 9 + (size := self._seen[5]):
            return b""
        if self._seen[6:9] != (size << 3 | 1).to_bytes(3, "little"):
            raise ValueError("no such block")
        self.eof, self.unused_data = True, self._seen[9 + size :]
        return self._seen[9 : 9 + size]


@pytest.mark.parametrize("library", ["compression.zstd", "backports.zstd"])
def test_zstd_by_the_library_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def installed(name: str) -> object:
        if name == library:
            return SimpleNamespace(ZstdDecompressor=Unpacker)
        raise ImportError(name)

    monkeypatch.setattr("specvae.compression.importlib.import_module", installed)
    frames = zstd_frame(b"query_id,smiles\n") + zstd_frame(b"q,CCO\n")
    path = write(tmp_path, frames, "x.csv.zst")
    assert read_candidates(path).smiles.tolist() == ["CCO"]
    spectra, skips, _ = read_bytes(tmp_path, "x.mgf.zst", zstd_frame(mgf_record("a").encode()))
    assert ([s.query_id for s in spectra], skips) == (["a"], [])
    for damaged in (frames[:-3], frames[:6] + b"\0" + frames[7:]):
        with pytest.raises(InputError, match="damaged or cut off"):
            read_candidates(write(tmp_path, damaged, "x.csv.zst"))


def test_zstd_without_a_library_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("specvae.compression.importlib.import_module", missing)
    wanted = r"is compressed by zstd, for which this Python has no library \(pip install backports"
    with pytest.raises(InputError, match=wanted):
        read_candidates(write(tmp_path, zstd_frame(b"smiles\nCCO\n"), "x.csv.zst"))
    with pytest.raises(InputError, match=wanted):
        read_bytes(tmp_path, "x.mgf.zst", zstd_frame(mgf_record("a").encode()))
