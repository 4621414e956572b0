"""Exceptions: `DeltaError` and its kinds."""

from __future__ import annotations

__all__ = [
    "CatalogError",
    "CommitFailedError",
    "CommitOutcomeUnknownError",
    "DeltaError",
    "DeltaProtocolError",
    "SchemaMismatchError",
    "TableNotFoundError",
    "TransactionClosedError",
    "TransactionConflictError",
]


class DeltaError(Exception):
    """An operation on a table or a catalog failed."""


class TableNotFoundError(DeltaError):
    """No table exists at the location, or with the name."""


class CommitFailedError(DeltaError):
    """A commit was rejected, and nothing of it is in the table."""


class CommitOutcomeUnknownError(DeltaError):
    """The outcome of a commit is unknown and could not be determined.

    The database did not answer at the end of a commit, nor when the commit was looked
    up. All of it is committed, or nothing. Check the history once the database answers
    again, before you repeat the operation.
    """


class DeltaProtocolError(DeltaError):
    """A table requires a feature that is not supported here."""


class SchemaMismatchError(DeltaError):
    """Data or fields do not fit the schema of the table."""


class CatalogError(DeltaError):
    """A catalog cannot be opened, or lacks an expected part."""


class TransactionClosedError(DeltaError):
    """A transaction is used before its block begins or after it has ended."""


class TransactionConflictError(CommitFailedError):
    """This transaction conflicts with a concurrent commit.

    Nothing of the transaction is committed. Read again and repeat it.

    Attributes:
        table: the name of the table in which they conflict.
        version: the version of the concurrent commit, if known.
        operation: the operation of that commit, for example ``DELETE``.
    """

    table: str
    version: int | None
    operation: str | None

    def __init__(
        self,
        *args: object,
        table: str = "",
        version: int | None = None,
        operation: str | None = None,
    ) -> None:
        super().__init__(*args)
        self.table = table
        self.version = version
        self.operation = operation
