"""The compiled part of the package, called by the Python classes. Not for users.

Schemas and types travel as JSON in the form of the Delta protocol. Methods that run an
operation return its metrics as JSON. Errors are the classes of
`deltalakedb.exceptions`.
"""

from collections.abc import Mapping

from arro3.core import DataType, RecordBatchReader, Table
from arro3.core import Field as ArrowField
from arro3.core import Schema as ArrowSchema
from arro3.core.types import ArrowSchemaExportable, ArrowStreamExportable

from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb.exceptions import CommitFailedError as CommitFailedError
from deltalakedb.exceptions import DeltaError as DeltaError
from deltalakedb.exceptions import DeltaProtocolError as DeltaProtocolError
from deltalakedb.exceptions import SchemaMismatchError as SchemaMismatchError
from deltalakedb.exceptions import TableNotFoundError as TableNotFoundError
from deltalakedb.schema import ArrayType as ArrayType
from deltalakedb.schema import Field as Field
from deltalakedb.schema import MapType as MapType
from deltalakedb.schema import PrimitiveType as PrimitiveType
from deltalakedb.schema import Schema as Schema
from deltalakedb.schema import StructType as StructType
from deltalakedb.schema import VariantType as VariantType
from deltalakedb.transaction import CommitProperties, PostCommitHookProperties
from deltalakedb.transaction import Transaction as Transaction
from deltalakedb.writer.properties import WriterProperties

__version__: str
_NANOSECOND_TIMESTAMPS: bool

def rust_core_version() -> str: ...
def init_tracing(endpoint: str | None) -> None: ...
def take_log_events() -> list[LogEvent]: ...
def wait_for_log_events() -> list[LogEvent] | None: ...
def close_log_events() -> None: ...
def settle() -> None: ...
def schema_to_arrow(json: str, as_large_types: bool) -> ArrowSchema: ...
def schema_from_arrow(schema: ArrowSchemaExportable) -> str: ...
def type_to_arrow(json: str) -> DataType: ...
def type_from_arrow(type: ArrowSchemaExportable) -> str: ...
def field_to_arrow(json: str) -> ArrowField: ...
def field_from_arrow(field: ArrowSchemaExportable) -> str: ...

# A condition in SQL, or partition filters in disjunctive normal form whose values are
# spelled as the log spells partition values.
_Pruning = str | list[list[tuple[str, str, str | list[str]]]] | None

class LogEvent:
    """An event of the compiled part, for `logging`."""

    @property
    def logger(self) -> str: ...
    @property
    def level(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def fields(self) -> list[tuple[str, str]]: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def time(self) -> float: ...

class RawTable:
    """A table at one version, and its location."""

    def __init__(
        self, uri: str, version: int | None, storage_options: dict[str, str] | None
    ) -> None: ...
    @staticmethod
    def exists(uri: str, storage_options: dict[str, str] | None) -> bool: ...
    def table_uri(self) -> str: ...
    def name(self) -> str | None: ...
    def version(self) -> int: ...
    def latest_version(self) -> int: ...
    def load_version(self, version: int) -> None: ...
    def load_timestamp(self, rfc3339: str) -> None: ...
    def refresh(self) -> None: ...
    def schema(self) -> str: ...
    def metadata(
        self,
    ) -> tuple[
        str, str | None, str | None, list[str], int | None, dict[str, str | None]
    ]:
        """Id, name, description, partition columns, time of creation (ms),
        configuration."""

    def protocol(self) -> tuple[int, int, list[str] | None, list[str] | None]:
        """Reader version, writer version, writer features, reader features."""

    def file_uris(self, pruning: _Pruning) -> list[str]: ...
    def partitions(self, pruning: _Pruning) -> list[dict[str, str | None]]: ...
    def files(
        self, pruning: _Pruning
    ) -> list[tuple[str, int, dict[str, str | None], str | None]]:
        """Path, size in bytes, partition values by logical name, and statistics as
        JSON of each file."""

    def get_add_file_sizes(self) -> dict[str, int]: ...
    def count(self) -> int: ...
    def add_actions(self, flatten: bool) -> Table: ...
    def history(self, limit: int | None) -> list[str]:
        """The commitInfo of each version as JSON with `version`, newest first."""

    def transaction_version(self, app_id: str) -> int | None: ...
    def scan(
        self, columns: list[str] | None, predicate: str | None
    ) -> RecordBatchReader: ...
    def changes(
        self,
        columns: list[str] | None,
        predicate: str | None,
        starting_version: int,
        ending_version: int | None,
        starting_timestamp: str | None,
        ending_timestamp: str | None,
        allow_out_of_range: bool,
    ) -> RecordBatchReader: ...
    def deletion_vectors(self) -> RecordBatchReader: ...
    def write(
        self,
        data: RecordBatchReader,
        mode: str,
        partition_by: list[str] | None,
        schema_mode: str | None,
        predicate: str | None,
        target_file_size: int | None,
        name: str | None,
        description: str | None,
        configuration: Mapping[str, str | None] | None,
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def delete(
        self,
        predicate: str | None,
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str: ...
    def update(
        self,
        updates: dict[str, str],
        predicate: str | None,
        safe_cast: bool,
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str: ...
    def merge(
        self,
        source: ArrowStreamExportable,
        predicate: str,
        source_alias: str | None,
        target_alias: str | None,
        merge_schema: bool,
        safe_cast: bool,
        streamed: bool,
        clauses: list[tuple[str, dict[str, str] | None, str | None]],
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str:
        """Clauses are kind, assignments, condition; kinds are `matched_update`,
        `matched_delete`, `not_matched_insert`, `not_matched_by_source_update` and
        `not_matched_by_source_delete`."""

    def optimize(
        self,
        zorder: list[str],
        partition_filters: list[tuple[str, str, str | list[str]]] | None,
        target_size: int | None,
        max_concurrent_tasks: int | None,
        min_commit_interval: int | None,
        max_spill_size: int | None,
        max_temp_directory_size: int | None,
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str: ...
    def purge(
        self,
        partition_filters: list[tuple[str, str, str | list[str]]] | None,
        writer: WriterProperties | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str: ...
    def vacuum(
        self,
        retention_hours: int | None,
        dry_run: bool,
        enforce_retention_duration: bool,
        full: bool,
        keep_versions: list[int] | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> list[str]: ...
    def restore(
        self,
        target: int | str | None,
        ignore_missing_files: bool,
        protocol_downgrade_allowed: bool,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str:
        """To a version, or to a time in RFC 3339."""

    def repair(
        self,
        dry_run: bool,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> str: ...
    def add_columns(
        self,
        fields: list[str],
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def add_features(
        self,
        features: list[str],
        allow_protocol_versions_increase: bool,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def add_constraints(
        self,
        constraints: dict[str, str],
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def drop_constraint(
        self,
        name: str,
        raise_if_not_exists: bool,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def drop_column_not_null(
        self,
        column: str,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def set_properties(
        self,
        properties: dict[str, str],
        raise_if_not_exists: bool,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def describe(
        self,
        name: str | None,
        description: str | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def set_column_metadata(
        self,
        column: str,
        metadata: dict[str, str],
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None: ...
    def commit_actions(
        self,
        actions: list[str],
        mode: str,
        partition_by: list[str],
        schema: str,
        partition_filters: list[tuple[str, str, str | list[str]]] | None,
        commit: CommitProperties | None,
        hooks: PostCommitHookProperties | None,
    ) -> None:
        """Commits add and remove actions, each as JSON in the form of the log."""

    def generate(self) -> None: ...
    def create_checkpoint(self) -> None: ...
    def cleanup_metadata(self) -> None: ...
    def compact_logs(self, starting_version: int, ending_version: int) -> None: ...
    def store(self) -> RawStore: ...

def create_table(
    uri: str,
    schema: str,
    mode: str,
    partition_by: list[str],
    name: str | None,
    description: str | None,
    configuration: Mapping[str, str | None] | None,
    raise_if_key_not_exists: bool,
    actions: list[str],
    storage_options: dict[str, str] | None,
    commit: CommitProperties | None,
    hooks: PostCommitHookProperties | None,
) -> None:
    """Creates a table; `actions` are existing files that become its rows."""

def create_table_of_rows(
    uri: str,
    data: RecordBatchReader,
    mode: str,
    partition_by: list[str],
    target_file_size: int | None,
    name: str | None,
    description: str | None,
    configuration: Mapping[str, str | None] | None,
    storage_options: dict[str, str] | None,
    writer: WriterProperties | None,
    commit: CommitProperties | None,
    hooks: PostCommitHookProperties | None,
) -> None: ...
def convert_table(
    uri: str,
    partition_schema: str | None,
    partition_strategy: str | None,
    name: str | None,
    description: str | None,
    configuration: Mapping[str, str | None] | None,
    storage_options: dict[str, str] | None,
    collect_stats: bool,
    commit: CommitProperties | None,
    hooks: PostCommitHookProperties | None,
) -> None: ...

class RawHold:
    """A held version of a table."""

    def __init__(
        self, table: RawTable, version: int, seconds: float, holder: str
    ) -> None: ...
    def version(self) -> int: ...
    def until_ms(self) -> int: ...
    def renew(self, seconds: float) -> None: ...
    def release(self) -> None: ...

class RawQuery:
    """SQL over tables that are registered by name."""

    def __init__(self, session_config: dict[str, str] | None) -> None: ...
    def register(self, name: str, table: RawTable) -> None: ...
    def execute(self, sql: str) -> RecordBatchReader: ...

class RawStore:
    """The files of a location, by paths relative to it."""

    def __init__(self, uri: str, storage_options: dict[str, str] | None) -> None: ...
    def uri(self) -> str: ...
    def head(self, path: str) -> tuple[int, int] | None:
        """Size in bytes and time of modification in nanoseconds since 1970."""

    def list(
        self, prefix: str, recursive: bool
    ) -> tuple[list[tuple[str, int, int]], list[str]]:
        """Files as path, size and time; and, where not recursive, folders."""

    def read(self, path: str, start: int, length: int) -> bytes: ...
    def write(self, path: str, data: bytes) -> None: ...
    def delete(self, path: str) -> None: ...
    def copy(self, source: str, target: str) -> None: ...
    def rename(self, source: str, target: str) -> None: ...

class RawCatalog:
    """A connection to a catalog."""

    def __init__(
        self,
        uri: str | None,
        create: bool | None,
        settings: dict[str, str] | None,
        data: str | None,
    ) -> None: ...
    def uri(self) -> str: ...
    def close(self) -> None: ...
    def tables(self) -> list[str]:
        """Each table as JSON: name, location, version, timestamp, published_version,
        mirror."""

    def create(
        self,
        table: str,
        schema: str,
        location: str | None,
        partition_by: list[str],
        configuration: Mapping[str, str | None] | None,
    ) -> None: ...
    def import_table(self, location: str, name: str | None) -> str:
        """Its name in the catalog."""

    def exists(self, table: str) -> bool: ...
    def rename(self, table: str, name: str) -> None: ...
    def drop(self, table: str, delete_files: bool, force: bool) -> None: ...
    def detach(self, table: str) -> None: ...
    def undrop(self, table: str, new_name: str | None) -> str:
        """Its name in the catalog."""

    def history(self, table: str, limit: int | None) -> list[str]: ...
    def mirror_status(self) -> list[str]: ...
    def publish(self, table: str | None) -> None: ...
    def expire(
        self,
        table: str | None,
        keep_ms: int | None,
        keep_versions: int | None,
        dry_run: bool,
    ) -> list[str]: ...
    def verify(self, table: str | None) -> list[str]:
        """The differences, one sentence each."""

    def open(self, table: str, version: int | None) -> RawTable: ...
    def query(
        self,
        sql: str,
        params: list[tuple[str, str | None]] | dict[str, tuple[str, str | None]] | None,
    ) -> RecordBatchReader | None:
        """Runs statements; the rows of the last one that has any."""

    def begin(
        self,
        max_tables: int | None,
        timeout_secs: float | None,
        serializable: bool,
    ) -> RawTransaction: ...

class RawTransaction:
    """Operations on several tables, committed together or not at all."""

    def schema(self, table: RawTable | str) -> str: ...
    def write(
        self,
        table: RawTable | str,
        data: RecordBatchReader,
        mode: str,
        schema_mode: str | None,
        predicate: str | None,
        partition_by: list[str] | None,
        location: str | None,
    ) -> str: ...
    def delete(self, table: RawTable | str, predicate: str | None) -> str: ...
    def update(
        self, table: RawTable | str, updates: dict[str, str], predicate: str | None
    ) -> str: ...
    def merge(
        self,
        table: RawTable | str,
        source: ArrowStreamExportable,
        predicate: str,
        source_alias: str | None,
        target_alias: str | None,
        merge_schema: bool,
        clauses: list[tuple[str, dict[str, str] | None, str | None]],
    ) -> str: ...
    def stage_actions(
        self, table: RawTable | str, actions: list[str], mode: str
    ) -> None: ...
    def scan(
        self, table: RawTable | str, columns: list[str] | None, predicate: str | None
    ) -> RecordBatchReader: ...
    def commit(self) -> dict[str, int]:
        """The new version of each table, by its name."""

    def rollback(self) -> None: ...
