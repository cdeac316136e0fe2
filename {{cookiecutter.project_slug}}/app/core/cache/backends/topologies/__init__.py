"""Where the keys are: on one server, on the master that sentinels name, or on a cluster.

This package decides which server gets a command, and `wire` brings it there.
"""
