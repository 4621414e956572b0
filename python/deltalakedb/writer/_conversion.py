"""Schemas of Arrow as Delta has them, where code for `deltalake` looks for that."""

from deltalakedb._arrow import delta_schema as _convert_arro3_schema_to_delta

__all__ = ["_convert_arro3_schema_to_delta"]
