"""The warnings of this package."""


class ExperimentalWarning(Warning):
    """A feature that may still change is used."""
