"""One batch judged by the rules of its dataset: pure steps, no I/O."""
