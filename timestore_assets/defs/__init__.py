"""The packaged datasets, one folder each with its `defs.yaml`."""
