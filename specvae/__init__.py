"""specvae: annotate tandem mass spectra with molecular structures, offline."""

__version__ = "0.1.0"
