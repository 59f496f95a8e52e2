"""Segment files: written, read, described and held in memory, by DuckDB and Arrow."""
