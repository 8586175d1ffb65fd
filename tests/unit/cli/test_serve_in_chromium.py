"""The local server in a browser: files dropped, progress watched, report read, tables taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, needs_chromium
from shard_examples import write_run

pytest.importorskip("starlette")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

import uvicorn

from specvae.annotation.ranking.annotator import Annotator
from specvae.cli.serving import RESULTS, JobRunner, create_app

pytestmark = needs_chromium


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that asks for a token; its files lie below ``rooms``."""
    folder = write_run(tmp_path)
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    annotator = Annotator.load(folder / "m.safetensors", "cpu")
    app = create_app(JobRunner(annotator, folder / "m.safetensors", rooms), token="a b&c")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/?token=a%20b%26c"
    server.should_exit = True
    thread.join()
    assert list(rooms.iterdir()) == []  # nothing is left of what was uploaded


def test_files_are_dropped_and_every_table_is_taken(address: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    with Browser(tmp_path) as browser:
        browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(taken))
        page = browser.open(address)
        page.drop("fieldset:nth-of-type(1)", [tmp_path / "q.mgf"])
        page.drop("fieldset:nth-of-type(2)", [tmp_path / "c.csv"])
        inputs = "Array.from(document.querySelectorAll('input[type=file]'))"
        names = f"{inputs}.map((e) => e.files[0].name)"
        assert page.run(names) == ["q.mgf", "c.csv"]
        page.click("form button")
        page.wait_for("document.querySelectorAll('#files a').length")
        assert page.texts("#files a") == list(RESULTS)
        assert "9 of 12 queries ranked" in page.texts("#said")[0]
        assert page.run("document.getElementById('bar').hidden")
        for number, name in enumerate(RESULTS, start=1):
            if not name.endswith(".html"):
                page.click(f"#files li:nth-child({number}) a")
                deadline = time.monotonic() + 60.0
                while not (taken / name).is_file():
                    assert time.monotonic() < deadline, name
                    time.sleep(0.02)
        assert sorted(path.name for path in taken.iterdir()) == sorted(
            name for name in RESULTS if not name.endswith(".html")
        )
        rows = (taken / "ranked.csv").read_text(encoding="utf-8")
        assert rows.startswith("query_id,rank,smiles")
        report = browser.open(page.run("document.querySelector('#files a[href*=html]').href"))
        report.click("#queries tbody td.candidate")
        assert len(report.texts(".detail")) == 1
        for each in (page, report):
            assert each.problems() == []
            assert all(url.startswith("http://127.0.0.1:") for url in each.requests())


def test_what_cannot_be_used_is_said_on_the_page(address: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mgf"
    bad.write_text("no spectra", encoding="utf-8")
    with Browser(tmp_path) as browser:
        page = browser.open(address)
        page.drop("fieldset:nth-of-type(1)", [bad])
        page.drop("fieldset:nth-of-type(2)", [tmp_path / "c.csv"])
        page.click("form button")
        page.wait_for("document.querySelector('#said.error')")
        assert page.texts("#said")[0].startswith("bad.mgf: ")
        assert str(tmp_path) not in page.texts("#said")[0]
        assert page.problems() == []
