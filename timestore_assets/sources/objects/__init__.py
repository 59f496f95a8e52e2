"""Files that are objects of a bucket: found by listing, read by ranges."""
