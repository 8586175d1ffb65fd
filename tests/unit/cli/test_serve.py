"""The local server: from upload to download, and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import ctypes
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import run_specvae
from shard_examples import write_run

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")

import uvicorn
from starlette.testclient import TestClient

from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.run import RankingRun
from specvae.cli import serving
from specvae.cli.annotate import annotate
from specvae.cli.serving import RESULTS, JobRunner, RequestLimits, Server, create_app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def annotator(folder: Path) -> Annotator:
    return Annotator.load(folder / "m.safetensors", "cpu")


@pytest.fixture
def runner(folder: Path, annotator: Annotator, tmp_path: Path) -> JobRunner:
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    return JobRunner(annotator, folder / "m.safetensors", rooms)


@pytest.fixture
def client(runner: JobRunner) -> Iterator[TestClient]:
    with TestClient(create_app(runner), base_url="http://127.0.0.1:8000") as client:
        yield client


def submit(client: TestClient, folder: Path, **fields: str) -> Any:  # noqa: ANN401 - httpx's Response
    files = [
        ("spectra", ("q.mgf", (folder / "q.mgf").read_bytes())),
        ("candidates", ("c.csv", (folder / "c.csv").read_bytes())),
    ]
    return client.post("/api/jobs", files=files, data=fields)


def finished(client: TestClient, job: str, seconds: float = 400.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if state["state"] in ("done", "failed"):
            return state
        time.sleep(0.02)
    raise AssertionError("the job does not end")


def test_what_is_dropped_comes_back_as_tables_and_report(
    client: TestClient, runner: JobRunner, folder: Path, tmp_path: Path
) -> None:
    answer = submit(client, folder, ppm="10", top="2")
    assert answer.status_code == 202
    job = answer.json()["job"]
    state = finished(client, job)
    assert state["state"] == "done", state
    assert (state["done"], state["files"]) == (state["total"], list(RESULTS))
    assert any("9 of 12 queries ranked" in line for line in state["lines"])
    found = {name: client.get(f"/api/jobs/{job}/{name}") for name in RESULTS}
    assert {name for name, got in found.items() if got.status_code != 200} == set()
    output = tmp_path / "r.csv"
    arguments = [
        folder / "q.mgf", "--candidates", folder / "c.csv", "--model", folder / "m.safetensors",
        "--jobs", 1, "--top", 2, "-o", output,
    ]  # fmt: skip
    assert CliRunner().invoke(annotate, list(map(str, arguments))).exception is None
    assert found["ranked.csv"].content == output.read_bytes()
    assert b'id="queries"' in found["report.html"].content
    made = json.loads(found["provenance.json"].content)
    assert made["inputs"]["queries"][0]["path"] == "q.mgf"
    # Nothing says where on this machine anything lies; what was uploaded is gone.
    for name, got in found.items():
        assert str(tmp_path).encode() not in got.content, name
        assert str(folder).encode() not in got.content, name
    room = runner.jobs[job].folder
    assert sorted(path.name for path in room.iterdir()) == sorted(RESULTS)
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert not room.exists()
    assert client.get(f"/api/jobs/{job}").status_code == 404


def test_several_adducts_can_be_tried(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "q.mgf").write_text(
        "BEGIN IONS\nTITLE=q\nPEPMASS=217.0696\nIONMODE=positive\n110.07 5\nEND IONS\n"
    )
    (tmp_path / "c.csv").write_text("smiles\nCn1c(=O)c2c(ncn2C)n(C)c1=O\n")
    job = submit(client, tmp_path, try_adducts="[M+H]+,[M+Na]+").json()["job"]
    assert finished(client, job)["state"] == "done"
    (row,) = csv.DictReader(io.StringIO(client.get(f"/api/jobs/{job}/ranked.csv").text))
    assert (row["rank"], row["adduct"]) == ("1", "[M+Na]+")


def test_the_page_offers_what_the_lines_of_a_job_advise(client: TestClient, tmp_path: Path) -> None:
    """One answer for the spectra of a feature could only be had from the terminal."""
    page = client.get("/").text
    for field, value in (("merge_by", "FEATURE_ID"), ("try_adducts", "common")):
        assert f'type="checkbox" name="{field}" value="{value}"' in page
    (tmp_path / "q.mgf").write_text(
        "BEGIN IONS\nFEATURE_ID=q\nPEPMASS=217.0696\nIONMODE=positive\n110.07 5\nEND IONS\n" * 2
    )
    (tmp_path / "c.csv").write_text("smiles\nCn1c(=O)c2c(ncn2C)n(C)c1=O\n")
    for fields in ({}, {"try_adducts": "common", "merge_by": "FEATURE_ID"}):
        job = submit(client, tmp_path, **fields).json()["job"]
        said = " ".join(finished(client, job)["lines"])
        assert ("--merge-by FEATURE_ID gives one answer" in said) == (not fields)
        rows = list(csv.DictReader(io.StringIO(client.get(f"/api/jobs/{job}/ranked.csv").text)))
        assert len(rows) == (1 if fields else 2)


def test_all_candidates_and_files_of_one_name_have_the_same_result_each_time(
    client: TestClient, folder: Path
) -> None:
    """The second file of a name was called by a random one, which stands in the table."""
    queries, candidates = (folder / "q.mgf").read_bytes(), (folder / "c.csv").read_bytes()
    files = [*[("spectra", ("q.mgf", queries))] * 3, ("candidates", ("c.csv", candidates))]
    answers = []
    for _ in range(2):
        job = client.post("/api/jobs", files=files, data={"top": "all"}).json()["job"]
        assert finished(client, job)["state"] == "done"
        answers.append(client.get(f"/api/jobs/{job}/ranked.csv").text)
    rows = list(csv.DictReader(io.StringIO(answers[0])))
    assert list(dict.fromkeys(row["file"] for row in rows)) == ["q.mgf", "2-q.mgf", "3-q.mgf"]
    shown = Counter((row["file"], row["query_id"]) for row in rows if row["rank"])
    assert all(shown[row["file"], row["query_id"]] in (0, int(row["n_candidates"])) for row in rows)
    assert max(shown.values()) > 1
    assert answers[0] == answers[1]


def test_the_page_is_served_with_a_policy(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert 'name="spectra"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("has_own", [False, True])
def test_the_page_says_whether_candidates_are_needed(
    runner: JobRunner, folder: Path, has_own: bool
) -> None:
    """It asked for them in the same words where the server has some."""
    runner.candidates = folder / "c.csv" if has_own else None
    with TestClient(create_app(runner), base_url="http://127.0.0.1:8000") as client:
        page = client.get("/").text
    assert "{{" not in page
    asked = page[page.index("Candidates") : page.index("table of candidates")]
    assert (" required " in asked, "else the server's own" in asked) == (not has_own, has_own)


def test_bad_requests_are_told_in_one_line(client: TestClient, folder: Path) -> None:
    for fields, said in (
        ({"ppm": "wide"}, "ppm: found 'wide', wanted a number"),
        ({"ppm": "1_0"}, "ppm: found '1_0', wanted a number"),
        ({"known": "0.4,0.0_1"}, "known: found '0.4,0.0_1', wanted a number"),
        ({"top": "1_0"}, "top: found '1_0', wanted a number or all"),
        ({"ppm": "-1"}, "ppm: found -1.0"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"top": "0"}, "top: wanted"),
        ({"top": "some"}, "top: found 'some', wanted a number or all"),
        ({"min_probability": "2"}, "min_probability: wanted a number from 0 to 1"),
        ({"min_probability": "nan"}, "min_probability: wanted a number from 0 to 1"),
        ({"ion_mode": "up"}, "ion_mode: found 'up', wanted positive or negative"),
        ({"assume_ion_mode": "+"}, "assume_ion_mode: found '+', wanted positive or negative"),
        ({"assume_adduct": "[M+Qq]+"}, "[M+Qq]+"),
        ({"try_adducts": "[M+H]+,[M+Qq]+"}, "[M+Qq]+"),
    ):
        answer = submit(client, folder, **fields)
        assert answer.status_code == 400
        assert said in answer.json()["error"]
    answer = client.post("/api/jobs", files=[("queries", ("q.mgf", b"x"))])
    assert answer.status_code == 400
    assert answer.json()["error"] == "unknown field 'queries'"
    answer = client.post("/api/jobs", files=[("spectra", ("q.mgf", b"x"))])
    assert "candidates: found none" in answer.json()["error"]
    answer = client.post("/api/jobs", data={"ppm": "1"})
    assert answer.status_code == 415
    spectra = ("spectra", ("q.mgf", b"x"))
    two = [spectra, *(("candidates", (name, b"smiles\nCCO\n")) for name in ("a.csv", "b.csv"))]
    answer = client.post("/api/jobs", files=two)
    assert answer.status_code == 400
    assert answer.json()["error"] == "candidates: found 2, wanted one"
    answer = client.post("/api/jobs", files=[spectra], data={"ppm": ["1", "2"]})
    assert answer.json()["error"] == "ppm: found 2, wanted one"


def test_what_would_be_left_out_of_a_form_is_refused(client: TestClient, folder: Path) -> None:
    spectra = (folder / "q.mgf").read_bytes()
    whole = b"".join(
        (
            b'--B\r\nContent-Disposition: form-data; name="spectra"; filename="q.mgf"\r\n\r\n',
            spectra,
            b'\r\n--B\r\nContent-Disposition: form-data; name="candidates"; filename="c.csv"',
            b"\r\n\r\nsmiles\nCCO\n",
            b'\r\n--B\r\nContent-Disposition: form-data; name="ppm"\r\n\r\n',
            b"5\r\n--B--\r\n",
        )
    )
    of_form = {"Content-Type": "multipart/form-data; boundary=B"}
    as_text = whole.replace(b'; filename="c.csv"', b"")
    for body, headers, status, said in (
        (whole[:-8], of_form, 400, "the form has no end: its last part is lost"),
        (as_text, of_form, 400, "candidates: found text, wanted a file"),
        (whole.replace(b"ppm", b"candidate"), of_form, 400, "unknown field 'candidate'"),
        (whole, {**of_form, "Content-Encoding": "gzip"}, 415, "found a body in gzip, wanted"),
        (b"{}", {"Content-Type": "application/json"}, 415, "found application/json, wanted"),
        (whole.replace(b"5\r", b"x" * 9000 + b"\r"), of_form, 400, "ppm: found 'xxx"),
    ):
        answer = client.post("/api/jobs", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"].startswith(said)
        assert len(answer.content) < 1000
    nameless = whole.replace(b'filename="c.csv"', b'filename=""')
    for body in (whole, nameless):
        assert client.post("/api/jobs", content=body, headers=of_form).status_code == 202


def test_a_job_that_is_removed_ends(
    client: TestClient, runner: JobRunner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept the thread that ranks until its end, and the others waiting."""
    begun = threading.Event()

    class Endless(RankingRun):
        def results(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - never returns
            while True:
                begun.set()
                self._progress.progress("breaking candidates", 1, 2)
                time.sleep(0.01)

    with monkeypatch.context() as patched:
        patched.setattr(serving, "RankingRun", Endless)
        job = submit(client, folder).json()["job"]
        assert begun.wait(60)
    room = runner.jobs[job].folder
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert finished(client, submit(client, folder).json()["job"])["state"] == "done"
    assert not room.exists()


def test_a_client_that_goes_away_is_no_error(
    runner: JobRunner, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def goes_away() -> Any:  # noqa: ANN401 - a message of ASGI
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=B")]
    scope = {
        "type": "http", "method": "POST", "path": "/api/jobs", "query_string": b"",
        "headers": headers,
    }  # fmt: skip
    asyncio.run(create_app(runner)(scope, goes_away, send))
    assert sent[0]["status"] == 400
    assert caplog.text == ""


def test_a_defect_is_logged_where_the_server_runs(
    client: TestClient,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of a test")

    monkeypatch.setattr(serving.JobRunner, "_rank", fail)
    state = finished(client, submit(client, folder).json()["job"])
    assert state["error"] == "internal error: ZeroDivisionError"
    assert "ZeroDivisionError: of a test" in caplog.text


def test_what_is_left_out_of_an_upload_is_said(client: TestClient, folder: Path) -> None:
    files = [
        ("spectra", ("q.mgf", (folder / "q.mgf").read_bytes())),
        ("candidates", ("c.csv", (folder / "c.csv").read_bytes() + b"C1CC\n")),
    ]
    job = client.post("/api/jobs", files=files).json()["job"]
    state = finished(client, job)
    assert any("1 skipped: structure cannot be parsed (1)" in line for line in state["lines"])
    listed = client.get(f"/api/jobs/{job}/skipped.csv").text
    assert "C1CC" in listed
    assert "\nc.csv," in listed.replace("\r", "")


def test_files_that_cannot_be_used_fail_without_a_path(
    client: TestClient, runner: JobRunner, tmp_path: Path
) -> None:
    files = [("spectra", ("../../q.mgf", b"no spectra")), ("candidates", ("c.csv", b"a,b\n1,2\n"))]
    job = client.post("/api/jobs", files=files).json()["job"]
    state = finished(client, job)
    assert state["state"] == "failed"
    assert "q.mgf" in state["error"]
    assert str(tmp_path) not in state["error"]
    assert client.get(f"/api/jobs/{job}/ranked.csv").status_code == 404
    assert {path.name for path in runner.jobs[job].folder.iterdir()} == {"q.mgf", "c.csv"}


def test_other_names_other_pages_and_large_bodies_are_refused(
    runner: JobRunner, folder: Path
) -> None:
    runner.limits = RequestLimits(upload=1000)
    with TestClient(create_app(runner), base_url="http://127.0.0.1") as client:
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        assert client.get("/", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.get("/", headers={"origin": "http://127.0.0.1"}).status_code == 200
        assert client.get("/", headers={"host": "localhost:8000"}).status_code == 200
        assert submit(client, folder).status_code == 413

        def endless() -> Iterator[bytes]:  # sent without a length
            yield from [b"x" * 600] * 3

        kind = {"content-type": "multipart/form-data; boundary=b"}
        assert client.post("/api/jobs", content=endless(), headers=kind).status_code in (400, 413)
        for path in ("/api/jobs/../../etc/passwd", "/api/jobs/x/ranked.csv", "/api/jobs/x/%2e%2e"):
            assert client.get(path).status_code == 404


def test_a_token_is_wanted_where_one_is_set(runner: JobRunner) -> None:
    with TestClient(create_app(runner, token="secret"), base_url="http://lab.example") as client:
        assert client.get("/").status_code == 401
        assert client.get("/?token=wrong").status_code == 401
        assert client.get("/?token=secret").status_code == 200
        assert client.get("/", headers={"authorization": "Bearer secret"}).status_code == 200


def test_old_results_are_removed_and_all_at_the_end(runner: JobRunner, folder: Path) -> None:
    runner.limits = RequestLimits(kept=0.0)
    with TestClient(create_app(runner), base_url="http://127.0.0.1") as client:
        first = submit(client, folder).json()["job"]
        finished(client, first)
        second = submit(client, folder).json()["job"]
        assert client.get(f"/api/jobs/{first}").status_code == 404
        assert finished(client, second)["state"] == "done"
        room = runner.jobs[second].folder
        assert room.exists()
    assert not room.exists()


def test_jobs_that_are_not_there_and_too_many_are_refused(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in (client.get("/api/jobs/none"), client.delete("/api/jobs/none")):
        assert answer.status_code == 404
        assert answer.json()["error"] == "no such job"
    monkeypatch.setattr(serving, "MOST_JOBS", 0)
    answer = submit(client, folder)
    assert answer.status_code == 503
    assert answer.json()["error"] == "too many jobs are kept; try again later"


def test_eight_clients_lose_no_request(client: TestClient, runner: JobRunner, folder: Path) -> None:
    states: list[str] = []

    def one() -> None:
        job = submit(client, folder).json()["job"]
        states.append(finished(client, job)["state"])
        client.delete(f"/api/jobs/{job}")

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == ["done"] * 8
    assert runner.jobs == {}


def test_a_port_that_another_has_is_told_and_its_page_is_not(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_specvae("serve", "--model", folder / "m.safetensors", "--port", port, code=1)
    assert done.stdout == ""
    assert f"--host 127.0.0.1 --port {port}: cannot be listened at (Address already" in done.stderr


def test_a_broken_body_is_refused_without_a_traceback(folder: Path, tmp_path: Path) -> None:
    """One more byte in a chunk than it states: answered twice, which uvicorn refuses."""
    head = (
        "POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    arguments = ["serve", "--model", str(folder / "m.safetensors"), "--port", "0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "specvae", *arguments],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        try:
            for body in ("5\r\nabcdefgh\r\n0\r\n\r\n", "no number\r\n", "5\r\nabc"):
                with socket.create_connection(("127.0.0.1", port), timeout=60.0) as client:
                    client.sendall((head + body).encode())
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                assert page.status == 200
        finally:
            process.terminate()
    said = (tmp_path / "log").read_text()
    assert "Invalid HTTP request received" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_server_that_is_stopped_leaves_no_uploads(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    """As by a container that is stopped, or a terminal that is closed."""
    arguments = ["serve", "--model", str(folder / "m.safetensors"), "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "specvae", *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # What ignores a signal, as nohup does, lets its children ignore it too.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert len(list(tmp_path.glob("specvae-serve-*"))) == 1
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(address, timeout=10) as page:
                assert page.status == 200
                break
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", int(address.split(":")[2][:-1]))) as upload:
            if number == signal.SIGTERM:  # an upload that never ends
                upload.sendall(
                    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                    b"Content-Type: multipart/form-data; boundary=B\r\n\r\n--B"
                )
                time.sleep(0.5)
            process.send_signal(number)
            assert process.wait(60) == 128 + number
    assert list(tmp_path.glob("specvae-serve-*")) == []


def test_a_second_ctrl_c_does_not_keep_the_server_from_stopping_its_jobs(
    client: TestClient,
) -> None:
    """Their thread would go on while Python ends, and hold what Python waits for."""
    server = Server(uvicorn.Config(client.app))
    for _ in range(2):
        server.handle_exit(signal.SIGINT, None)
    assert (server.should_exit, server.force_exit) == (True, False)


def test_ctrl_c_reaches_the_server_after_another_handler_took_it(
    runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specvae.cli.serving.INTERRUPTS_EVERY", 0.01)
    caught: list[int] = []

    async def interrupted() -> None:
        app = create_app(runner)
        async with app.router.lifespan_context(app):
            # Beneath Python, as RDKit does it in the thread that ranks.
            ctypes.CDLL(None).signal(signal.SIGINT, ctypes.c_void_p(1))
            await asyncio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)

    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as loop:
            loop.run(interrupted())
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [signal.SIGINT]
