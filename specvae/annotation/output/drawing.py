"""Structures as small drawings: lines, letters and places of atoms, which a page turns into SVG.

RDKit draws; what it writes is packed to about a tenth: lines of one colour become one path, and
coordinates are whole tenths of a unit. With the places of the atoms a page can mark any fragment on
the one drawing of its molecule.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

from specvae.annotation.ranking.result import Annotation

_WIDTH, _HEIGHT = 220, 130
_UNITS_PER_PIXEL = 10
_PATH = re.compile(r"<path class='[^']*' d='([^']*)' style='([^']*)'")
_TEXT = re.compile(
    r"<text x='([\d.-]+)' y='([\d.-]+)' class='(atom-\d+)' style='([^']*)' >([^<]*)</text>"
)
_STEP = re.compile(r"([MLZ])\s*(?:([\d.-]+),([\d.-]+))?")


class Drawings:
    """The structures of a page, each drawn once, by their number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int | None] = {}
        self._drawn: list[dict[str, Any]] = []

    def number(self, smiles: str) -> int | None:
        """Return the number of a structure's drawing; None if the text cannot be drawn."""
        if smiles not in self._numbers:
            drawing = _drawing(smiles)
            self._numbers[smiles] = None if drawing is None else len(self._drawn)
            if drawing is not None:
                self._drawn.append(drawing)
        return self._numbers[smiles]

    def to_json(self) -> list[dict[str, Any]]:
        """Return all drawings as JSON values, in the order of their numbers.

        ``s`` is the SMILES, ``w`` and ``h`` the size in tenths; ``p`` paths (stroke, fill, width,
        data), ``t`` letters (x, y, size, colour, text), ``a`` the coordinates of the atoms and
        ``b`` the bonds, two numbers each.
        """
        return self._drawn


def drawn_smiles(annotation: Annotation) -> str:
    """Return the text that a candidate is drawn from: as standardised, where it was parsed."""
    return annotation.smiles if annotation.molecule is None else annotation.molecule.smiles


def drawn_atoms(annotation: Annotation) -> dict[int, int]:
    """Return where each atom of a candidate's molecule stands in the drawing of `drawn_smiles`."""
    if annotation.molecule is None:
        return {}
    mol = annotation.molecule.mol
    Chem.MolToSmiles(mol)
    order = mol.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"]
    return {int(atom): place for place, atom in enumerate(order)}


@lru_cache(maxsize=4096)
def _drawing(smiles: str) -> dict[str, Any] | None:
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles) if smiles else None
        if mol is None or not mol.GetNumAtoms():
            return None
        # Letters as text, not as outlines.
        drawer = rdMolDraw2D.MolDraw2DSVG(_WIDTH, _HEIGHT, -1, -1, True)
        options = drawer.drawOptions()
        options.clearBackground = False  # type: ignore[assignment]
        options.bondLineWidth = 1.4  # type: ignore[assignment]
        options.padding = 0.06  # type: ignore[assignment]
        options.fixedBondLength = 28  # type: ignore[assignment]
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
        drawer.FinishDrawing()
        text = drawer.GetDrawingText()
        points = [drawer.GetDrawCoords(n) for n in range(mol.GetNumAtoms())]
    return {
        "s": smiles,
        "w": _WIDTH * _UNITS_PER_PIXEL,
        "h": _HEIGHT * _UNITS_PER_PIXEL,
        "p": _paths(text),
        "t": _letters(text),
        "a": [round(_UNITS_PER_PIXEL * value) for point in points for value in (point.x, point.y)],
        "b": [n for b in mol.GetBonds() for n in (b.GetBeginAtomIdx(), b.GetEndAtomIdx())],
    }


def _paths(svg: str) -> list[list[Any]]:
    """Return the lines and wedges, those of one look together."""
    data: dict[tuple[str, str, int], list[str]] = {}
    for steps, style in _PATH.findall(svg):
        look = _look(style)
        key = (
            look["stroke"],
            look["fill"],
            round(_UNITS_PER_PIXEL * float(look["stroke-width"][:-2])),
        )
        data.setdefault(key, []).append(_relative(steps))
    return [[*key, "".join(parts)] for key, parts in data.items()]


def _relative(steps: str) -> str:
    """Return path data in whole tenths, each point relative to the one before, but the first."""
    parts, x, y = [], 0, 0
    for letter, right, down in _STEP.findall(steps):
        if letter == "Z":
            parts.append("z")
            continue
        new_x, new_y = round(_UNITS_PER_PIXEL * float(right)), round(_UNITS_PER_PIXEL * float(down))
        across, along = (new_x, new_y) if letter == "M" else (new_x - x, new_y - y)
        parts.append(f"{letter if letter == 'M' else 'l'}{across} {along}".replace(" -", "-"))
        x, y = new_x, new_y
    return "".join(parts)


def _letters(svg: str) -> list[list[Any]]:
    """Return the letters; those of one atom on one line are one text."""
    found: list[list[Any]] = []
    last: tuple[str, str, str] | None = None
    for x, y, atom, style, text in _TEXT.findall(svg):
        look = _look(style)
        line = (atom, y, style)
        if line == last and float(x) > found[-1][0] / _UNITS_PER_PIXEL:
            found[-1][-1] += text
            continue
        size = round(_UNITS_PER_PIXEL * float(look["font-size"][:-2]))
        found.append(
            [
                round(_UNITS_PER_PIXEL * float(x)),
                round(_UNITS_PER_PIXEL * float(y)),
                size,
                look["fill"],
                text,
            ]
        )
        last = line
    return found


def _look(style: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in style.split(";") if ":" in part)
