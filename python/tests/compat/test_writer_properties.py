"""Writer properties and their effect on the Parquet files."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .helpers import ids, parquet_file, raises_exactly, sample

DATA = pa.table({"id": range(1000), "name": [f"name {i % 7}" for i in range(1000)]})


@pytest.fixture
def written(dl: ModuleType, path: str) -> Callable[..., Any]:
    """Writes DATA with writer properties; the Parquet metadata of the file."""

    def write(data=DATA, **properties):
        dl.write_deltalake(
            path, data, writer_properties=dl.WriterProperties(**properties)
        )
        return parquet_file(dl.DeltaTable(path)).metadata

    return write


def test_writer_properties_attributes(dl):
    column = dl.ColumnProperties(dictionary_enabled=True)
    properties = dl.WriterProperties(
        data_page_size_limit=1,
        dictionary_page_size_limit=2,
        data_page_row_count_limit=3,
        write_batch_size=4,
        max_row_group_size=5,
        compression="SNAPPY",
        statistics_truncate_length=6,
        default_column_properties=column,
        column_properties={"x": column},
    )
    assert properties.data_page_size_limit == 1
    assert properties.dictionary_page_size_limit == 2
    assert properties.data_page_row_count_limit == 3
    assert properties.write_batch_size == 4
    assert properties.max_row_group_size == 5
    assert properties.compression == "SNAPPY"
    assert properties.statistics_truncate_length == 6
    assert properties.default_column_properties is column
    assert properties.column_properties == {"x": column}


def test_column_properties_attributes(dl):
    bloom = dl.BloomFilterProperties(True, 0.1, 5)
    assert (bloom.set_bloom_filter_enabled, bloom.fpp, bloom.ndv) == (True, 0.1, 5)
    column = dl.ColumnProperties(False, "PAGE", bloom, "PLAIN")
    assert column.dictionary_enabled is False
    assert column.statistics_enabled == "PAGE"
    assert column.bloom_filter_properties is bloom
    assert column.encoding == "PLAIN"


def test_writer_properties_text(dl):
    text = str(dl.WriterProperties(max_row_group_size=5, compression="zstd"))
    assert text.startswith("WriterProperties(data_page_size_limit: None")
    assert "max_row_group_size: 5, compression: ZSTD(1)" in text


def test_column_properties_text(dl):
    assert str(dl.ColumnProperties(dictionary_enabled=False)) == (
        "dictionary_enabled: False, statistics_enabled: None, "
        "bloom_filter_properties: None, encoding: None"
    )


def test_bloom_filter_properties_text(dl):
    assert str(dl.BloomFilterProperties(True, 0.1, 5)) == (
        "set_bloom_filter_enabled: True, fpp: 0.1, ndv: 5"
    )


@pytest.mark.parametrize(
    ("compression", "level", "expected"),
    [
        ("zstd", None, "ZSTD(1)"),
        ("ZSTD", 3, "ZSTD(3)"),
        ("gzip", None, "GZIP(6)"),
        ("GZIP", 9, "GZIP(9)"),
        ("brotli", None, "BROTLI(1)"),
        ("BROTLI", 11, "BROTLI(11)"),
        ("snappy", None, "SNAPPY"),
        ("lz4", None, "LZ4"),
        ("lz4_raw", None, "LZ4_RAW"),
        ("uncompressed", None, "UNCOMPRESSED"),
    ],
)
def test_compression_levels(dl, compression, level, expected):
    properties = dl.WriterProperties(compression=compression, compression_level=level)
    assert properties.compression == expected


def test_unknown_compression(dl):
    with raises_exactly(ValueError, "nope is not a valid Compression"):
        dl.WriterProperties(compression="nope")


def test_compression_level_without_compression(dl):
    with raises_exactly(ValueError, "compression level without the compression type"):
        dl.WriterProperties(compression_level=3)


@pytest.mark.parametrize(
    ("compression", "level"), [("ZSTD", 23), ("ZSTD", 0), ("BROTLI", 12), ("GZIP", 11)]
)
def test_compression_level_out_of_range(dl, compression, level):
    with raises_exactly(ValueError, f"Compression level for {compression}"):
        dl.WriterProperties(compression=compression, compression_level=level)


def test_compression_enum(dl):
    compression = dl.writer.properties.Compression
    assert compression.from_str("zstd") is compression.ZSTD
    assert compression.ZSTD.get_level_range() == (1, 22)
    assert compression.GZIP.get_default_level() == 6
    assert compression.ZSTD.check_valid_level(22) is True
    with raises_exactly(KeyError, "does not have a compression level"):
        compression.SNAPPY.get_level_range()


def test_encoding_enum(dl):
    encoding = dl.writer.properties.Encoding
    assert encoding.from_str("plain") is encoding.PLAIN
    assert [one.value for one in encoding] == [one.name for one in encoding]
    later = {encoding.BYTE_STREAM_SPLIT, encoding.DELTA_LENGTH_BYTE_ARRAY, encoding.RLE}
    assert later < set(encoding)
    with raises_exactly(ValueError, "nope is not a valid Encoding"):
        encoding.from_str("nope")


def test_column_properties_dictionary_and_encoding(dl):
    with raises_exactly(ValueError, "Cannot specify dictionary_enabled=True and"):
        dl.ColumnProperties(dictionary_enabled=True, encoding="PLAIN")


@pytest.mark.parametrize("fpp", [0, 1, 1.5, -0.1])
def test_bloom_filter_probability_out_of_range(dl, fpp):
    with raises_exactly(ValueError, "fpp must be between 0 and 1"):
        dl.BloomFilterProperties(True, fpp=fpp)


def test_bloom_filter_needs_a_switch(dl):
    with raises_exactly(TypeError, "set_bloom_filter_enabled"):
        dl.BloomFilterProperties()


@pytest.mark.parametrize(
    "compression", ["UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "ZSTD"]
)
def test_compression_of_the_file(written, compression):
    metadata = written(compression=compression)
    found = {metadata.row_group(0).column(i).compression for i in range(2)}
    assert found == {compression}


def test_lz4_raw_of_the_file(written):
    assert written(compression="LZ4_RAW").row_group(0).column(0).compression == "LZ4"


def test_default_compression(dl, path):
    dl.write_deltalake(path, DATA)
    metadata = parquet_file(dl.DeltaTable(path)).metadata
    assert metadata.row_group(0).column(0).compression == "SNAPPY"


@pytest.mark.parametrize(
    ("operation", "compression"),
    [
        (lambda dl, t: t.delete("id = 1"), "zstd"),
        (lambda dl, t: t.update({"name": "'z'"}), "snappy"),
        (
            lambda dl, t: (
                t.merge(sample(), "s.id = t.id", "s", "t")
                .when_matched_update_all()
                .execute()
            ),
            "snappy",
        ),
        (lambda dl, t: t.optimize.z_order(["id"]), "zstd"),
        (
            lambda dl, t: dl.write_deltalake(
                t, sample(1), mode="overwrite", predicate="id = 0"
            ),
            "snappy",
        ),
    ],
    ids=["delete", "update", "merge", "z_order", "replace where"],
)
def test_default_compression_of_operations(dl, table, operation, compression):
    operation(dl, table)
    assert all(uri.endswith(f".{compression}.parquet") for uri in table.file_uris())


@pytest.mark.parametrize(
    ("compression", "part"),
    [("SNAPPY", "snappy"), ("ZSTD", "zstd"), ("GZIP", "gz")],
)
def test_compression_in_the_file_name(dl, path, compression, part):
    properties = dl.WriterProperties(compression=compression)
    dl.write_deltalake(path, ids(1), writer_properties=properties)
    (uri,) = dl.DeltaTable(path).file_uris()
    assert uri.endswith(f".{part}.parquet")


def test_row_group_size(written):
    metadata = written(max_row_group_size=300)
    counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert counts == [300, 300, 300, 100]


def test_row_group_size_negative(dl, path):
    with pytest.raises(TypeError, match="max_row_group_size"):
        dl.write_deltalake(
            path, DATA, writer_properties=dl.WriterProperties(max_row_group_size=-1)
        )


def test_dictionary_is_on_by_default(written):
    assert written().row_group(0).column(1).has_dictionary_page


def test_dictionary_off_for_all(dl, written):
    off = dl.ColumnProperties(dictionary_enabled=False)
    group = written(default_column_properties=off).row_group(0)
    assert not group.column(0).has_dictionary_page
    assert not group.column(1).has_dictionary_page


def test_dictionary_off_for_one_column(dl, written):
    off = dl.ColumnProperties(dictionary_enabled=False)
    group = written(column_properties={"name": off}).row_group(0)
    assert group.column(0).has_dictionary_page
    assert not group.column(1).has_dictionary_page


def test_encoding_of_one_column(dl, written):
    delta = dl.ColumnProperties(dictionary_enabled=False, encoding="DELTA_BYTE_ARRAY")
    group = written(column_properties={"name": delta}).row_group(0)
    assert "DELTA_BYTE_ARRAY" in group.column(1).encodings


def test_encoding_of_one_column_takes_the_place_of_its_dictionary(dl, written):
    packed = dl.ColumnProperties(encoding="DELTA_BINARY_PACKED")
    data = pa.table({"price": range(100), "amount": range(100)})
    group = written(data, column_properties={"price": packed}).row_group(0)
    assert "DELTA_BINARY_PACKED" in group.column(0).encodings
    assert "RLE_DICTIONARY" not in group.column(0).encodings
    assert "RLE_DICTIONARY" in group.column(1).encodings


def test_unknown_encoding(dl, written):
    with raises_exactly(dl.exceptions.DeltaError, "unknown encoding"):
        written(column_properties={"id": dl.ColumnProperties(encoding="nope")})


def test_statistics_off_for_one_column(dl, written):
    off = dl.ColumnProperties(statistics_enabled="NONE")
    group = written(column_properties={"id": off}).row_group(0)
    assert group.column(0).statistics is None
    assert group.column(1).statistics is not None


@pytest.mark.parametrize("level", ["CHUNK", "PAGE"])
def test_statistics_levels(dl, written, level):
    on = dl.ColumnProperties(statistics_enabled=level)
    statistics = written(default_column_properties=on).row_group(0).column(0).statistics
    assert (statistics.min, statistics.max) == (0, 999)


def test_unknown_statistics_level(dl, written):
    bad = dl.ColumnProperties(statistics_enabled="nope")
    with raises_exactly(dl.exceptions.DeltaError, "Invalid statistics arg: nope"):
        written(column_properties={"id": bad})


def test_statistics_truncation(written):
    metadata = written(pa.table({"s": ["abcdef"]}), statistics_truncate_length=2)
    statistics = metadata.row_group(0).column(0).statistics
    assert (statistics.min, statistics.max) == ("ab", "ac")


def test_bloom_filter(dl, written):
    bloom = dl.ColumnProperties(
        bloom_filter_properties=dl.BloomFilterProperties(True, fpp=0.01, ndv=100)
    )
    group = written(column_properties={"id": bloom}).row_group(0)
    assert group.column(0).bloom_filter_length > 0
    assert group.column(1).bloom_filter_offset is None


def test_bloom_filter_grows_with_distinct_values(dl, new_path):
    lengths = []
    for ndv in (10, 10_000):
        path = new_path()
        bloom = dl.BloomFilterProperties(True, fpp=0.01, ndv=ndv)
        columns = {"id": dl.ColumnProperties(bloom_filter_properties=bloom)}
        dl.write_deltalake(
            path,
            DATA,
            writer_properties=dl.WriterProperties(column_properties=columns),
        )
        group = parquet_file(dl.DeltaTable(path)).metadata.row_group(0)
        lengths.append(group.column(0).bloom_filter_length)
    assert lengths[0] < lengths[1]


def test_page_limits(written):
    metadata = written(
        data_page_size_limit=200,
        dictionary_page_size_limit=200,
        data_page_row_count_limit=10,
        write_batch_size=10,
    )
    assert metadata.num_rows == 1000
    assert "PLAIN" in metadata.row_group(0).column(0).encodings


def test_unknown_column_is_ignored(dl, written):
    off = dl.ColumnProperties(dictionary_enabled=False)
    assert written(column_properties={"nope": off}).num_rows == 1000


def test_properties_must_be_writer_properties(dl, path):
    with pytest.raises(AttributeError):
        dl.write_deltalake(path, DATA, writer_properties={"compression": "ZSTD"})


def test_files_name_their_writer(dl, path):
    dl.write_deltalake(path, DATA)
    assert parquet_file(dl.DeltaTable(path)).metadata.created_by


def test_files_are_readable_by_pyarrow(dl, path):
    dl.write_deltalake(path, DATA)
    (uri,) = dl.DeltaTable(path).file_uris()
    assert pq.read_table(uri).num_rows == 1000
