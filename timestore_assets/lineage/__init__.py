"""OpenLineage: what landed and was built, told to whoever draws the lineage of data."""
