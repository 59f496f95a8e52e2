"""The SQL database of everything: datasets, schemas, checkpoints, segments, partitions, files, audit and outbox."""
