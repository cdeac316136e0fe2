"""The tests of the service. Those of the cache module are in `tests/cache`."""
