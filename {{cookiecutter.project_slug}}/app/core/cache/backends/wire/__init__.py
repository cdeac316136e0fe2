"""The wire to one server: its connections, a budget for each exchange, and its circuit breaker.

It knows commands and replies, and never what they are for: what a value is, it is told.
"""
