"""SQL over what a caller may read, and statements that are kept under a name."""
