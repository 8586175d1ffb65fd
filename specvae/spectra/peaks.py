"""Peak lists as text, in the notations of MSP and MGF writers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.report import Reason
from specvae.spectra.lines import decode
from specvae.spectra.values import RejectedRecordError, found_number

Peaks = tuple[NDArray[np.float64], NDArray[np.float64]]

_OF_NUMBERS = b"0123456789.+-eE"
_QUOTED = re.compile(r'"[^"]*"?')
_SEPARATOR = re.compile(r";|,(?=\s|$)|(?<=\s),")
_COLON = re.compile(r"\s*:\s*")
_OPENING = ("(", "[", "{")
_AROUND_PAIRS = str.maketrans(dict.fromkeys("()[]{}", ";"))  # NIST
_COMMA_NUMBER = rb"\d+(?:,\d+)?"
_COMMA_PEAK = re.compile(rb"(%b)[ \t;]+%b(?:[eE][+-]?\d+)?" % (_COMMA_NUMBER, _COMMA_NUMBER))
_COMMA_PRECURSOR = re.compile(r"\d+,\d+(?:\s+\d+(?:,\d+)?)?(?:\s+\d?[+-]?\d?)?")
_THOUSANDS = re.compile(r"[1-9] \d{3}(?:\.\d+)? ")


def parse_peaks(lines: Sequence[bytes], *, many_per_line: bool) -> Peaks:
    """Return m/z (n,) and intensity (n,) from the lines of a peak list, in their order.

    Lines of exactly two numbers are converted together (`parse_regular`). Else each line is read by
    itself: ``mz intensity`` with anything after it (an annotation, a charge), ``mz:intensity`` and
    ``mz,intensity`` pairs, pairs in parentheses, and pairs ended by ``;`` or a comma.

    Parameters
    ----------
    lines
        The lines as bytes.
    many_per_line
        Whether four or another even number of numbers on a line are so many pairs (MSP), rather
        than one peak with further columns (MGF), unless these can only be pairs.

    Raises
    ------
    RejectedRecordError
        If a line holds no peaks (BAD_PEAK) or no text (BAD_ENCODING).
    """
    text = b"\n".join(map(bytes.strip, lines))
    regular = parse_regular(text)
    if regular is not None:
        return regular
    if not text[:1].isdigit() or b"," in text or b"%" in text or not text.isascii():
        lines = _plain_lines(lines)
    lines = _without_row_numbers(lines)
    if not many_per_line and (listed := _pairs_in_rows(lines)) is not None:
        return listed
    pairs = [pair for line in lines for pair in _line_pairs(line, many_per_line)]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


_HEAD = re.compile(rb"[\s\"#]*(?:m/?z|mass)\b\D*", re.IGNORECASE)  # names of columns
# A point in the m/z shows that commas in the intensity are thousands separators.
_IN_THOUSANDS = re.compile(rb"^\s*\d+\.\d+[ \t]+\d{1,3}(?:,\d{3})+(?=\s*$)")


# Non-breaking blanks of spreadsheets are separators too, if another blank divides the columns.
_BLANK_IN_THOUSANDS = re.compile(rb"(?<=\d)(?:\xc2?\xa0|\xe2\x80[\xaf\x89])(?=\d{3}(?:\D|$))")
_TWO_COLUMNS = re.compile(rb"\d[ \t;]+\d")


def names_columns(line: bytes) -> bool:
    """Return whether a line has names of columns, as may stand above a peak list."""
    return _HEAD.fullmatch(line) is not None


def _plain_lines(lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines of a peak list without names of columns, percent signs and thousands."""
    if lines and names_columns(lines[0]):
        lines = lines[1:]
    plain = []
    for line in lines:
        line = line.replace(b"%", b" ")
        if not line.isascii() and _TWO_COLUMNS.search(line) is not None:
            line = _BLANK_IN_THOUSANDS.sub(b"", line)
        plain.append(_IN_THOUSANDS.sub(lambda found: found[0].replace(b",", b""), line))
    return plain


_FEWEST_NUMBERED = 3  # lines: two may be peaks at m/z 1 and 2


def _without_row_numbers(lines: Sequence[bytes]) -> Sequence[bytes]:
    """Return the lines without the numbers in front of them, where they are a table of R."""
    if len(lines) < _FEWEST_NUMBERED:
        return lines
    rows: list[bytes] = []
    for number, line in enumerate(lines):
        first, _, rest = line.strip().partition(b" " if b" " in line else b"\t")
        if number == 0:
            start = 1 if first.strip(b'"') == b"1" else 0
        if first.strip(b'"') != b"%d" % (start + number) or _TWO_NUMBERS.match(rest) is None:
            return lines
        rows.append(rest)
    return rows


_TWO_NUMBERS = re.compile(rb"\s*\d+\.?\d*(?:[eE][+-]?\d+)?[ \t]+\d")
_FEWEST_IN_A_ROW = 3  # pairs of a list that is one line: two may be a peak and further columns
# Th, the usual step on a line: where the second m/z is nearer, it may be that of a formula.
_LEAST_STEP = 0.02


def _pairs_in_rows(lines: Sequence[bytes]) -> Peaks | None:
    """Return the peaks of lines that hold several pairs each, None if they may be columns.

    ``50.5 10 77.04 50 138.066 100`` is three peaks: the values in the places of m/z rise through
    the whole list, unlike a charge, a resolution or another column.
    """
    # In most files with columns two lines are enough to show that.
    if not lines or _rising_pairs([line.split() for line in lines[:2]]) is None:
        return None
    rows = [line.split() for line in lines]
    n_most = max(map(len, rows))
    if n_most < 4 or (len(rows) == 1 and n_most < 2 * _FEWEST_IN_A_ROW):
        return None
    if (found := _rising_pairs(rows)) is None:
        return None
    ends_line = np.cumsum([len(row) // 2 for row in rows])[:-1] - 1
    steps_on_lines = np.delete(np.diff(found[0]), ends_line)
    return found if np.median(steps_on_lines) >= _LEAST_STEP else None


def _rising_pairs(rows: Sequence[Sequence[bytes]]) -> Peaks | None:
    if any(len(row) % 2 for row in rows):
        return None
    try:
        values = np.array([_number(token.decode()) for row in rows for token in row])
    except ValueError:
        return None
    mz, intensity = values[0::2], values[1::2]
    return (mz, intensity) if (np.diff(mz) > 0).all() and (intensity >= 0).all() else None


def parse_regular(text: bytes) -> Peaks | None:
    """Return the peaks of lines that are two numbers with one blank between them, else None."""
    blanks = text.translate(None, _OF_NUMBERS)
    n = blanks.count(b"\n") + 1
    if blanks not in ((b" \n" * n)[:-1], (b"\t\n" * n)[:-1]):
        return None
    try:
        values = np.fromiter(map(float, text.split()), np.float64, 2 * n)
    except ValueError:  # not a number, or a line of one number
        return None
    return values[0::2], values[1::2]


def without_commas(lines: Sequence[bytes], precursor: str | None) -> list[bytes] | None:
    """Return the lines of a peak list with points for decimal commas, None if they may be others.

    ``69,0447 12,5`` may also be two pairs. Commas are decimal where each line has two columns, no
    point, and the record's precursor m/z is written so too, or where a fraction begins with a zero,
    as no intensity does.

    Parameters
    ----------
    lines
        The lines as bytes.
    precursor
        The field of the precursor m/z, as found.
    """
    stripped = [line.strip() for line in lines]
    found = [_COMMA_PEAK.fullmatch(line) for line in stripped]
    mz = [match[1] for match in found if match is not None]
    if not mz or len(mz) < len(found) or not any(b"," in each for each in mz):
        return None
    is_sure = any(re.search(rb",0\d", each) for each in mz)
    if not is_sure and _COMMA_PRECURSOR.fullmatch((precursor or "").strip()) is None:
        return None
    return [line.replace(b",", b".").replace(b";", b" ") for line in stripped]


_FEWEST_EXCHANGED = 5  # peaks: so many are in ascending order by chance in one list of 120
_LEAST_MZ = 10.0
_ABOVE_PRECURSOR = 3.0  # Th: its isotope peaks


def may_be_exchanged(
    mz: NDArray[np.float64], intensity: NDArray[np.float64], precursor_mass: float | None
) -> bool:
    """Return whether peaks, in the order of their file, may have intensities in the place of m/z.

    They may if the intensities rise from peak to peak, have the decimals of m/z and do not exceed
    the precursor, and the m/z do not rise, and are coarse or beyond the precursor.

    Parameters
    ----------
    mz, intensity
        As they were read, (n_peaks,) each.
    precursor_mass
        Precursor m/z times its charge; None if that is not known.
    """
    if (
        mz.size < _FEWEST_EXCHANGED
        or intensity[0] < _LEAST_MZ
        or not (np.diff(intensity) > 0).all()
    ):
        return False
    most = np.inf if precursor_mass is None else precursor_mass + _ABOVE_PRECURSOR
    if (np.diff(mz) > 0).all() or intensity[-1] > most or not _is_fine(intensity):
        return False
    return not _is_fine(mz) or bool(mz.max() > most)


def _is_fine(values: NDArray[np.float64]) -> bool:
    """Return whether most numbers have three decimals or more."""
    return bool(np.mean(np.round(values, 2) != values) > 0.5)


def _line_pairs(line: bytes, many_per_line: bool) -> list[tuple[float, float]]:
    if b"\0" in line:
        raise RejectedRecordError(Reason.BAD_ENCODING, "NUL bytes among the peaks")
    text = _QUOTED.sub(" ", decode(line))
    if many_per_line and text.lstrip()[:1] in _OPENING:
        text = text.translate(_AROUND_PAIRS)
    if ":" in text:
        text = _COLON.sub(":", text)
    try:
        parts = _ahead_of_annotation(
            [tokens for part in _SEPARATOR.split(text) if (tokens := part.split())]
        )
        # "50.5, 10", and in MSP "50.5, 10, 60, 20"
        may_be_pairs = len(parts) > 1 if many_per_line else len(parts) == 2
        if may_be_pairs and all(len(tokens) == 1 for tokens in parts):
            tokens = [token for (token,) in parts]
            if not _is_joined(tokens[0]):
                return _paired([_number(token) for token in tokens])
        return [pair for tokens in parts for pair in _part_pairs(tokens, many_per_line)]
    except (ValueError, IndexError):
        detail = found_number(decode(line).strip())
        raise RejectedRecordError(Reason.BAD_PEAK, detail) from None


def _ahead_of_annotation(parts: list[list[str]]) -> list[list[str]]:
    """Return the parts of a line but those that go on with an annotation: ``50.5 10 y3; b2``."""
    if len(parts) < 2 or len(parts[0]) < 3:
        return parts
    words = (n for n, tokens in enumerate(parts) if n and not _begins_pair(tokens[0]))
    return parts[: next(words, len(parts))]


def _begins_pair(token: str) -> bool:
    if token[0].isalpha():
        return False
    try:
        return _is_joined(token) or _number(token) >= 0
    except ValueError:
        return False


def _part_pairs(tokens: list[str], many_per_line: bool) -> list[tuple[float, float]]:
    if _is_joined(tokens[0]):
        pairs = [re.split("[:,]", token) for token in tokens]
        # Where nothing declares the number of peaks, "50,5" may as well be a decimal comma.
        if not many_per_line and "," in tokens[0] and "." not in pairs[0][0]:
            raise ValueError(tokens[0])
        return [(_number(mz), _number(intensity)) for mz, intensity in pairs]
    if _THOUSANDS.match(" ".join(tokens[:3])):  # "1 060.25 100" is not m/z 1
        raise ValueError(tokens[0])
    if many_per_line and len(tokens) > 2 and len(tokens) % 2 == 0:
        try:
            values = [_number(token) for token in tokens]
        except ValueError:
            pass  # an annotation of several words after one peak
        else:
            return _paired(values)
    return [(_number(tokens[0]), _number(tokens[1]))]


def _is_joined(token: str) -> bool:
    return ":" in token or "," in token


def _paired(values: list[float]) -> list[tuple[float, float]]:
    return list(zip(values[0::2], values[1::2], strict=True))


def _number(token: str) -> float:
    if "_" in token:
        raise ValueError(token)
    return float(token)
