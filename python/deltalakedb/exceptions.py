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
    """There is no table at the location, or none of that name."""


class CommitFailedError(DeltaError):
    """A commit was refused, and nothing of it is in the table."""


class CommitOutcomeUnknownError(DeltaError):
    """The outcome of a commit is unknown and could not be determined.

    The database did not answer at the end of a commit, nor when it was asked for it.
    All of it is committed, or nothing. Look at the history once the database answers
    again, before you repeat what was done.
    """


class DeltaProtocolError(DeltaError):
    """A table asks for a feature that is not supported here."""


class SchemaMismatchError(DeltaError):
    """Data or fields do not fit the schema of the table."""


class CatalogError(DeltaError):
    """A catalog cannot be opened, or does not hold what it should."""


class TransactionClosedError(DeltaError):
    """A transaction is used before its block begins or after it has ended."""


class TransactionConflictError(CommitFailedError):
    """A concurrent commit won, and this transaction conflicts with it.

    Nothing of the transaction is committed. Read again and repeat it.

    Attributes:
        table: the name of the table both wrote.
        version: the version that came first, where it is known.
        operation: what that commit did, for example ``DELETE``.
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
