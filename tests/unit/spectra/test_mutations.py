"""A few hundred broken files of each format: a clear line or a skipped record, nothing else."""

from pathlib import Path

import pytest
from fuzz import SOUND, failure_of_spectra, mutations

_N = 400


@pytest.mark.parametrize("name", SOUND)
def test_broken_files_end_in_a_line_or_a_skip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for number, _, data in mutations(1, {name: SOUND[name]}):
        if number == _N:
            break
        path.write_bytes(data)
        assert failure_of_spectra(path) is None, f"seed 1, number {number}"


@pytest.mark.parametrize("name", SOUND)
def test_the_sound_files_are_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(SOUND[name])
    assert failure_of_spectra(path) is None
