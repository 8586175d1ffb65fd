"""A few hundred broken files of each kind: a clear line, a skip or the same answer."""

from itertools import islice
from pathlib import Path

import pytest
from fuzz import SOUND, Kind, kinds, mutations, tried

_N = 200
_NAMES = (
    *SOUND,
    "x.csv",
    "x.tsv",
    "truth.csv",
    "settings.toml",
    "options.toml",
    "pool.h5",
    "model.safetensors",
    "header.safetensors",
)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    return kinds(tmp_path_factory.mktemp("sound"))


def test_all_kinds_are_tried(known: dict[str, Kind]) -> None:
    assert set(_NAMES) == set(known)


@pytest.mark.parametrize("name", _NAMES)
def test_broken_files_end_in_a_line_or_a_skip(
    tmp_path: Path, known: dict[str, Kind], name: str
) -> None:
    path = tmp_path / name
    for number, _, data in islice(mutations(1, {name: known[name]}), _N):
        outcome = tried(path, data, known[name].check, seconds=None)
        assert not outcome.failure, f"seed 1, number {number}: {outcome.failure}"


@pytest.mark.parametrize("name", _NAMES)
def test_the_sound_files_are_sound(tmp_path: Path, known: dict[str, Kind], name: str) -> None:
    outcome = tried(tmp_path / name, known[name].sound, known[name].check, seconds=None)
    assert (outcome.kind, outcome.failure) == ("read", "")
