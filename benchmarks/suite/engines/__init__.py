"""Who is compared: an engine a module, each run in a process and an environment of its own by `worker`."""
