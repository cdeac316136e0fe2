"""Connections to one server, a time budget for each request, and the circuit breaker.

This package knows commands and replies, but not what they are for.
"""
