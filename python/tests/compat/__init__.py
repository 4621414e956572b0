"""Tests of the behaviour that users of the ``deltalake`` package rely on.

Run against ``deltalake`` itself, then against a drop-in replacement::

    COMPAT_PACKAGE=deltalake pytest python/tests/compat -q
    COMPAT_PACKAGE=deltalakedb pytest python/tests/compat -q

Needs deltalake 1.6, pyarrow, pandas, polars, duckdb and pytest 9.
"""
