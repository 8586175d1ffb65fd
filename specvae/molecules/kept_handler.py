"""RDKit kept from taking Ctrl-C, where its library is known: on 64-bit Linux.

Each search for substructures of RDKit 2026.03, of which an InChIKey makes some, gives SIGINT to a
handler of RDKit's by the C function ``signal``, and does not give it back. A Ctrl-C that comes then
is lost, and the search ends early, as if what it looks for were not there. To block the signal
meanwhile is not enough: the system gives it to another thread, such as those of OpenBLAS, so that
188 of 200 were lost while a table was parsed.

So the address at which that library finds ``signal``, in its table of functions of others, is
replaced by the address of a function that takes the same arguments and changes nothing. The format
of that table: Tool Interface Standard, *Executable and Linking Format*, version 1.2, part 2, and
the supplements for x86-64 and AArch64.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_LIBRARY = "libRDKitSubstructMatch"
_MACHINES = ("x86_64", "aarch64")
_MAPS = Path("/proc/self/maps")
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)")
# Entries of the dynamic section.
_END, _SIZE_OF_CALLS, _NAMES, _SYMBOLS, _CALLS = 0, 2, 5, 6, 23


class _LinkMap(ctypes.Structure):
    """The first members of what a handle of a loaded library points to."""

    _fields_ = (
        ("base", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("dynamic", ctypes.c_size_t),
    )


class _Entry(ctypes.Structure):
    """One entry of the dynamic section."""

    _fields_ = (("tag", ctypes.c_int64), ("value", ctypes.c_uint64))


class _Call(ctypes.Structure):
    """One relocation of a function of another library."""

    _fields_ = (("offset", ctypes.c_uint64), ("info", ctypes.c_uint64), ("addend", ctypes.c_int64))


class _Symbol(ctypes.Structure):
    """One symbol."""

    _fields_ = (
        ("name", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("value", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    )


def keep_rdkit_from_ctrl_c() -> bool:
    """Let the search for substructures leave SIGINT as it is; return whether that is so.

    It is not where the library is another one than is known, or its table cannot be written.
    """
    python = getattr(ctypes, "pythonapi", None)
    harmless = getattr(python, "PyOS_getsig", None)  # returns the handler that there is
    if harmless is None or not sys.platform.startswith("linux"):
        return False
    if platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return False
    address = ctypes.cast(harmless, ctypes.c_void_p).value or 0
    importlib.import_module("rdkit.Chem.rdchem")  # loads the library
    try:
        places = _places_of("signal")
    except (OSError, UnicodeDecodeError):  # no /proc, or no library of that name
        return False
    for place in places:
        ctypes.c_size_t.from_address(place).value = address
    return bool(places)


def _places_of(function: str) -> list[int]:
    """Return the addresses at which the library has those of a function, if they can be written."""
    mapped = [match.groups() for match in _MAPPED.finditer(_MAPS.read_text(encoding="utf-8"))]
    paths = {path for *_, path in mapped if Path(path).name.startswith(_LIBRARY)}
    writable = [
        range(int(begin, 16), int(end, 16)) for begin, end, rights, _ in mapped if "w" in rights
    ]
    found = [place for path in sorted(paths) for place in _calls(path, function)]
    return found if all(any(place in part for part in writable) for place in found) else []


def _calls(path: str, function: str) -> Iterator[int]:
    """Yield the addresses of a loaded library's entries for a function of another one."""
    library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    link = _LinkMap.from_address(library._handle)
    values: dict[int, int] = {}
    place = link.dynamic
    while (entry := _Entry.from_address(place)).tag != _END:
        values[entry.tag] = entry.value
        place += ctypes.sizeof(_Entry)
    if not values.keys() >= {_SIZE_OF_CALLS, _NAMES, _SYMBOLS, _CALLS}:
        return
    # Some loaders leave the addresses as they are in the file.
    names, symbols, calls = (
        values[tag] + (link.base if values[tag] < link.base else 0)
        for tag in (_NAMES, _SYMBOLS, _CALLS)
    )
    for start in range(0, values[_SIZE_OF_CALLS], ctypes.sizeof(_Call)):
        call = _Call.from_address(calls + start)
        symbol = _Symbol.from_address(symbols + (call.info >> 32) * ctypes.sizeof(_Symbol))
        if ctypes.string_at(names + symbol.name) == function.encode():
            yield link.base + call.offset
