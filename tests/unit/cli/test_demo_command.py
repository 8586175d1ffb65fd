"""What `specvae demo` shows, and the files that it ships."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from conftest import DEMO, SHIPPED, run_specvae

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.library.header import AnnotatorHeader
from specvae.cli.demo import demo
from specvae.errors import InputError
from specvae.vae.header import read_header


@pytest.fixture(scope="module")
def header(demo_model: Path) -> AnnotatorHeader:
    return AnnotatorHeader.of_model(read_header(demo_model), demo_model)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = DEMO.parent / "make_demo_model.py"
    spec = importlib.util.spec_from_file_location("make_demo_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_demo_writes_what_it_says(tmp_path: Path) -> None:
    said = run_specvae("demo", "-o", tmp_path / "first", "--device", "cpu").stdout
    folder = tmp_path / "first"
    for name in ("report.html", "ranked.csv"):
        assert f"{folder / name} " in said
        assert (folder / name).stat().st_size > 10_000
    made = json.loads((folder / "ranked.csv.json").read_text(encoding="utf-8"))
    assert {name: Path(file["path"]).name for name, file in made["outputs"].items()} == {
        "table": "ranked.csv", "report": "report.html",
    }  # fmt: skip
    rows = rows_of(folder / "ranked.csv")
    truth = {row["query_id"]: row["inchikey14"] for row in rows_of(SHIPPED / "truth.csv")}
    assert {row["query_id"] for row in rows} == set(truth)
    assert {row["status"] for row in rows} == {"ok"}
    best = {row["query_id"]: row for row in reversed(rows)}
    n_right = sum(row["inchikey"][:14] == truth[name] for name, row in best.items())
    assert f"{n_right} of {len(truth)} queries have the right structure first" in said
    assert n_right > len(truth) / 2
    # What is to be looked at, and that each kind of evidence leads somewhere.
    assert said.count("known-") == 1
    assert said.count("query-") == 2
    assert {"fragments", "library match"} <= {row["evidence"] for row in best.values()}
    assert {row["level"] for row in best.values()} == {"2a", "3"}
    for kind in EVIDENCE_KINDS:
        assert any(abs(float(row[f"{kind}_nats"])) > 0.1 for row in rows), kind


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert "wanted a folder" in run_specvae("demo", "-o", tmp_path / "x", code=1).stderr


def test_every_kind_of_evidence_has_a_say(header: AnnotatorHeader) -> None:
    assert header.evidence is not None
    assert set(header.evidence.weights) == set(EVIDENCE_KINDS)
    assert all(weight > 0.05 for weight in header.evidence.weights.values())
    assert header.probability is not None


def test_what_is_shipped_stays_small() -> None:
    assert (SHIPPED / "model.safetensors.gz").stat().st_size <= 2_000_000
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 2_200_000


def test_what_is_shipped_is_what_the_script_makes(
    maker: ModuleType, header: AnnotatorHeader, tmp_path: Path
) -> None:
    library, known = maker.split_library((DEMO / "library.msp").read_text(encoding="utf-8"))
    assert len(known) == maker.N_KNOWN
    maker.write_queries(known, tmp_path)
    for name in ("queries.mgf", "truth.csv"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()
    assert (SHIPPED / "candidates.csv").read_bytes() == (DEMO / "candidates.csv").read_bytes()
    text = ("\n\n".join(library) + "\n\n").encode()
    learned_from = {file.name: file.sha256 for file in header.provenance.files}
    assert learned_from["demo-library.msp"] == hashlib.sha256(text).hexdigest()
    blocks = {maker.first_block(record) for record in known}
    assert header.evidence is not None
    assert blocks <= set(header.evidence.first_blocks)


@pytest.mark.parametrize("name", ["queries.mgf", "model/model.safetensors"])
def test_files_of_a_user_stay(name: str, tmp_path: Path) -> None:
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("mine", encoding="utf-8")
    run = CliRunner().invoke(demo, ["-o", str(tmp_path)])
    assert isinstance(run.exception, InputError)
    assert f"{own}: is there already" in str(run.exception)
    assert own.read_text(encoding="utf-8") == "mine"


def test_no_half_of_a_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    run = CliRunner().invoke(demo, ["-o", str(tmp_path / "d")])
    assert isinstance(run.exception, OSError)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
