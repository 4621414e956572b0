"""The compiled half of `deltalakedb` with DuckDB, which that package uses by itself."""
