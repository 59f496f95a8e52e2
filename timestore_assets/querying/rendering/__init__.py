"""Answers as JSON, CSV, Parquet, Arrow, and as frames of Python libraries."""
