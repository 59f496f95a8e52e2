"""Topics as a source: clients, assignment from checkpoints, offsets, and a broker for people without one."""
