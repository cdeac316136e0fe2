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
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="How log lines look: text for people, or one object of JSON a line.",
    )
    cache_key_prefix: str = Field(
        default="{{cookiecutter.project_slug}}",
        description="What every key of the cache begins with: this service's name, on any Redis.",
    )
    cache_audit: Literal["error", "warning"] = Field(
        default="error",
        description="What a mistake in how the cache is used is at the start: an error or a warning.",
    )
    cache_page: str = Field(
        default="off",
        description="Who may see /cache: off, local, or package.module:name of a dependency.",
    )
    cache_publish_seconds: float = Field(
        default=5.0,
        ge=0,
        lt=20,
        description="How often a process publishes its counters for that page; 0: it does not.",
    )
    # % if cookiecutter.example_resource
    database_url: SecretStr = Field(
        default=SecretStr("sqlite+aiosqlite:///app.db"),
        description="Any database that SQLAlchemy has an async driver for; may hold a password.",
    )
    # % endif
