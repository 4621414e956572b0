"""Versions that are held while they are read."""

from __future__ import annotations

from datetime import datetime, timezone

from deltalakedb._internal import RawHold


class Hold:
    """A hold: vacuum and expiry keep this version until it is released.

    `DeltaTable.hold` returns one. It ends at the end of a ``with`` block, with
    `release`, or by itself when its time is over.
    """

    def __init__(self, raw: RawHold) -> None:
        self._hold = raw

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"Hold(version={self.version}, until={self.until.isoformat()!r})"

    @property
    def version(self) -> int:
        """The version that is held."""
        return self._hold.version()

    @property
    def until(self) -> datetime:
        """When the hold ends, by the catalog's clock."""
        return datetime.fromtimestamp(self._hold.until_ms() / 1000, timezone.utc)

    def renew(self, seconds: float = 3600) -> None:
        """Extends the hold to this many seconds from now on.

        Raises:
            DeltaError: the hold has ended; files of the version may have been removed.
        """
        self._hold.renew(seconds)

    def release(self) -> None:
        """Ends the hold. Does nothing if the hold has ended already."""
        self._hold.release()
