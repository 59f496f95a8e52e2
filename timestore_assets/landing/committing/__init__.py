"""One batch of any source into the catalog: staged, announced, committed with its checkpoint."""
