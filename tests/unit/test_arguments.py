"""Arguments of functions, checked against annotations: what is taken, and what is said."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from specvae.arguments import as_path, checked, kind_of
from specvae.errors import ConfigError, InputError


class _Thing:
    pass


class _Place:
    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


@checked("whatever")
def _given(
    *,
    flag: bool = True,
    n: int | Literal["all"] | None = None,
    x: float = 1.0,
    pair: float | tuple[float, float] = 1.0,
    words: str | Iterable[str] = (),
    file: str | os.PathLike[str] = "file",
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    table: Mapping[str, Any] | None = None,
    thing: _Thing | None = None,
    whatever: Any = None,  # noqa: ANN401
) -> dict[str, Any]:
    return dict(locals())


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("flag", np.bool_(False), False),
        ("n", np.int64(3), 3),
        ("n", "all", "all"),
        ("n", None, None),
        ("x", 3, 3.0),
        ("x", np.float32(0.5), 0.5),
        ("pair", [0.5, np.float64(0.25)], (0.5, 0.25)),
        ("words", "a", "a"),
        ("words", (word for word in ("a", "b")), ("a", "b")),
        ("words", {"b", "a", "c"}, ("a", "b", "c")),
        ("file", _Place("there"), Path("there")),
        ("files", ["a", Path("b"), _Place("c")], (Path("a"), Path("b"), Path("c"))),
        ("files", np.array(["a", "b"]), (Path("a"), Path("b"))),
        ("table", {"a": np.int64(1), "b": np.bool_(True), "c": [1]}, {"a": 1, "b": True, "c": [1]}),
        ("table", {"a": np.array([8, 4]), "b": (np.int64(8),)}, {"a": [8, 4], "b": [8]}),
        ("whatever", b"x", b"x"),
    ],
)
def test_values_become_those_of_python(name: str, value: object, taken: object) -> None:
    found = _given(**{name: value})[name]  # type: ignore[arg-type]
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("flag", "no", "flag: found 'no', wanted True or False"),
        ("flag", None, "flag: found None, wanted True or False"),
        ("flag", 1, "flag: found 1, wanted True or False"),
        ("n", True, "n: found True, wanted a whole number, 'all' or None"),
        ("n", 2.0, "n: found 2.0, wanted a whole number, 'all' or None"),
        ("n", "some", "n: found 'some', wanted a whole number, 'all' or None"),
        ("x", "10", "x: found '10', wanted a finite number"),
        ("x", float("nan"), "x: found nan, wanted a finite number"),
        ("x", 10**400, "x: found 1000"),
        pytest.param("x", 10**5000, "x: found a number that is too large, wanted", id="huge"),
        ("x", np.array([1.0]), "x: found ndarray, wanted a finite number"),
        ("pair", (0.5,), r"pair: found \(0.5,\), wanted a finite number or two of them"),
        ("pair", (0.5, "x"), r"pair\[1\]: found 'x', wanted a finite number"),
        ("words", 3, "words: found 3, wanted text or several of them"),
        ("words", {"a": 1}, "words: found dict, wanted text or several of them"),
        ("words", ["a", 3], r"words\[1\]: found 3, wanted text"),
        ("table", {1: 2}, "table: found dict, wanted a dictionary with text as keys or None"),
        ("thing", 3, "thing: found 3, wanted a _Thing or None"),
    ],
)
def test_wrong_values_are_one_line(name: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        _given(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [3, b"there", "", "a\0b", "x" * 5000, None, ["a"], _Place(b"there"), np.nan]
)
def test_what_is_no_path_is_one_line(value: object) -> None:
    with pytest.raises(InputError, match=r"^file: found .*, wanted a path$"):
        _given(file=value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^file: found .*, wanted a path$"):
        as_path(value, "file")


def test_files_that_are_none_are_named_by_their_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^files\[1\]: found 3, wanted a path"):
        _given(files=["a", 3])  # type: ignore[list-item]
    with (
        (tmp_path / "open").open("w+") as stream,
        pytest.raises(InputError, match="files: found TextIOWrapper, wanted a path, several of"),
    ):
        _given(files=stream)
    with pytest.raises(InputError, match="files: found DataFrame, wanted a path, several of"):
        _given(files=pd.DataFrame({"a": ["b"]}))  # type: ignore[arg-type]


def test_the_home_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert _given(file=Path("~/a.csv"))["file"] == tmp_path / "a.csv"


def test_python_itself_says_what_is_missing_or_too_much() -> None:
    with pytest.raises(TypeError, match=r"_given.* unexpected keyword argument 'flags'"):
        _given(flags=True)  # type: ignore[call-arg]


def test_long_values_are_told_by_their_type() -> None:
    assert kind_of([1, 2]) == "[1, 2]"
    assert kind_of(list(range(100))) == "list"
    assert kind_of([{}]) == "list"
