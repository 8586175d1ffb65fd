"""How large an input may be: the defaults refuse what has no end, and --limit changes them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from specvae.cli.check import check
from specvae.errors import ConfigError, InputError, StructureError
from specvae.limits import VARIABLE, Limits, changed_limits, limits
from specvae.molecules.candidates import read_candidates
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport, Reason
from specvae.spectra.read import read_spectra


def test_limits_hold_inside_and_not_behind() -> None:
    assert limits() == Limits()
    with changed_limits(["record_peaks=5"]), changed_limits(["structure_atoms=7"]):
        assert (limits().record_peaks, limits().structure_atoms) == (5, 7)
        # What processes that are started here inherit.
        assert os.environ[VARIABLE] == "record_peaks=5,structure_atoms=7"
    assert limits() == Limits()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record_peak=5", "record_peaks"),
        ("record_peaks=0", "record_peaks"),
        ("record_peaks=many", "record_peaks"),
        ("record_peaks", "--limit .*record_peaks.*: wanted key=value"),
    ],
)
def test_limits_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message), changed_limits([text]):
        pass
    assert limits() == Limits()


@pytest.mark.parametrize(
    ("smiles", "limit"),
    [
        ("C" * 1001, "structure_atoms=1001"),
        ("C" + "[H]" * 4000, "structure_characters=20000"),
        ("C.Cl" * 1 + ".O" * 100, "structure_components=102"),
    ],
)
def test_structures_beyond_a_limit(tmp_path: Path, smiles: str, limit: str) -> None:
    table = tmp_path / "c.csv"
    table.write_text(f"smiles\n{smiles}\nCCO\n", encoding="utf-8")
    report = ReadReport()
    assert len(read_candidates(table, report)) == 1
    assert limit.partition("=")[0] in report.skips[0].detail
    if "H" not in smiles:
        done = CliRunner().invoke(check, [str(table), "--limit", limit])
        assert "candidates      2" in done.output, done.output
    assert limits() == Limits()


@pytest.mark.parametrize("how", ["--config", "--set"])
def test_limits_may_stand_in_a_file_of_options(tmp_path: Path, how: str) -> None:
    table, config = tmp_path / "c.csv", tmp_path / "o.toml"
    table.write_text(f"smiles\n{'C' * 1001}\n", encoding="utf-8")
    config.write_text('limit = ["structure_atoms=1001"]\n', encoding="utf-8")
    given = str(config) if how == "--config" else "limit=structure_atoms=1001"
    done = CliRunner().invoke(check, [str(table), how, given])
    assert "candidates      1" in done.output, (done.output, done.exception)
    assert limits() == Limits()


def test_components_are_counted_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specvae.molecules.standard.Chem", None)
    with (
        pytest.raises(StructureError, match=r"20,000 components, at most 100"),
        changed_limits(["structure_characters=1000000"]),
    ):
        Molecule.parse(".".join("C" * 20_000))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("smiles\n" + "\n" * 100, "table_gap=50"),
        ("smiles\n" + "CCO\n" * 100, "table_rows=50"),
        ("smiles\n" + "1 1\n" * 100, "skipped=50"),
        ("smiles\n" + "C" * 100, "table_line=50"),
    ],
)
def test_tables_without_end(tmp_path: Path, text: str, limit: str) -> None:
    table = tmp_path / "c.csv.gz"
    table.write_bytes(gzip.compress(text.encode()))
    name = limit.partition("=")[0]
    with pytest.raises(InputError, match=rf"c\.csv\.gz.*\({name}\)"), changed_limits([limit]):
        read_candidates(table)


def test_records_without_peaks_and_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x.mgf"
    path.write_text("BEGIN IONS\nEND IONS\n" * 100, encoding="utf-8")
    with changed_limits(["skipped=50"]), pytest.raises(InputError, match=r"\(skipped\)"):
        list(read_spectra(path, ReadReport()))


def test_a_record_of_many_peaks_may_be_let_in(tmp_path: Path) -> None:
    path = tmp_path / "x.mgf"
    path.write_text("BEGIN IONS\nTITLE=a\n" + "5 1\n" * 100 + "END IONS\n", encoding="utf-8")
    report = ReadReport()
    with changed_limits(["record_peaks=50"]):
        assert list(read_spectra(path, report)) == []
    assert [skip.reason for skip in report.skips] == [Reason.TOO_LARGE]
    assert "record_peaks" in report.skips[0].detail
    with changed_limits(["record_peaks=100"]):
        assert len(list(read_spectra(path, ReadReport()))) == 1


@pytest.mark.parametrize("head", ["BEGIN IONS\n", "ACCESSION: x\nRECORD_TITLE: x\n"])
def test_newlines_are_not_looked_at_one_by_one(
    tmp_path: Path, head: str, count_calls: Callable[[str], list[None]]
) -> None:
    """A file of 1.5 GB of them was refused after 10 to 17 s."""
    path = tmp_path / ("x.mgf" if "IONS" in head else "x.txt")
    path.write_text(head + "\n" * 1_000_000, encoding="utf-8")
    calls = count_calls("mgf" if "IONS" in head else "massbank")
    with changed_limits(["record_bytes=900000"]), pytest.raises(InputError, match="record_bytes"):
        list(read_spectra(path, ReadReport()))
    assert len(calls) < 100_000


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[None]]:
    def counted(module: str) -> list[None]:
        calls: list[None] = []
        cutter = f"specvae.spectra.{module}._Cutter.take"
        monkeypatch.setattr(cutter, lambda *_: calls.append(None))
        return calls

    return counted


def test_a_wrong_limit_of_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, said in (("foo", "wanted key=value"), ("record_peaks=0", "record_peaks: found 0")):
        monkeypatch.setenv("SPECVAE_LIMITS", text)
        with pytest.raises(ConfigError, match=f"SPECVAE_LIMITS={text}: .*{said}"):
            limits()
