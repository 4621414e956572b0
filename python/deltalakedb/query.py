"""SQL over tables."""

from __future__ import annotations

from arro3.core import RecordBatchReader

from deltalakedb._internal import RawQuery
from deltalakedb.table import DeltaTable


class QueryBuilder:
    """SQL over tables that are registered by name.

    Args:
        session_config: settings of DataFusion, such as
            ``datafusion.execution.batch_size``.

    Raises:
        DeltaError: a setting does not exist.

    Example:
        >>> query = QueryBuilder().register("sales", dt)
        >>> rows = query.execute("SELECT max(price) AS highest FROM sales")
        >>> pa.table(rows).to_pylist()
        [{'highest': 3.5}]
    """

    def __init__(self, session_config: dict[str, str] | None = None) -> None:
        self._query = RawQuery(session_config)

    def register(self, table_name: str, delta_table: DeltaTable) -> QueryBuilder:
        """Gives a table a name.

        Args:
            table_name: its name in SQL.
            delta_table: the table, at its current version.
        """
        self._query.register(table_name, delta_table._table)
        return self

    def execute(self, sql: str) -> RecordBatchReader:
        """Runs a query.

        Args:
            sql: the query.

        Returns:
            Its rows, read on demand.

        Raises:
            DeltaError: the SQL is invalid, or names something unknown.
        """
        return self._query.execute(sql)
