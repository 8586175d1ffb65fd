"""Texts of structures in tables: SMILES or InChI, none, several, or with further text.

The kind of a text is decided here before RDKit reads it; `specvae.molecules.standard` does the
rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from specvae.errors import cut
from specvae.molecules.quiet import quiet_rdkit

LINE_END = "\u23ce"
"""Stands for the end of a line in a cell of structures of which it is not certain how many."""
WHOLE_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_EMPTY_TEXTS = frozenset(
    {"", "-", "--", ".", "?", "0", "[]", "\\n", "#n/a", "#name?", "n/a", "na", "n.a.", "n.d."}
    | {"nan", "none", "(none)", "null", "unknown", "undefined", "missing", "not available"}
    | {"no structure"}
)
# What word processors and web pages make of a text: other quotation marks, dashes and blanks, and
# characters that are not seen.
_TYPOGRAPHY = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u02bc"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"), None),
}
_INCHI = re.compile(r"(?:InChI[=:])+(?=\d[\w.]*/)|(?=1[SB]?/)", re.IGNORECASE)
_MARK_OF_SMILES = re.compile(r"^(?:(?:InChI|SMILES)[=:])+(?!/|\d[\w.]*/)(?=.)", re.IGNORECASE)
# "1B": with what was new in its version. Those of polymers aside, there are the layers of others.
_BETA_INCHI = re.compile(r"^1B(?=/)", re.IGNORECASE)
_POLYMER_OF_INCHI = re.compile(r"/z\d|Zz")
_FORMULA_OF_INCHI = re.compile(r"1S?/([A-Za-z0-9]+)(?:/|$)")  # of one component
_ATOMS_OF_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")
_HEAVY_HYDROGEN = re.compile(r"\[[DT]\]")  # as ChemDraw and vendors of standards write it
# Brackets in another order than RDKit reads: "[N+H3]", which OpenSMILES allows and MOE writes, for
# "[NH3+]", and charges in front of their signs, or as three signs.
_HYDROGENS_LAST = re.compile(r"\[(\d*(?:[A-Z][a-z]?|[a-z]{1,2})@{0,2})([+-]+\d*)(H\d*)(?=[:\]])")
_CHARGE_AS_OF_IONS = re.compile(r"\[(\d*[A-Z][a-z]?)(?:([2-9])([+-])|([+-])\4\4+)(?=[:\]])")
# Two bonds behind one another are none: JSON, and other programs' texts, write "\\" and "\/" for
# "\" and "/".
_ESCAPED = re.compile(r"\\+(/)|\\{2,}")
# Parts of ChemAxon's extension that leave the atoms open: repeating units and other polymers, a
# link that may be repeated, and a bond to one of several atoms.
_OPEN_PART = re.compile(
    r"\|(?:[^|]*,)?(?:Sg:(?:n|any|mon|mer|co|xl|mod|grf|alt|ran|blk):|LN:|m:)[^|]*(?:\||$)"
)
# Parts that change its atoms: radicals, and bonds that are coordinate, of hydrogen or of no order.
_CHANGING_PART = re.compile(r"\|(?:[^|]*,)?(?:\^[1-7]|[CHZ]):\d[^|]*(?:\||$)")
# These one by one: ``^1:3,4`` by atoms, ``C:1.2`` by atom and bond, ``Z:2`` by bond.
_CHANGE = re.compile(r"(?:^|,)(\^[1-7]|[CHZ]):(\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)*)")
_LABELS_OF_ATOMS = re.compile(r"\$[^$]*\$")
_WITH_BONDS = re.compile(r"[A-Za-z0-9@+\-.%/\\\]]*[()=#\[][A-Za-z0-9@+\-()=#%/\\\[\].]*")
_LONGEST_PART = 1000  # characters: RDKit takes seconds for longer texts
_BETWEEN = ("|", ";")  # structures of a list
_BONDS = ("(", "=", "#", "/", "\\")
_BRANCHES = (")", "=", "#", "(")
# "CCCCCCO", six letters and more: "PCP", "CCCP" and their like are names of compounds.
_CHAIN = re.compile(
    r"(?=(?:[^Cc]*[Cc]){4})(?=.{6})(?:Cl|Br|[BCNOPSFI](?![a-z])|[cnops\d@+\-/\\%.])+"
)
_ABBREVIATION = re.compile(r"\([A-Z]+\)")  # "(S)" and "(PCB)": no program ends with a branch


def says_nothing(text: str) -> bool:
    """Return whether a cell of a table stands for no value, such as ``N/A`` or ``-``."""
    return text.strip().lower() in _EMPTY_TEXTS


def shown(text: str) -> str:
    """Return a text as messages show it: on one line, the end of a long one left out."""
    return cut(" ".join(text.split()))


def texts_of(smiles: str | None, inchi: str | None) -> list[tuple[str, str]]:
    """Return kind and text of what may be the structure, SMILES first."""
    found = []
    for text in (smiles or "", inchi or ""):
        words = (
            (text if text.isascii() else text.translate(_TYPOGRAPHY)).strip().strip("\"'").split()
        )
        if "\\" in text:
            words[:1] = [_ESCAPED.sub(_unescaped, word) for word in words[:1]]
        if not words or says_nothing(text) or WHOLE_INCHIKEY.fullmatch(words[0]):
            continue
        # GNPS has SMILES behind the mark of an InChI.
        words[0] = _MARK_OF_SMILES.sub("", words[0])
        shape = _INCHI.match(words[0])
        if shape:
            others = [word for word in words[1:] if word.startswith("InChI=")]
            own = words[0][shape.end() :]
            if not is_of_polymer(own):
                own = _BETA_INCHI.sub("1", own)
            found.append(("InChI", " ".join([f"InChI={own}", *others])))
        else:
            # Behind a blank stands a name, or ChemAxon's extension, which names no other atoms
            # unless it leaves them open.
            behind = " ".join(words[1:])
            is_more = leaves_atoms_open(behind) or _goes_on(words)
            words[0] = _HEAVY_HYDROGEN.sub(_with_its_mass, words[0])
            words[0] = _HYDROGENS_LAST.sub(r"[\1\3\2", words[0])
            words[0] = _CHARGE_AS_OF_IONS.sub(_signed, words[0])
            if changes_atoms(behind) and not is_more:
                extended = _as_extended(words[0], behind)
                words[0], is_more = extended or words[0], not extended
            found.append(("SMILES", words[0] + f" {behind}" * is_more))
    return sorted(found, key=lambda pair: pair[0] != "SMILES")


def _unescaped(found: re.Match[str]) -> str:
    return found[1] or "\\"


def _signed(found: re.Match[str]) -> str:
    """Return ``[Fe+3`` for ``[Fe3+`` and ``[Fe+++``."""
    atom, count, sign, repeated = found.groups()
    return f"[{atom}{sign or repeated}{count or len(found[0]) - len(atom) - 1}"


def _with_its_mass(found: re.Match[str]) -> str:
    return "[2H]" if found[0] == "[D]" else "[3H]"


def _goes_on(words: Sequence[str]) -> bool:
    """Whether what stands behind a SMILES is another, or the rest of it, and no name."""
    if LINE_END in words:
        return True
    if len(words) > 2 and all(len(word) < 3 for word in words):
        return True  # "C C O": blanks between all atoms
    if is_divided(words):
        return True
    if len(words) < 2 or _WITH_BONDS.fullmatch(words[1]) is None:
        return False
    if len(words[1]) > _LONGEST_PART:
        return True  # no name has a thousand letters of a SMILES
    return is_smiles(words[1])


def is_divided(words: Sequence[str]) -> bool:
    """Whether a SMILES and the words behind it are one of several, or only the beginning of one.

    ``CC (C)O`` goes on with a branch or a bond, ``CCO | COC`` with another behind a mark. A SMILES
    that ends with a branch goes on, ``CC(=O) OC``, and no name has but the letters of a chain.
    """
    if len(words) < 2 or max(map(len, words[:3])) > _LONGEST_PART:
        return False
    smiles, word = words[:2]
    if word in _BETWEEN and len(words) > 2:
        whole = words[2]
    elif (
        word.startswith(_BONDS)
        and _WITH_BONDS.fullmatch(word) is not None
        and _ABBREVIATION.fullmatch(word) is None
    ):
        whole = smiles + word
    elif smiles.endswith(_BRANCHES) or _CHAIN.fullmatch(word) is not None:
        whole = word
    else:
        return False
    return is_smiles(whole)


def is_smiles(text: str) -> bool:
    """Return whether a text is a SMILES that RDKit can read; the empty one is, of no atoms."""
    with quiet_rdkit():
        return Chem.MolFromSmiles(text) is not None


def leaves_atoms_open(extension: str) -> bool:
    """Whether ChemAxon's extension of a SMILES (``|...|``) says that its atoms are not all known.

    Such are repeating units (``Sg:n``), links of several lengths (``LN``), and bonds to one of
    several atoms (``m``). Labels, stereochemistry and the like change no mass; see also
    `changes_atoms`.
    """
    return _OPEN_PART.match(extension) is not None


def changes_atoms(extension: str) -> bool:
    """Whether ChemAxon's extension of a SMILES may say that its atoms or bonds are others.

    Such are radicals (``^1``) and coordinate, hydrogen and zero-order bonds (``C``, ``H``, ``Z``).
    """
    return _CHANGING_PART.match(extension) is not None


def _as_extended(smiles: str, behind: str) -> str:
    """Return a SMILES that says itself what its extension says, "" if that cannot be read."""
    extension, mark, _ = behind[1:].partition("|")
    if len(smiles) > _LONGEST_PART or not mark:
        return ""
    with quiet_rdkit():
        plain = Chem.MolFromSmiles(smiles)
        extended = Chem.MolFromSmiles(f"{smiles} |{extension}|")
        if plain is None or extended is None or _is_beyond(extension, smiles):
            return ""
        if Chem.MolToSmiles(plain) == Chem.MolToSmiles(extended):
            return smiles
        return Chem.MolToSmiles(extended, canonical=False)


def _is_beyond(extension: str, smiles: str) -> bool:
    """Return whether an extension changes atoms or bonds that a SMILES has not.

    RDKit leaves these out.
    """
    written = Chem.MolFromSmiles(smiles, _AS_WRITTEN)
    n_atoms, n_bonds = written.GetNumAtoms(), written.GetNumBonds()
    for kind, numbers in _CHANGE.findall(_LABELS_OF_ATOMS.sub("", extension)):
        for number in numbers.split(","):
            first, _, second = number.partition(".")
            atom, bond = (second, first) if kind == "Z" else (first, second)
            if (atom and int(atom) >= n_atoms) or (bond and int(bond) >= n_bonds):
                return True
    return False


_AS_WRITTEN = Chem.SmilesParserParams()  # hydrogens that are atoms have numbers, too
for _step in ("sanitize", "removeHs"):
    setattr(_AS_WRITTEN, _step, False)


def is_of_polymer(inchi: str) -> bool:
    """Whether an InChI has units that repeat (``/z``) or ends that are open (``Zz``).

    RDKit reads them as what stands once, or ends the process.
    """
    return _POLYMER_OF_INCHI.search(inchi) is not None


def heavy_atoms_of_inchi(inchi: str) -> dict[str, str]:
    """Return the result of `heavy_atoms` from the text of an InChI, empty unless one component."""
    shape = _INCHI.match(inchi)
    stated = _FORMULA_OF_INCHI.match(inchi, shape.end()) if shape is not None else None
    return {} if stated is None else _heavy_atoms(stated[1])


def heavy_atoms(mol: Chem.Mol) -> dict[str, str]:
    """Return how often a molecule has each element but hydrogen, as its formula says it."""
    return _heavy_atoms(CalcMolFormula(mol))


def _heavy_atoms(formula: str) -> dict[str, str]:
    atoms = dict(_ATOMS_OF_FORMULA.findall(formula))
    return {element: n for element, n in atoms.items() if element not in ("H", "D", "T")}
