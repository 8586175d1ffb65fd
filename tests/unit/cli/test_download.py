import errno
import hashlib
import io
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from specvae.cli import datasets
from specvae.cli import download as download_module
from specvae.cli.datasets import CATALOGUE, Dataset, RemoteFile
from specvae.cli.download import SUMS, DownloadError, download
from specvae.cli.package_model import CARD
from specvae.cli.package_model import SUMS as ARCHIVE_SUMS
from specvae.errors import InputError
from specvae.files import LOCK, exclusive

CONTENT = bytes(range(256)) * 4000  # about 1 MB
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A file server whose behaviour a test sets; it notes the range of each request."""

    address: str = ""
    content: bytes = CONTENT
    tag: str = '"v1"'
    statuses: list[int] = field(default_factory=list)  # answered first, one per request
    cut_after: list[int] = field(default_factory=list)  # bytes before the connection is cut
    without_ranges: bool = False
    wrong_ranges: int = 0  # how often another range is sent than was asked for
    content_type: str = "application/octet-stream"
    said_length: int | None = None  # in place of the true one
    ranges: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.ranges.append(wanted)
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            server.paths.append(self.path)
            if not self.path.endswith((".bin", ".zip")):
                self.send_error(404)
                return
            first = 0
            if (
                wanted
                and not server.without_ranges
                and self.headers.get("If-Range", server.tag) == server.tag
            ):
                first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            total = len(server.content)
            if first >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if first else 200)
            if first:
                if server.wrong_ranges:
                    server.wrong_ranges -= 1
                    first -= 1
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            self.send_header("ETag", server.tag)
            length = total - first if server.said_length is None else server.said_length
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", server.content_type)
            self.end_headers()
            body = server.content[first:]
            self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state))
    state.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(download_module, "PAUSES", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def offer(
    monkeypatch: pytest.MonkeyPatch, server: Server, checksum: str | None = MD5, path: str = ""
) -> None:
    """Put a data set `tiny` of one file into the catalogue."""
    file = RemoteFile("tiny.bin", f"{server.address}{path or '/file.bin'}", checksum, "this test")
    entry = Dataset("a tiny set", "https://example.org", "CC0", (file,), note="nothing to do")
    monkeypatch.setattr(datasets, "CATALOGUE", {**CATALOGUE, "tiny": entry})


def run(output: Path) -> Result:
    return CliRunner().invoke(download, ["tiny", "--output", str(output)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_the_file_arrives_verified_and_its_path_is_printed(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    result = run(tmp_path)
    path = tmp_path / "tiny" / "tiny.bin"
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "tiny") == ["tiny.bin"]
    assert "md5 verified" in result.stderr
    assert "CC0" in result.stderr


def test_a_verified_file_is_not_fetched_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    run(tmp_path)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "is there, md5 verified" in result.stderr
    assert server.ranges == [None]


def test_a_cut_connection_is_resumed_where_it_broke(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.cut_after = [400_000, 100_000]
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=500000-"]


def test_a_later_command_goes_on_from_what_an_earlier_one_left(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.cut_after = [300_000, 1, 1]
    failed = run(tmp_path)
    assert failed.exit_code == 1
    assert isinstance(failed.exception, DownloadError)
    assert "300,002 bytes are kept" in str(failed.exception)
    assert names(tmp_path / "tiny") == ["tiny.bin.part", "tiny.bin.part.tag"]
    assert run(tmp_path).exit_code == 0
    assert server.ranges[-1] == "bytes=300002-"
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT


def test_a_part_of_another_version_is_not_continued(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, checksum=None)
    server.cut_after = [300_000, 0, 0]
    assert run(tmp_path).exit_code == 1
    server.content, server.tag = CONTENT[::-1], '"v2"'
    assert run(tmp_path).exit_code == 0
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_the_whole_file_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.cut_after = [300_000]
    server.without_ranges = True
    assert run(tmp_path).exit_code == 0
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_not_appended(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.cut_after = [300_000]
    server.wrong_ranges = 1
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "the server answered with another range than asked for" in result.stderr
    assert server.ranges == [None, "bytes=300000-", None]
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT


def test_a_part_that_was_complete_already_is_accepted(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.bin.part").write_bytes(CONTENT)
    (folder / "tiny.bin.part.tag").write_text(server.tag)
    assert run(tmp_path).exit_code == 0
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    assert names(folder) == ["tiny.bin"]


def test_a_part_that_is_too_long_is_thrown_away(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny.bin.part").write_bytes(CONTENT + b"x")
    (folder / "tiny.bin.part.tag").write_text(server.tag)
    assert run(tmp_path).exit_code == 0
    assert (folder / "tiny.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_no_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, checksum=f"sha256:{'0' * 64}")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, DownloadError)
    message = str(result.exception)
    assert f"checksum is sha256:{SHA256}, wanted sha256:000" in message
    assert "\n" not in message
    assert names(tmp_path / "tiny") == []


def test_a_file_that_was_changed_on_disk_is_named_and_left_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    path = tmp_path / "tiny" / "tiny.bin"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    result = run(tmp_path)
    assert isinstance(result.exception, DownloadError)
    assert str(path) in str(result.exception)
    assert "delete the file" in str(result.exception)
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_without_a_published_checksum_the_first_one_is_remembered(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, checksum=None)
    result = run(tmp_path)
    sums = tmp_path / "tiny" / SUMS
    assert SHA256 in result.stderr
    assert sums.read_text() == f"{SHA256}  tiny.bin\n"
    assert "is there, sha256 verified" in run(tmp_path).stderr
    (tmp_path / "tiny" / "tiny.bin").write_bytes(b"changed")
    assert isinstance(run(tmp_path).exception, DownloadError)


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_one_line_and_not_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    offer(monkeypatch, server)
    server.statuses = [status]
    result = run(tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, DownloadError)
    assert f"{server.address}/file.bin: HTTP {status}" in str(result.exception)
    assert len(server.ranges) == 1
    assert names(tmp_path / "tiny") == []


def test_a_busy_server_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.statuses = [503, 429]
    assert run(tmp_path).exit_code == 0
    assert len(server.ranges) == 3


def test_no_network_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Port 9 (discard) of this machine: nothing listens there.
    server.address = "http://127.0.0.1:9"
    offer(monkeypatch, server)
    result = run(tmp_path)
    assert isinstance(result.exception, DownloadError)
    assert str(result.exception).startswith("http://127.0.0.1:9/file.bin: cannot be reached (")
    assert "\n" not in str(result.exception)


def test_a_folder_that_cannot_be_made_is_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    (tmp_path / "tiny").write_text("a file where the folder should be")
    result = run(tmp_path)
    assert isinstance(result.exception, InputError)
    assert str(tmp_path / "tiny") in str(result.exception)


def test_two_processes_do_not_write_one_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, checksum=None)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "lock").write_text("of a user", encoding="utf-8")
    with exclusive(tmp_path / "tiny", ""):
        refused = run(tmp_path)
        assert isinstance(refused.exception, InputError)
        assert "tiny: another process is downloading into this folder (process" in str(
            refused.exception
        )
        assert server.paths == []
    assert run(tmp_path).exit_code == 0
    assert names(tmp_path / "tiny") == ["SHA256SUMS", "lock", "tiny.bin"]
    with exclusive(tmp_path / "tiny", ""):  # what is there is only read
        assert run(tmp_path).exit_code == 0


def test_an_error_of_the_disk_leaves_no_file_under_the_final_name(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    offer(monkeypatch, server)
    monkeypatch.setattr(download_module, "_copy", full)
    result = run(tmp_path)
    assert isinstance(result.exception, DownloadError)
    assert str(result.exception).endswith("tiny.bin: No space left on device")
    assert not (tmp_path / "tiny" / "tiny.bin").exists()


def test_an_unknown_name_is_a_usage_error_that_lists_the_known() -> None:
    result = CliRunner().invoke(download, ["imagenet"])
    assert result.exit_code == 2
    assert "mona, massbank, casmi2017, mnist, svhn, cub and model" in result.stderr
    assert CliRunner().invoke(download, []).exit_code == 2


def test_the_list_names_every_address_and_licence() -> None:
    result = CliRunner().invoke(download, ["--list"])
    assert result.exit_code == 0
    for name, dataset in CATALOGUE.items():
        assert f"{name}: {dataset.title}" in result.stdout
        assert dataset.licence in result.stdout
        for file in dataset.files:
            assert file.url in result.stdout
            assert (file.checksum or "none published") in result.stdout


def test_quiet_says_only_the_path(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    result = CliRunner().invoke(download, ["tiny", "-o", str(tmp_path), "-q"])
    assert result.exit_code == 0
    assert result.stderr == ""


def test_checksums_in_the_catalogue_have_the_length_of_their_kind() -> None:
    lengths = {"md5": 32, "sha256": 64}
    for dataset in CATALOGUE.values():
        for file in dataset.files:
            if file.checksum is not None:
                kind, _, digest = file.checksum.partition(":")
                assert len(digest) == lengths[kind]
                assert set(digest) <= set("0123456789abcdef")


def test_a_web_page_is_not_taken_for_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, checksum=None)
    server.content, server.content_type = b"<html>please log in</html>", "text/html; charset=utf-8"
    result = run(tmp_path)
    assert isinstance(result.exception, DownloadError)
    assert "answered with a web page" in str(result.exception)
    assert names(tmp_path / "tiny") == []


def test_a_server_that_promises_more_than_it_sends_is_asked_for_the_rest(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked for what is missing, it says that there is no more: the file is whole."""
    offer(monkeypatch, server, checksum=None)
    server.said_length = len(CONTENT) + 5
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert server.ranges == [None, f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT


def test_a_server_that_promises_less_is_found_out_by_the_checksum(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.said_length = len(CONTENT) - 5
    result = run(tmp_path)
    assert isinstance(result.exception, DownloadError)
    assert "checksum is" in str(result.exception)


def test_a_mirror_gives_the_same_file_or_none(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server, path="/gone")
    mirror = f"{server.address}/mirror/"
    arguments = ["tiny", "-o", str(tmp_path), "--mirror", mirror]
    result = CliRunner().invoke(download, arguments)
    assert result.exit_code == 0, result.output
    assert server.paths == ["/mirror/tiny.bin"]
    assert (tmp_path / "tiny" / "tiny.bin").read_bytes() == CONTENT
    server.content = b"another file"
    arguments[2] = str(tmp_path / "other")
    result = CliRunner().invoke(download, arguments)
    assert "checksum is" in str(result.exception)


def test_a_proxy_of_the_environment_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)  # which remembers that there is none
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    offer(monkeypatch, server)
    file = RemoteFile("tiny.bin", "http://nowhere.invalid/tiny.bin", MD5, "this test")
    entry = Dataset("a tiny set", "https://example.org", "CC0", (file,))
    monkeypatch.setattr(datasets, "CATALOGUE", {**CATALOGUE, "tiny": entry})
    assert run(tmp_path).exit_code == 0
    monkeypatch.setattr(urllib.request, "_opener", None)
    assert server.paths == ["http://nowhere.invalid/tiny.bin"]


def archive(**files: bytes) -> bytes:
    """Return a model's archive; `files` replace some of what is in it."""
    contents = {"model.safetensors": b"weights", CARD: b"# my-model"} | files
    listed = {name: content for name, content in contents.items() if name != ARCHIVE_SUMS}
    digests = (f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in listed.items())
    contents.setdefault(ARCHIVE_SUMS, "\n".join(digests).encode())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, content in contents.items():
            opened.writestr(f"my-model/{name}", content)
    return packed.getvalue()


def fetch_model(server: Server, folder: Path, *options: str) -> Result:
    url = f"{server.address}/models/my-model.zip"
    return CliRunner().invoke(download, ["model", url, "-o", str(folder), *options])


def test_a_model_is_fetched_checked_and_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    server.cut_after = [50]
    sha256 = hashlib.sha256(server.content).hexdigest()
    result = fetch_model(server, tmp_path, "--sha256", sha256)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'my-model' / 'model.safetensors'}\n"
    assert names(tmp_path) == ["my-model"]
    assert names(tmp_path / "my-model") == [CARD, "model.safetensors"]
    again = fetch_model(server, tmp_path)
    assert "is there already" in str(again.exception)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive(**{ARCHIVE_SUMS: b"0  model.safetensors"}), "has the SHA-256"),
        (archive(**{"../escape": b"x"}), "no archive of specvae package-model"),
        (archive()[:-30], "no whole zip archive"),
        (b"PK" * 40, "no whole zip archive"),
    ],
)
def test_a_damaged_or_foreign_archive_leaves_no_model(
    server: Server, tmp_path: Path, content: bytes, said: str
) -> None:
    server.content = content
    result = fetch_model(server, tmp_path)
    assert result.exit_code == 1
    assert said in str(result.exception)
    assert not (tmp_path / "my-model").exists()
    assert not (tmp_path / "escape").exists()


def test_an_archive_whose_unpacking_was_interrupted_is_not_fetched_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.content = archive()
    rename = Path.rename
    tried: list[BaseException] = [KeyboardInterrupt(), OSError(errno.ENOSPC, "no room")]

    def failing(path: Path, target: Path) -> Path:
        if target == tmp_path / "my-model" and tried:
            raise tried.pop(0)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    stopped = fetch_model(server, tmp_path)
    kept = tmp_path / ".my-model.zip.download" / "my-model.zip"
    assert str(stopped.exception) == (
        f"interrupted; {kept} is kept, the same command goes on from there"
    )
    assert "no room" in str(fetch_model(server, tmp_path).exception)
    assert not (tmp_path / "my-model").exists()
    (kept.parent / LOCK).write_text("1")  # of a process that was killed
    n_asked = len(server.paths)
    assert fetch_model(server, tmp_path).exit_code == 0
    assert len(server.paths) == n_asked == 1
    assert names(tmp_path) == ["my-model"]
    assert names(tmp_path / "my-model") == [CARD, "model.safetensors"]


def test_a_part_of_another_version_is_gone_before_the_name_of_the_new_one_is_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that was killed between both would have mixed two versions in the next run."""
    offer(monkeypatch, server)
    server.cut_after = [300_000]
    with monkeypatch.context() as patch:
        patch.setattr("specvae.cli.download.PAUSES", ())
        assert run(tmp_path).exit_code == 1
    (part,) = tmp_path.rglob("*.part")
    server.tag = '"another"'
    found = []
    write_text = Path.write_text

    def killed(path: Path, *arguments: Any, **options: Any) -> int:  # noqa: ANN401
        n = write_text(path, *arguments, **options)
        if path.name.endswith(".part.tag"):
            found.append(part.exists())
        return n

    monkeypatch.setattr(Path, "write_text", killed)
    assert run(tmp_path).exit_code == 0
    assert found == [False]


def test_the_wrong_digest_of_a_model_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = archive()
    result = fetch_model(server, tmp_path, "--sha256", "0" * 64)
    assert "checksum is" in str(result.exception)
    assert fetch_model(server, tmp_path, "--sha256", "short").exit_code == 2
    for arguments in (["model"], ["model", "https://example.org/"], ["tiny", "https://x.org/a"]):
        assert CliRunner().invoke(download, arguments).exit_code == 2


def test_what_arrived_before_an_interruption_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, server)
    server.cut_after = [300_000]

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("specvae.cli.download.time.sleep", interrupted)
        failed = run(tmp_path)
    assert str(failed.exception) == (
        "interrupted; 300,000 bytes are kept, the same command goes on from there"
    )
    assert run(tmp_path).exit_code == 0
    assert server.ranges[-1] == "bytes=300000-"
