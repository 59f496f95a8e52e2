"""Parquet files: batches of rows within the memory, single rows, types that need care."""
