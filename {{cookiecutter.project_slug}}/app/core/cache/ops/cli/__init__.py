"""The command line of the cache. It needs `typer` and `rich`, which `fastapi[standard]` brings."""
