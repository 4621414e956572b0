"""Arrow schemas in Delta's types, in the module where `deltalake` has them."""

from deltalakedb._arrow import delta_schema as _convert_arro3_schema_to_delta

__all__ = ["_convert_arro3_schema_to_delta"]
