"""Benchmarks beside peers, on the data and the queries of TSBS's cpu-only case: `make bench`, see `docs/benchmarks.md`."""
