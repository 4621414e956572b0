"""The warnings of this package."""


class ExperimentalWarning(Warning):
    """A feature that may still change is used."""


class CommitWarning(UserWarning):
    """A commit succeeded, but something about it needs attention."""


class MirrorWarning(CommitWarning):
    """A commit succeeded, but ``_delta_log``, which other engines read, lacks a file.

    The next commit of the table, `Catalog.publish` and ``dl mirror run`` retry.
    """
