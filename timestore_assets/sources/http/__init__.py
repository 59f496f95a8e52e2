"""Bodies of HTTP requests as batches: taken apart without changing a byte, several of them joined into one batch."""
