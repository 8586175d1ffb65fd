"""Errors whose message is one finished line for the user."""


class SpecvaeError(Exception):
    """A failure that the user can act on; its message is one line, ready to print."""


class InputError(SpecvaeError):
    """A file cannot be read, is of another kind than expected, or holds nothing usable."""


class ConfigError(SpecvaeError):
    """An option or configuration key is unknown or has a value that makes no sense."""


class CheckpointError(SpecvaeError):
    """A checkpoint is truncated, foreign, newer than this program, or does not fit its use."""


class TrainingError(SpecvaeError):
    """Training cannot go on, for instance because the loss is no longer a number."""


class StructureError(SpecvaeError):
    """A molecular structure cannot be parsed or has no defined mass."""
