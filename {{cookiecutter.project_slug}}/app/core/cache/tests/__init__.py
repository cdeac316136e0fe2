"""The tests of the cache. They need nothing of the application beside it; you may delete the folder."""
