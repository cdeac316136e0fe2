"""The tests of the service. Those of the cache module are in `app/core/cache/tests`."""

import logging

# pytest has no handler yet when it imports `app`, and would print below its results what is logged.
logging.getLogger().addHandler(logging.NullHandler())
