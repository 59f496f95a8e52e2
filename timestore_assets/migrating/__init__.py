"""Changes of a dataset's columns that people ask for: read from a manifest, tried on the rows there are, carried out at once."""
