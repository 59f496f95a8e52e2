"""The SQL door: checked on the syntax tree, run where it can reach nothing else."""
