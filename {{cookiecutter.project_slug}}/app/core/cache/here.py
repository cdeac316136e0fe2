"""Where the code of the cache and that of libraries is: all other code is the application's own."""

import os
import sysconfig
from pathlib import Path
from typing import Final

PACKAGE: Final = f"{__package__}."
"""What the names of the cache's own modules begin with."""
FOLDER: Final = f"{Path(__file__).parent}{os.sep}"
LIBRARIES: Final = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""The folders of the standard library and of what is installed."""
