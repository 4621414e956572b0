from enum import Enum


class TableFeatures(Enum):
    """Features that a table may require of its readers and writers.

    Pass members to `TableAlterer.add_feature`.
    """

    ColumnMapping = "ColumnMapping"
    DeletionVectors = "DeletionVectors"
    TimestampNanos = "TimestampNanos"
    TimestampWithoutTimezone = "TimestampWithoutTimezone"
    V2Checkpoint = "V2Checkpoint"
    AppendOnly = "AppendOnly"
    Invariants = "Invariants"
    CheckConstraints = "CheckConstraints"
    ChangeDataFeed = "ChangeDataFeed"
    GeneratedColumns = "GeneratedColumns"
    IdentityColumns = "IdentityColumns"
    RowTracking = "RowTracking"
    DomainMetadata = "DomainMetadata"
    IcebergCompatV1 = "IcebergCompatV1"
    VariantType = "VariantType"
    VariantTypePreview = "VariantTypePreview"

    def __repr__(self) -> str:
        return f"TableFeatures.{self.name}"

    def __int__(self) -> int:
        return list(TableFeatures).index(self)

    @property
    def protocol_name(self) -> str:
        """The name in the log."""
        return _SPECIAL.get(self.name) or self.name[0].lower() + self.name[1:]


_SPECIAL = {
    "TimestampWithoutTimezone": "timestampNtz",
    "VariantTypePreview": "variantType-preview",
}
