"""The warnings of this package."""


class ExperimentalWarning(Warning):
    """A feature that may still change is used."""


class CommitWarning(UserWarning):
    """A commit stands, and something that concerns it needs attention."""


class MirrorWarning(CommitWarning):
    """A commit stands, and ``_delta_log``, which other engines read, lacks something.

    The next commit of the table, `Catalog.publish` and ``dl mirror run`` try again.
    """
