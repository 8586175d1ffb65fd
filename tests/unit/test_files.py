"""Files that appear whole or not at all, digests, and the report of what was skipped."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from specvae.errors import InputError, SpecvaeError
from specvae.files import (
    atomic_path,
    atomic_text,
    exclusive,
    from_home,
    json_ready,
    no_such_file,
    rewindable,
    sha256_of,
    temporary_folder,
    with_sources,
)
from specvae.molecules.candidates import read_candidates
from specvae.molecules.hdf5 import written_hdf5
from specvae.report import ReadReport, Reason, Skip
from specvae.spectra.lines import sniff_format
from specvae.vae.checkpoint import write_tensors


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


def test_one_record_is_no_plural() -> None:
    assert ReadReport(n_read=1).summary() == "1 spectrum read, 0 skipped"
    assert ReadReport(n_read=2).summary("candidates") == "2 candidates read, 0 skipped"
    assert ReadReport().kept(1, "spectra") == "1 record: 1 spectrum kept, 0 skipped"


def test_atomic_text_writes_utf8_with_newlines_as_given(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out.csv"
    with atomic_text(target) as stream:
        stream.write("β\r\nb\n")
        assert not target.exists()
    assert target.read_bytes() == "β\r\nb\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_atomic_text_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old", encoding="utf-8")

    def write_half() -> None:
        with atomic_text(target) as stream:
            stream.write("half")
            raise SpecvaeError("stop")

    with pytest.raises(SpecvaeError, match="stop"):
        write_half()
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_keeps_the_suffix_and_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "plot.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        assert temporary != target
        temporary.write_bytes(b"image")
    assert target.read_bytes() == b"image"
    assert not temporary.exists()


def test_json_ready_has_null_for_what_json_cannot_say() -> None:
    value = {"rank": math.inf, "ci": [1.5, math.nan], "n": (1, None), "deep": {"x": -math.inf}}
    ready = json_ready(value)
    assert ready == {"rank": None, "ci": [1.5, None], "n": [1, None], "deep": {"x": None}}
    json.dumps(ready, allow_nan=False)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_text(pipe) as stream:
            stream.write("through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    with atomic_text(link) as stream:
        stream.write("new")
        assert target.read_text(encoding="utf-8") == "old"
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("name", ["n" * 251 + ".csv", "ü" * 125 + ".h5", "x." + "s" * 250])
def test_names_may_be_as_long_as_the_system_lets_them_be(tmp_path: Path, name: str) -> None:
    other = name[:120] + "m" + name[121:]
    with atomic_text(tmp_path / name) as stream, atomic_text(tmp_path / other) as beside:
        stream.write("one")
        beside.write("other")
    assert (tmp_path / name).read_text(encoding="utf-8") == "one"
    assert (tmp_path / other).read_text(encoding="utf-8") == "other"


def test_containers_of_one_name_do_not_take_each_other_s_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that use their host's network have its name, and count processes anew."""
    stat = Path.stat

    def within(path: Path, **options: bool) -> os.stat_result:
        found = stat(path, **options)
        is_ours = str(path) == "/proc/self/ns/pid"
        return os.stat_result((found.st_mode, 7_000_001, *found[2:])) if is_ours else found

    with atomic_path(tmp_path / "a.csv") as outside:
        outside.touch()
    monkeypatch.setattr(Path, "stat", within)
    with atomic_path(tmp_path / "a.csv") as temporary:
        temporary.touch()
        assert "_7000001-" in temporary.name
        assert temporary.name != outside.name


def test_stdin_that_has_no_name_is_read_from_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Windows, or where it is a file that another user alone may open."""
    monkeypatch.setattr("specvae.files._SOURCES", {})
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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_folder_where_nothing_can_be_locked_is_nobody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive(tmp_path / "a", "taken") as _, exclusive(tmp_path / "a", "taken"):
        (tmp_path / "a" / "piece").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["piece"]


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


ABANDON = """
import os, sys
from pathlib import Path
from specvae.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_at_the_next_run(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ABANDON, tmp_path / "pool.h5"], check=False)
    (abandoned,) = tmp_path.iterdir()
    assert abandoned.name.endswith(".tmp.h5")
    number = next(part for part in re.split(r"[-.]", abandoned.name) if part.isdigit())
    host = abandoned.name.split(".")[2].removesuffix(f"-{number}")
    # Of a process that runs, of another computer, and of another program.
    others = [
        tmp_path / abandoned.name.replace(number, str(os.getppid())),
        tmp_path / abandoned.name.replace(host, "elsewhere"),
        tmp_path / ".notes.tmp.h5",
    ]
    for file in others:
        file.write_text("theirs")
    with atomic_text(tmp_path / "another.csv") as stream:
        stream.write("done")
    assert set(tmp_path.iterdir()) == {*others, tmp_path / "another.csv"}


@pytest.fixture
def little_space() -> Iterator[None]:
    """Let no file grow beyond 10 kB: to a program, that is a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_space")
@pytest.mark.parametrize("name", ["x.csv", "x.h5", "x.safetensors"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")

    def write() -> None:
        if name == "x.safetensors":
            write_tensors(path, {"x": torch.ones(10_000)}, {})
        elif name == "x.h5":
            with atomic_path(path) as temporary, written_hdf5(temporary) as file:
                file.create_dataset("x", data=np.ones(100_000))
        else:
            with atomic_text(path) as stream:
                stream.write("x" * 100_000)

    with pytest.raises(OSError, match="too large") as caught:
        write()
    assert caught.value.strerror
    assert "\n" not in caught.value.strerror
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_has_no_utf8_is_escaped(tmp_path: Path) -> None:
    with atomic_text(tmp_path / "x.csv") as stream:
        stream.write("caf\u00e9 \ud83d")
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "caf\u00e9 \\ud83d"


def test_sha256_of_is_the_digest_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_of(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_report_counts_by_reason_most_frequent_first() -> None:
    report = ReadReport(n_read=1234)
    report.skip("a.msp", 10, "x", Reason.ADDUCT)
    report.skip("a.msp", 20, "y", Reason.NO_PEAKS)
    report.skip("b.msp", 5, "z", Reason.NO_PEAKS, "0 declared")
    assert report.counts == {Reason.NO_PEAKS: 2, Reason.ADDUCT: 1}
    assert report.summary() == "1,234 spectra read, 3 skipped: no peaks (2), other adduct (1)"
    assert report.kept(1232, "spectra") == (
        "1,235 records: 1,232 spectra kept, 3 skipped: no peaks (2), other adduct (1)"
    )


def test_notes_of_one_kind_are_told_together() -> None:
    report = ReadReport(n_read=9)
    report.notes.update({"metal taken off: Cu": 4, "a note": 3, "metal taken off: Zn": 1})
    assert report.summary() == (
        "9 spectra read, 0 skipped; read with a note: metal taken off: Cu (4), Zn (1), a note (3)"
    )


def test_a_record_that_is_left_out_after_it_was_read_counts_as_skipped_alone() -> None:
    report = ReadReport(n_read=2)
    report.leave_out("a.msp", 10, "x", Reason.ADDUCT, "[M+K]+")
    assert report.summary() == "1 spectrum read, 1 skipped: other adduct (1)"


def test_report_without_skips_says_so() -> None:
    assert ReadReport(n_read=2).summary() == "2 spectra read, 0 skipped"


def test_strict_report_raises_at_a_malformed_record_only() -> None:
    report = ReadReport(strict=True)
    report.skip("a.msp", 1, "x", Reason.ION_MODE)
    with pytest.raises(InputError, match=r"^a\.msp:7: caffeine: .* \(2 of 3\)$") as caught:
        report.skip("a.msp", 7, "caffeine", Reason.PEAK_COUNT_MISMATCH, "2 of 3")
    assert "\n" not in str(caught.value)
    assert [skip.reason for skip in report.skips] == [Reason.ION_MODE]


def test_skip_names_its_place() -> None:
    assert str(Skip("a.mgf", 3, "q1", Reason.BAD_PEAK)) == (
        "a.mgf:3: q1: a peak is not two finite numbers"
    )


def test_report_csv_has_a_row_for_each_skip(tmp_path: Path) -> None:
    report = ReadReport()
    report.skip("a,b.msp", 3, 'he said "x"', Reason.BAD_FIELD, "line\nbreak")
    report.write_csv(tmp_path / "skipped.csv")
    with (tmp_path / "skipped.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["path", "line", "record", "reason", "detail"],
        ["a,b.msp", "3", 'he said "x"', "BAD_FIELD", "line break"],
    ]


def test_messages_are_one_line_of_bounded_length() -> None:
    assert str(InputError("x.csv:\x1b[2J found\n\0")) == "x.csv:\ufffd[2J found \ufffd"
    assert len(str(InputError("a" * 10**6))) <= 1000
    skip = Skip("x.mgf", 1, "n" * 10**6, Reason.NO_PEAKS)
    assert len(str(skip)) < 200


def test_filters_are_not_malformed_and_broken_records_are() -> None:
    assert Reason.TRUNCATED.is_malformed
    assert Reason.BAD_PEAK.is_malformed
    assert not Reason.EXCLUDED.is_malformed
    assert not Reason.MASS_MISMATCH.is_malformed


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


ABANDON_FOLDER = """
import os
from specvae.files import temporary_folder
print(temporary_folder(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    subprocess.run([sys.executable, "-c", ABANDON_FOLDER], check=False, capture_output=True)
    (abandoned,) = tmp_path.iterdir()
    others = [
        tmp_path / abandoned.name.replace(abandoned.name.split("-")[-2], str(os.getppid())),
        tmp_path / "specvae-of-a-user",
    ]
    for folder in others:
        folder.mkdir()
    assert set(tmp_path.iterdir()) == {abandoned, *others}
    made = temporary_folder()
    assert set(tmp_path.iterdir()) == {made, *others}


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
