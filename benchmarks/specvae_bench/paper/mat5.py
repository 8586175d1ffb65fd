"""Numeric arrays of MATLAB 5 files, the format of ``save -v6`` and ``save -v7``.

A file is a header of 128 bytes and data elements. An element is a type, a number of bytes and the
bytes, padded to a multiple of eight; up to four bytes share the eight of their type and number.
A compressed element is a zlib stream of one array element, and an array element holds elements
again: flags with the class, dimensions, name, values (MathWorks, "MAT-File Format", chapter 1).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError

_N_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# How values of an element type are stored: int8, uint8, ...; 8, 10 and 11 are reserved.
_STORED_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
# What the values of an array class are; MATLAB stores them in a smaller type where they fit.
_CLASSES = dict(enumerate(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), start=6))


def read_mat5(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the real numeric arrays called `names`, their axes in MATLAB's order.

    Raises
    ------
    InputError
        If the file is missing, no MATLAB 5 file, truncated or damaged, or lacks one of `names`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_N_HEADER], "<")
    if content[124:_N_HEADER] not in (b"\x00\x01IM", b"\x01\x00MI"):
        program = "MATLAB 7.3" if content.startswith(b"MATLAB 7.3") else "another kind"
        raise InputError(f"{path}: a file of {program}, wanted MATLAB 5")
    found: dict[str, NDArray[Any]] = {}
    try:
        for kind, data in _elements(memoryview(content)[_N_HEADER:], order):
            if kind == _COMPRESSED:
                kind, data = next(_elements(memoryview(zlib.decompress(data)), order))
            if kind == _MATRIX:
                found |= _named_array(data, order, names)
    except (ValueError, IndexError, StopIteration, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged: {error or 'an empty element'}") from None
    for name in names:
        if name not in found:
            raise InputError(f"{path}: no real numeric array {name}")
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and bytes of each element; `order` is numpy's sign of the byte order."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it ends inside the head of an element")
        kind, n_bytes = (int(value) for value in np.frombuffer(data, f"{order}u4", 2, at))
        start, end = at + 8, at + 8 + n_bytes
        # Only compressed elements follow each other without padding.
        at = end if kind == _COMPRESSED else end + -end % 8
        if kind >> 16:
            n_bytes, kind = kind >> 16, kind & 0xFFFF
            start, end, at = start - 4, start - 4 + n_bytes, start
            if n_bytes > 4:
                raise ValueError(f"a short element of {n_bytes} bytes")
        if end > len(data):
            raise ValueError(f"{len(data) - start:,} bytes left of an element of {n_bytes:,}")
        yield kind, data[start:end]


def _named_array(matrix: memoryview, order: str, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the array of an array element under its name, or nothing if it is not wanted."""
    elements = _elements(matrix, order)
    flags = np.frombuffer(next(elements)[1], f"{order}u4")
    shape = tuple(np.frombuffer(next(elements)[1], f"{order}i4").tolist())
    name = next(elements)[1].tobytes().decode("latin-1")
    array_class, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & 0x0800)
    if name not in names or array_class not in _CLASSES or is_complex:
        return {}
    kind, data = next(elements)
    if kind not in _STORED_TYPES:
        raise ValueError(f"array {name} has values of type {kind}")
    values = np.frombuffer(data, order + _STORED_TYPES[kind])
    if min(shape) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"array {name} has {len(values):,} values, its dimensions are {shape}")
    return {name: values.astype(_CLASSES[array_class]).reshape(shape, order="F")}
