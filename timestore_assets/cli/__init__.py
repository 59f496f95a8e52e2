"""The `timestore` command: one file per group of commands, `main.py` puts them together.

Nothing heavy is imported here: Arrow, DuckDB, pandera, Alembic and Dagster are imported by the command that needs them.
"""
