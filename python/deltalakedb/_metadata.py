"""Metadata, protocol and configuration of a table."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    NamedTuple,
)

from deltalakedb._internal import RawTable
from deltalakedb._table_features import TableFeatures as TableFeatures

if TYPE_CHECKING:

    pass


@dataclass(init=False, repr=False)
class Metadata:
    """The metadata of a table at one version.

    Args:
        table: the table.
    """

    id: str
    name: str | None
    description: str | None
    partition_columns: list[str]
    created_time: int | None
    configuration: dict[str, str | None]

    def __init__(self, table: RawTable) -> None:
        (
            self.id,
            self.name,
            self.description,
            self.partition_columns,
            self.created_time,
            self.configuration,
        ) = table.metadata()

    def __str__(self) -> str:
        return f"Metadata({', '.join(f'{k}: {v}' for k, v in vars(self).items())})"

    __repr__ = __str__


class ProtocolVersions(NamedTuple):
    """The protocol of a table: what readers and writers must support."""

    min_reader_version: int
    min_writer_version: int
    writer_features: list[str] | None
    reader_features: list[str] | None


class _DeltaTableConfig(NamedTuple):
    without_files: bool
    log_buffer_size: int
    skip_stats: bool = False


class DeltaTableConfig(_DeltaTableConfig):
    """How a table was loaded. It has no effect any more.

    .. deprecated:: there is no replacement.
    """

    def __new__(
        cls, without_files: bool, log_buffer_size: int, skip_stats: bool = False
    ) -> DeltaTableConfig:
        """Warns, as the class is deprecated."""
        warnings.warn(
            "The DeltaTableConfig class is deprecated: nothing depends on it.",
            DeprecationWarning,
            stacklevel=2,
        )
        return super().__new__(cls, without_files, log_buffer_size, skip_stats)
