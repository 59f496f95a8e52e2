"""A plan carried out: rows of segments, one step after the other."""
