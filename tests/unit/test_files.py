"""Files that appear whole or not at all, folders of one process alone, and digests."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from specvae import files
from specvae.errors import SpecvaeError
from specvae.files import (
    LOCK,
    atomic_path,
    atomic_text,
    exclusive,
    folder_beside,
    json_ready,
    sha256_of,
    temporary_folder,
)
from specvae.molecules.hdf5 import written_hdf5
from specvae.vae.checkpoint import write_tensors


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


ABANDON = """
import os, sys
from pathlib import Path
from specvae.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""
ABANDON_TENSORS = """
import os, sys
from pathlib import Path
import torch
from specvae.vae import checkpoint
def save_file(tensors, path, metadata):
    path.with_name(".tmpX1y2Z3").write_text("half")
    os.kill(os.getpid(), 9)
checkpoint.save_file = save_file
checkpoint.write_tensors(Path(sys.argv[1]), {"x": torch.ones(1)}, {})
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


def fail_within(made: AbstractContextManager[object]) -> None:
    with made as given:
        if isinstance(given, Path):
            (given / "file" if given.is_dir() else given).touch()
        raise ValueError


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
@pytest.mark.parametrize("how", [atomic_path, folder_beside, lambda path: exclusive(path, "no")])
def test_nothing_is_left_where_a_signal_comes_while_it_is_cleared_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Path], AbstractContextManager[object]],
) -> None:
    main = threading.main_thread().ident or 0

    def disturbed(remove: Callable[..., None]) -> Callable[..., None]:
        def removing(*arguments: Any, **options: Any) -> None:  # noqa: ANN401
            signal.pthread_kill(main, signal.SIGINT)
            remove(*arguments, **options)

        return removing

    monkeypatch.setattr(Path, "unlink", disturbed(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", disturbed(shutil.rmtree))
    with pytest.raises(KeyboardInterrupt):
        fail_within(how(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_what_safetensors_has_not_finished_is_removed_at_the_next_run(tmp_path: Path) -> None:
    """It gives names of its own, which say nothing of the process."""
    path = tmp_path / "model.safetensors"
    subprocess.run([sys.executable, "-c", ABANDON_TENSORS, path], check=False)
    assert [file.name for file in tmp_path.rglob("*")].count(".tmpX1y2Z3") == 1
    write_tensors(path, {"x": torch.ones(1)}, {})
    assert list(tmp_path.iterdir()) == [path]


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


def test_a_second_signal_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that come at once, the second came before signals were made to wait."""

    @contextmanager
    def disturbed() -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(files, "undisturbed", disturbed)
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "model").touch()
    with pytest.raises(KeyboardInterrupt), exclusive(folder, "taken"):
        raise KeyboardInterrupt
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_the_lock_of_a_process_that_is_gone_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("99999999", encoding="utf-8")
    with exclusive(tmp_path, "taken"):
        assert (tmp_path / LOCK).read_text(encoding="utf-8") == str(os.getpid())
    assert not (tmp_path / LOCK).exists()
