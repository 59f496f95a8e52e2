"""Object stores, segment files and the DuckDB engine that reads and writes them."""
