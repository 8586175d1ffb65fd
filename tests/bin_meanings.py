"""What the columns of encoded spectra stand for, in words."""

from __future__ import annotations

from specvae.spectra.binning import BinLayout

_PEAKS = ("bins", "neutral_losses", "fine_bins", "fine_neutral_losses")


def meaning(layout: BinLayout, column: int) -> str:
    """Return what a column means, such as ``peak at m/z 100 to 100.1``."""
    if layout.context is not None and column >= layout.n_bins:
        column = layout.context[column - layout.n_bins]
    section = next(s for s in layout.sections if s.start <= column < s.start + s.size)
    name, i = section.name, column - section.start
    if name in _PEAKS:
        width = layout.fine_bin_width if name.startswith("fine_") else layout.bin_width
        assert width is not None
        shift = 0.5 if layout.version > 2 and name.endswith("losses") else 0.0
        low, high = (i - shift) * width, (i + 1 - shift) * width
        if name.endswith("bins"):
            return f"peak at m/z {low:g} to {high:g}"
        return f"neutral loss of {max(low, 0.0):g} to {high:g} Da"
    if name == "precursor":
        return _of_precursor(i, section.size - 51)
    if name == "collision_energy":
        return _of_energy(i)
    words = {
        "adduct": layout.adducts,
        "instrument_type": layout.instrument_types,
        "ion_mode": ("positive", "negative"),
    }[name]
    return f"{name}: {words[i] if i < len(words) else 'another or not known'}"


def _of_precursor(i: int, n: int) -> str:
    """Say what a column of the precursor is: of the first `n` steps of 1 Th, of 50 parts of one."""
    if i < n:
        return f"precursor m/z {i} to {i + 1}" if i < n - 1 else f"precursor m/z above {i}"
    if i < n + 50:
        return f"fractional part of precursor m/z {(i - n) / 50:.2f} to {(i - n + 1) / 50:.2f}"
    return "precursor m/z: not known"


def _of_energy(i: int) -> str:
    if i < 3:
        return ("collision energy in eV / 100", "NCE / 100", "collision energy: not known")[i]
    unit, step = divmod(i - 3, 16)
    end = "and above" if step == 15 else f"to {10 * step + 10}"
    return f"{('collision energy', 'NCE')[unit]} {10 * step} {end}"
