"""Turn a partition's segments into sealed ones."""
