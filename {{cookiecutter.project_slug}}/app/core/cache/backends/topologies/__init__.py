"""Where the keys are: on one server, on the master that sentinels name, or on those of a cluster.

Which server gets a command is decided here, and never how it gets there: see `wire`.
"""
