"""Changes of columns, constraints, features and properties of a table."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
)

from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb._util import (
    HOOKS_FIRST,
    check_type,
    deprecate_positional_commit_args,
)
from deltalakedb.schema import Field

if TYPE_CHECKING:

    from deltalakedb.table import DeltaTable
    from deltalakedb.transaction import (
        CommitProperties,
        PostCommitHookProperties,
    )


class TableAlterer:
    """Changes the metadata of a table.

    Args:
        table: the table.
    """

    def __init__(self, table: DeltaTable) -> None:
        self.table = table

    def add_feature(
        self,
        feature: TableFeatures | list[TableFeatures],
        allow_protocol_versions_increase: bool = False,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Enables features in the protocol of the table.

        Args:
            feature: one or several.
            allow_protocol_versions_increase: whether the protocol may be raised to the
                versions with lists of features, which older readers and writers do not
                support.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: the protocol would have to be raised, and may not be.

        Example:
            >>> from deltalakedb import TableFeatures
            >>> dt.alter.add_feature(TableFeatures.AppendOnly, True)
            >>> dt.protocol().writer_features
            ['appendOnly']
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "add_feature", args, commit_properties, post_commithook_properties
            )
        )
        features = [feature] if isinstance(feature, TableFeatures) else feature
        check_type("feature", features, list, tuple)
        for one in features:
            check_type("feature", one, TableFeatures)
        self.table._table.add_features(
            [one.protocol_name for one in features],
            allow_protocol_versions_increase,
            commit_properties,
            post_commithook_properties,
        )

    def add_columns(
        self,
        fields: Field | list[Field],
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Adds columns, or fields within columns. They are null in existing rows.

        Args:
            fields: one or several.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Example:
            >>> from deltalakedb import Field
            >>> dt.alter.add_columns(Field("note", "string"))
            >>> [field.name for field in dt.schema().fields]
            ['id', 'name', 'price', 'note']
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "add_columns", args, commit_properties, post_commithook_properties
            )
        )
        fields = [fields] if isinstance(fields, Field) else fields
        check_type("fields", fields, list, tuple)
        for one in fields:
            check_type("a field", one, Field)
        self.table._table.add_columns(
            [one.to_json() for one in fields],
            commit_properties,
            post_commithook_properties,
        )

    def add_constraint(
        self,
        constraints: dict[str, str],
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Adds a constraint, which existing rows must satisfy as well.

        Args:
            constraints: the conditions in SQL, by name.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: a row does not satisfy it.

        Example:
            >>> dt.alter.add_constraint({"priced": "price > 0"})
            >>> dt.metadata().configuration
            {'delta.constraints.priced': 'price > 0'}
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "add_constraint",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        self.table._table.add_constraints(
            constraints, commit_properties, post_commithook_properties
        )

    def drop_constraint(
        self,
        name: str,
        raise_if_not_exists: bool = True,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Drops a constraint.

        Args:
            name: its name.
            raise_if_not_exists: whether a missing constraint is an error.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: there is none.
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "drop_constraint",
                args,
                commit_properties,
                post_commithook_properties,
                HOOKS_FIRST,
            )
        )
        self.table._table.drop_constraint(
            name, raise_if_not_exists, commit_properties, post_commithook_properties
        )

    def drop_column_not_null(
        self,
        column_name: str,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Drops the NOT NULL constraint of a column.

        Args:
            column_name: the column.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: there is no such column, or it may be null already.
        """
        self.table._table.drop_column_not_null(
            column_name, commit_properties, post_commithook_properties
        )

    def set_table_properties(
        self,
        properties: dict[str, str],
        raise_if_not_exists: bool = True,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Sets properties.

        Args:
            properties: the values by name.
            raise_if_not_exists: whether names unknown to Delta are rejected.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: a name or a value is invalid.

        Example:
            >>> dt.alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
            >>> dt.metadata().configuration
            {'delta.enableChangeDataFeed': 'true'}
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "set_table_properties",
                args,
                commit_properties,
                post_commithook_properties,
            )
        )
        self.table._table.set_properties(
            properties,
            raise_if_not_exists,
            commit_properties,
            post_commithook_properties,
        )

    def set_table_name(
        self,
        name: str,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Sets the name in the table's metadata.

        Args:
            name: at most 255 characters.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "set_table_name", args, commit_properties, post_commithook_properties
            )
        )
        check_type("name", name, str)
        self.table._table.describe(
            name, None, commit_properties, post_commithook_properties
        )

    def set_table_description(
        self,
        description: str,
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Sets the description of the table.

        Args:
            description: at most 4000 characters.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "set_table_description",
                args,
                commit_properties,
                post_commithook_properties,
            )
        )
        check_type("description", description, str)
        self.table._table.describe(
            None, description, commit_properties, post_commithook_properties
        )

    def set_column_metadata(
        self,
        column: str,
        metadata: dict[str, str],
        *args: Any,
        commit_properties: CommitProperties | None = None,
        post_commithook_properties: PostCommitHookProperties | None = None,
    ) -> None:
        """Adds to the metadata of a column.

        Args:
            column: the column.
            metadata: values by key.
            *args: deprecated; name the arguments below instead.
            commit_properties: properties of the commit.
            post_commithook_properties: options for the steps after the commit.

        Raises:
            DeltaError: there is no such column.
        """
        commit_properties, post_commithook_properties = (
            deprecate_positional_commit_args(
                "set_column_metadata",
                args,
                commit_properties,
                post_commithook_properties,
            )
        )
        self.table._table.set_column_metadata(
            column, metadata, commit_properties, post_commithook_properties
        )
