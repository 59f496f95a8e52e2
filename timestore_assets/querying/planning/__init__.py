"""A question checked against the schema, turned into SQL, and the segments that it needs."""
