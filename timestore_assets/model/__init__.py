"""What a dataset, schema, window, partition, segment and position *are*: frozen values, no I/O.

Nothing here opens a file, a socket or a database, and nothing heavy is imported at module level: the forms that
need Arrow or pandera live in modules of their own and are imported when they are used.
"""
