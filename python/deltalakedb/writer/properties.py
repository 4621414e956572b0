"""How Parquet files are written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeVar

_E = TypeVar("_E", bound=Enum)


class Compression(Enum):
    """How the pages of a Parquet file are compressed."""

    UNCOMPRESSED = "UNCOMPRESSED"
    SNAPPY = "SNAPPY"
    GZIP = "GZIP"
    BROTLI = "BROTLI"
    LZ4 = "LZ4"
    ZSTD = "ZSTD"
    LZ4_RAW = "LZ4_RAW"

    @classmethod
    def from_str(cls, value: str) -> Compression:
        """The compression of that name, in either case.

        Raises:
            ValueError: there is none.
        """
        return _member(cls, value)

    def get_level_range(self) -> tuple[int, int]:
        """The minimum and the maximum level.

        Raises:
            KeyError: it has no levels.
        """
        lowest, highest, _ = self._levels()
        return lowest, highest

    def get_default_level(self) -> int:
        """The default level.

        Raises:
            KeyError: it has no levels.
        """
        return self._levels()[2]

    def check_valid_level(self, level: int) -> bool:
        """True for a level it has.

        Raises:
            KeyError: it has no levels.
            ValueError: it has others.
        """
        lowest, highest = self.get_level_range()
        if not lowest <= level <= highest:
            raise ValueError(
                f"Compression level for {self.value} should fall between "
                f"{lowest}-{highest}"
            )
        return True

    def _levels(self) -> tuple[int, int, int]:
        if self not in _LEVELS:
            raise KeyError(f"{self.value} does not have a compression level.")
        return _LEVELS[self]


# Minimum, maximum, default.
_LEVELS = {
    Compression.GZIP: (0, 10, 6),
    Compression.BROTLI: (0, 11, 1),
    Compression.ZSTD: (1, 22, 1),
}


class Encoding(Enum):
    """How the values of a Parquet column are encoded where no dictionary is used."""

    PLAIN = "PLAIN"
    RLE = "RLE"
    DELTA_BINARY_PACKED = "DELTA_BINARY_PACKED"
    DELTA_LENGTH_BYTE_ARRAY = "DELTA_LENGTH_BYTE_ARRAY"
    DELTA_BYTE_ARRAY = "DELTA_BYTE_ARRAY"
    BYTE_STREAM_SPLIT = "BYTE_STREAM_SPLIT"

    @classmethod
    def from_str(cls, value: str) -> Encoding:
        """The encoding of that name, in either case.

        Raises:
            ValueError: there is none.
        """
        return _member(cls, value)


@dataclass(init=False)
class BloomFilterProperties:
    """The bloom filters of a column.

    Args:
        set_bloom_filter_enabled: whether they are written.
        fpp: the false positive rate, between 0 and 1.
        ndv: the expected number of distinct values.

    Raises:
        ValueError: `fpp` is not between 0 and 1.
    """

    set_bloom_filter_enabled: bool | None
    fpp: float | None
    ndv: int | None

    def __init__(
        self,
        set_bloom_filter_enabled: bool | None,
        fpp: float | None = None,
        ndv: int | None = None,
    ) -> None:
        if fpp is not None and not 0 < fpp < 1:
            raise ValueError("fpp must be between 0 and 1 exclusive")
        self.set_bloom_filter_enabled = set_bloom_filter_enabled
        self.fpp = fpp
        self.ndv = ndv

    def __str__(self) -> str:
        return _listed(self)


@dataclass(init=False)
class ColumnProperties:
    """How one column is written.

    Args:
        dictionary_enabled: whether values are dictionary-encoded.
        statistics_enabled: the level at which statistics are kept.
        bloom_filter_properties: its bloom filters.
        encoding: how values are encoded, without a dictionary.

    Raises:
        ValueError: both a dictionary and an encoding are given.
    """

    dictionary_enabled: bool | None
    statistics_enabled: Literal["NONE", "CHUNK", "PAGE"] | None
    bloom_filter_properties: BloomFilterProperties | None
    encoding: str | None

    def __init__(
        self,
        dictionary_enabled: bool | None = None,
        statistics_enabled: Literal["NONE", "CHUNK", "PAGE"] | None = None,
        bloom_filter_properties: BloomFilterProperties | None = None,
        encoding: (
            Literal[
                "PLAIN",
                "RLE",
                "DELTA_BINARY_PACKED",
                "DELTA_LENGTH_BYTE_ARRAY",
                "DELTA_BYTE_ARRAY",
                "BYTE_STREAM_SPLIT",
            ]
            | None
        ) = None,
    ) -> None:
        if dictionary_enabled and isinstance(encoding, str):
            raise ValueError("Cannot specify dictionary_enabled=True and encoding")
        self.dictionary_enabled = dictionary_enabled
        self.statistics_enabled = statistics_enabled
        self.bloom_filter_properties = bloom_filter_properties
        self.encoding = encoding

    def __str__(self) -> str:
        return _listed(self)


@dataclass(init=False)
class WriterProperties:
    """How Parquet files are written.

    Args:
        data_page_size_limit: bytes of a data page, at most.
        dictionary_page_size_limit: bytes of a dictionary page, at most.
        data_page_row_count_limit: rows of a data page, at most.
        write_batch_size: rows that are encoded at once.
        max_row_group_size: rows of a row group, at most.
        compression: how pages are compressed.
        compression_level: the level, for GZIP, BROTLI and ZSTD.
        statistics_truncate_length: bytes of a minimum or a maximum, at most.
        default_column_properties: how columns are written.
        column_properties: how some columns are written, by name.

    Raises:
        ValueError: the compression or the level does not exist.

    Example:
        >>> WriterProperties(compression="ZSTD", compression_level=3).compression
        'ZSTD(3)'
    """

    data_page_size_limit: int | None
    dictionary_page_size_limit: int | None
    data_page_row_count_limit: int | None
    write_batch_size: int | None
    max_row_group_size: int | None
    compression: str | None
    statistics_truncate_length: int | None
    default_column_properties: ColumnProperties | None
    column_properties: dict[str, ColumnProperties] | None

    def __init__(
        self,
        data_page_size_limit: int | None = None,
        dictionary_page_size_limit: int | None = None,
        data_page_row_count_limit: int | None = None,
        write_batch_size: int | None = None,
        max_row_group_size: int | None = None,
        compression: (
            Literal[
                "UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW"
            ]
            | None
        ) = None,
        compression_level: int | None = None,
        statistics_truncate_length: int | None = None,
        default_column_properties: ColumnProperties | None = None,
        column_properties: dict[str, ColumnProperties] | None = None,
    ) -> None:
        self.data_page_size_limit = data_page_size_limit
        self.dictionary_page_size_limit = dictionary_page_size_limit
        self.data_page_row_count_limit = data_page_row_count_limit
        self.write_batch_size = write_batch_size
        self.max_row_group_size = max_row_group_size
        self.compression = _compression(compression, compression_level)
        self.statistics_truncate_length = statistics_truncate_length
        self.default_column_properties = default_column_properties
        self.column_properties = column_properties

    def __str__(self) -> str:
        columns = self.column_properties
        listed = columns and ", ".join(f"column '{k}': {v}" for k, v in columns.items())
        attributes = vars(self) | {"column_properties": listed or None}
        return (
            f"WriterProperties({', '.join(f'{k}: {v}' for k, v in attributes.items())})"
        )


def _compression(name: str | None, level: int | None) -> str | None:
    """The name of the compression for the Parquet writer."""
    if name is None:
        if level is not None:
            raise ValueError(
                "Providing a compression level without the compression type is not "
                "possible, please provide the compression as well."
            )
        return None
    compression = Compression.from_str(name)
    if compression not in _LEVELS:
        return compression.value
    if level is None:
        level = compression.get_default_level()
    compression.check_valid_level(level)
    return f"{compression.value}({level})"


def _listed(properties: object) -> str:
    return ", ".join(f"{name}: {value}" for name, value in vars(properties).items())


def _member(of: type[_E], value: str) -> _E:
    try:
        return of(value.upper())
    except ValueError:
        known = [item.value for item in of]
        raise ValueError(
            f"{value} is not a valid {of.__name__}. Valid values are: {known}"
        ) from None
