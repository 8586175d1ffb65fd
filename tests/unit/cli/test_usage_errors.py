"""Options that do not go together, and files with nothing to work on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from shard_examples import write_run

from specvae.cli.annotate import TopType, annotate
from specvae.cli.defaults import option_defaults
from specvae.cli.docs import docs
from specvae.cli.embed import embed
from specvae.cli.fingerprint import fingerprint
from specvae.cli.main import main
from specvae.cli.options import INPUT, INPUT_FILE
from specvae.errors import ConfigError, InputError
from specvae.files import atomic_path
from specvae.report import ReadReport
from specvae.spectra.folders import spectra_files
from specvae.spectra.read import read_spectra


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("usage"))
    (folder / "more.mgf").write_bytes((folder / "q.mgf").read_bytes())
    (folder / "none.smi").write_text("c1cc broken\n", encoding="utf-8")
    (folder / "none.mgf").write_text(
        "BEGIN IONS\nTITLE=a\nPEPMASS=195.0877\nEND IONS\n", encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["q.mgf", "more.mgf", "--shard", "1/2"], "--shard takes one file of queries"),
        (["q.mgf", "--resume", "--scheduler", "local:2"], "--scheduler takes one file of queries"),
        (["q.mgf", "--summary", "s.mztab"], "--summary is .csv, .tsv or .jsonl"),
        (["q.mgf", "--shard", "1/2", "--summary", "s.csv"], "of a whole run; a part has none"),
        (["q.mgf", "--shard", "1/2", "--format", "csv"], "a part is JSON lines"),
    ],
)
def test_outputs_and_divisions_of_annotate(
    folder: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    files = [str(folder / o) if o.endswith(".mgf") else o for o in options]
    output = tmp_path / ("o.jsonl" if "--shard" in options else "o.csv")
    done = CliRunner().invoke(
        annotate,
        [*files, "--candidates", str(folder / "c.csv"), "--model", str(folder / "m.safetensors"),
         "-o", str(output)],
    )  # fmt: skip
    assert done.exit_code == click.UsageError.exit_code
    assert said in " ".join(done.output.split())
    assert not output.exists()


def test_a_part_has_no_name_that_promises_another_format(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "part.csv"
    arguments = [folder / "q.mgf", "--candidates", folder / "c.csv", "-o", output,
                 "--model", folder / "m.safetensors", "--shard", "1/2"]  # fmt: skip
    done = CliRunner().invoke(annotate, [str(argument) for argument in arguments])
    assert str(done.exception) == (
        f"{output}: is not written as .csv; wanted a name that ends in .jsonl"
    )


def test_embed_takes_either_spectra_or_molecules_of_which_one_at_least_is_usable(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "o.h5"
    common = ["--model", str(folder / "m.safetensors"), "-o", str(output)]
    none: list[str] = []
    both = [str(folder / "q.mgf"), "--molecules", str(folder / "none.smi")]
    for given in (none, both):
        done = CliRunner().invoke(embed, [*given, *common])
        assert done.exit_code == click.UsageError.exit_code
        assert "name either a file of spectra or --molecules" in done.output
    for given in ([str(folder / "none.mgf")], ["--molecules", str(folder / "none.smi")]):
        done = CliRunner().invoke(embed, [*given, *common])
        assert isinstance(done.exception, InputError)
        assert f"{given[-1]}: nothing to embed (" in str(done.exception)
    assert not output.exists()


def test_fingerprints_of_no_molecule(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        fingerprint, [str(folder / "none.smi"), "-o", str(tmp_path / "o.csv")]
    )
    assert isinstance(done.exception, InputError)
    assert f"{folder / 'none.smi'}: no usable molecule (" in str(done.exception)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"report": True}, "setting 'report' is true, wanted a text or number"),
        ({"library": [True]}, "setting 'library' is true, wanted a text or number"),
        ({"limit": {"record_peaks": 5}}, "setting 'limit' is a dict, wanted a text or number"),
        ({"candidates": "C:\temp\new.csv"}, "setting 'candidates' holds a control character"),
    ],
)
def test_settings_that_are_no_text(values: dict[str, object], said: str) -> None:
    """`report = true` in a file would write a report that is called True."""
    with pytest.raises(ConfigError, match=said):
        option_defaults(annotate, values)


def test_a_setting_that_cannot_be_used_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for text, said in (
        ('candidates = "C:\\temp\\new.csv"', "setting 'candidates' holds a control character"),
        ("pmm = 5", "unknown setting 'pmm'"),
    ):
        path.write_text(text, encoding="utf-8")
        done = CliRunner().invoke(annotate, ["--config", str(path)])
        assert isinstance(done.exception, ConfigError)
        assert str(done.exception).startswith(f"{path}: {said}")


def test_a_list_of_settings_is_what_commas_divide() -> None:
    found = option_defaults(annotate, {"known": [0.1, 0.2], "adduct": "[M+H]+"})
    assert found == {"known": "0.1,0.2", "adducts": ["[M+H]+"]}


@pytest.mark.parametrize(
    ("name", "maker"),
    [("x.raw/_FUNC001.DAT", "Waters"), ("x.d/AcqData/MSScan.bin", "Agilent")],
)
def test_folders_of_raw_data_are_named(tmp_path: Path, name: str, maker: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(9))
    with pytest.raises(InputError, match=f"holds raw data of {maker}, wanted .*write mzML"):
        spectra_files([tmp_path], print)


def test_paths_without_a_name_and_a_file_that_is_called_like_stdin(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes((folder / "q.mgf").read_bytes())
    (tmp_path / "loop.mgf").symlink_to(tmp_path / "loop.mgf")
    assert INPUT_FILE.convert("./-", None, None) == tmp_path / "-"
    assert INPUT.convert("-", None, None) == Path("-")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert INPUT.convert("~/x.csv", None, None) == tmp_path / "x.csv"  # of --output=~/x.csv
    cands = ["--candidates", str(folder / "cands.csv"), "--model", str(folder / "model")]
    empty = CliRunner().invoke(annotate, ["q.mgf", *cands, "-o", ""])
    assert "found an empty text, wanted the name of a file" in empty.output
    loop = Path("loop.mgf")
    assert spectra_files([loop], print) == (loop,)
    with pytest.raises(InputError, match=r"loop\.mgf: cannot be read"):
        list(read_spectra(loop, ReadReport()))
    with atomic_path(loop) as written:  # takes the link's place
        written.write_text("a", encoding="utf-8")
    assert loop.read_text(encoding="utf-8") == "a"


def test_empty_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    """MZmine writes such files of runs without fragment spectra, and one cost all others."""
    said: list[str] = []
    (tmp_path / "b.mgf").touch()
    with pytest.raises(InputError, match=r"all files of spectra in it are empty, as b\.mgf"):
        spectra_files([tmp_path], said.append)
    (tmp_path / "a.mgf").write_text("BEGIN IONS\n", encoding="utf-8")
    assert spectra_files([tmp_path], said.append) == (tmp_path / "a.mgf",)
    assert said == [f"note: {tmp_path / 'b.mgf'}: is empty and left out"]
    # One that the user names is an error where it is read.
    assert spectra_files([tmp_path / "b.mgf"], said.append) == (tmp_path / "b.mgf",)


def test_a_folder_stands_for_all_spectra_in_it(tmp_path: Path) -> None:
    """MS-DIAL writes a .mat for each feature, and MassBank has a .txt for each record."""
    said: list[str] = []
    msp = "NAME: a\nPRECURSORMZ: 195.0877\nNum Peaks: 1\n50 1\n"
    spectra = {
        "a.mgf": "BEGIN IONS\n",
        "b.MAT": msp,
        "c/d.txt": "ACCESSION: d\nRECORD_TITLE: d\n",
    }
    others = {
        "e.mat": "MATLAB 5.0 MAT-file",
        "f.txt": "Name: read me\n",
        "g.csv": "smiles",
        ".h.mgf": msp,
    }
    (tmp_path / "c").mkdir()
    for name, text in (spectra | others).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert spectra_files([tmp_path], said.append) == tuple(map(tmp_path.joinpath, spectra))
    wanted = f"note: {tmp_path / 'e.mat'} and 2 other files: no spectra by name or content"
    assert said == [wanted]


@pytest.mark.parametrize("text", ["0", "-1", "\N{CIRCLED DIGIT ONE}", "9" * 5000, "1.5", ""])
def test_what_is_no_number_of_candidates(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a number of 1 or more nor 'all'"):
        TopType().convert(text, None, None)
    assert TopType().convert(" ALL ", None, None) == "all"
    assert TopType().convert("7", None, None) == 7


@pytest.mark.parametrize("arguments", [["--version"], ["no-such-command"]])
def test_what_is_left_at_the_end_is_not_searched(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python would look at all objects for cycles once more as it ends."""
    frozen: list[bool] = []
    monkeypatch.setattr("specvae.cli.main.gc.freeze", lambda: frozen.append(True))
    monkeypatch.setattr("specvae.cli.main.gc.set_threshold", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["specvae", *arguments])
    with contextlib.suppress(SystemExit):
        main()
    capfd.readouterr()
    assert frozen == [True]


def test_a_command_without_options_names_no_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"^unknown setting 'ppm'; there is none$"):
        option_defaults(docs, {"ppm": 5})
