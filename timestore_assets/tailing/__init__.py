"""The hot buffer: rows of topics that are not landed yet, tailed from the committed checkpoints."""
