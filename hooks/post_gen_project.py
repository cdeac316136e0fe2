"""Remove what was not chosen. The whole of it is the table below."""

import json
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# Why a path goes, and the paths that go.
REMOVED = [
    (
        not ANSWERS["example_resource"],
        [
            "app/api/users.py",
            "app/core/database.py",
            "app/models.py",
            "tests/test_users.py",
            "tests/test_users_on_redis.py",
        ],
    ),
    (ANSWERS["license"] == "Proprietary", ["LICENSE"]),
]

if __name__ == "__main__":
    for unwanted, paths in REMOVED:
        if unwanted:
            for path in paths:
                Path(path).unlink(missing_ok=True)
