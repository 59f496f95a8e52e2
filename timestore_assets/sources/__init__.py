"""Where records come from: positions and batches. A source knows nothing of datasets' tables, catalogs or Dagster."""
