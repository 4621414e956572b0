"""Filters of files, as lists of conditions or as SQL."""

from __future__ import annotations

import warnings
from typing import (
    TYPE_CHECKING,
    Any,
    Union,
    cast,
)

from deltalakedb._table_features import TableFeatures as TableFeatures
from deltalakedb._util import (
    encode_partition_value,
)

if TYPE_CHECKING:

    pass

FilterLiteralType = tuple[str, str, Any]
FilterConjunctionType = list[FilterLiteralType]
FilterDNFType = list[FilterConjunctionType]
FilterType = Union[FilterConjunctionType, FilterDNFType]  # noqa: UP007
PartitionFilterType = list[tuple[str, str, Union[str, list[str]]]]  # noqa: UP007
FilePruningPredicateType = Union[str, FilterType]  # noqa: UP007


def replaced_filters(
    name: str,
    deprecated: FilterType | None,
    predicate: FilePruningPredicateType | None,
) -> FilePruningPredicateType | None:
    if deprecated is None:
        return predicate
    if predicate is not None:
        raise ValueError(f"`{name}` is deprecated; pass only `file_pruning_predicate`")
    warnings.warn(
        f"`{name}` is deprecated; pass the filters to `file_pruning_predicate` instead",
        DeprecationWarning,
        stacklevel=3,
    )
    return deprecated


def pruning(
    predicate: FilePruningPredicateType | None,
) -> str | list[PartitionFilterType] | None:
    return predicate if isinstance(predicate, str) else conjunctions(predicate)


def conjunctions(filters: FilterType | None) -> list[PartitionFilterType] | None:
    """Filters in disjunctive normal form, with values as the log spells them."""
    if not filters:
        return None
    if all(isinstance(part, tuple) for part in filters):
        conjunctions = [cast(FilterConjunctionType, filters)]
    elif all(isinstance(part, list) for part in filters):
        conjunctions = cast(FilterDNFType, filters)
    else:
        raise ValueError(
            "filters must be a list of (column, op, value) tuples (a conjunction), or "
            "a list of such lists (an OR across conjunctions), not a mix of both"
        )
    if not all(conjunctions):
        raise ValueError(
            "empty conjunction in filters; pass no filter to match all files"
        )
    return [encoded(conjunction) for conjunction in conjunctions]


def encoded(conjunction: FilterConjunctionType) -> PartitionFilterType:
    return [
        (
            column,
            operator,
            (
                [encode_partition_value(one) for one in value]
                if isinstance(value, (list, tuple))
                else encode_partition_value(value)
            ),
        )
        for column, operator, value in conjunction
    ]
