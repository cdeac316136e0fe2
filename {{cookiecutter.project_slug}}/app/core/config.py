"""Settings of the service, from environment variables or a `.env` file.

The cache has its own: see `app/core/cache/config.py`.
"""

from typing import Annotated, Literal

# % if cookiecutter.example_resource
from pydantic import BeforeValidator, Field, SecretStr
# % else
from pydantic import BeforeValidator, Field
# % endif
from pydantic_settings import BaseSettings, SettingsConfigDict


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class Settings(BaseSettings):
    """What can be set from outside. An empty value counts as unset."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    app_name: str = Field(
        default="{{ cookiecutter.__project_name }}",
        description="The title of the docs page.",
    )
    log_level: LogLevel = Field(
        default="INFO",
        description="What the service's own loggers show.",
    )
    cache_key_prefix: str = Field(
        default="{{cookiecutter.project_slug}}",
        description="What every key of the cache begins with: this service's name, on any Redis.",
    )
    # % if cookiecutter.example_resource
    database_url: SecretStr = Field(
        default=SecretStr("sqlite+aiosqlite:///app.db"),
        description="Any database that SQLAlchemy has an async driver for; may hold a password.",
    )
    # % endif
