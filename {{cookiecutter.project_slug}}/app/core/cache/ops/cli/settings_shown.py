"""`config`: what each setting is, and where it was read."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, SecretStr

from ...errors import CacheConfigError
from ...settings import CacheSettings
from .session import DONE, Session

_HIDDEN = "***"
ENVIRONMENT, FILE, DEFAULT, URL = "environment", ".env", "default", "REDIS_URL"
APPLICATION = "application"


class NotedSettings(CacheSettings):
    """Settings that remember the variables from which they were read."""

    _variables: dict[str, str] = PrivateAttr(default_factory=dict)
    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, *, _names: Any = None, **given: Any) -> None:
        super().__init__(_names=_names, **given)
        self._variables, self._given = dict(_names or {}), given

    def source_of(self, setting: str) -> tuple[str, str | None]:
        """Return where a setting was read, and the name of its variable, if it has one."""
        if setting not in self.model_fields_set:
            return DEFAULT, None
        variable = self._variables.get(setting)
        if variable is None or _differs(getattr(self, setting), self._given.get(setting)):
            return URL, self._variables.get("redis_url")
        named = {name.upper() for name, value in os.environ.items() if value}
        return (ENVIRONMENT if variable in named else FILE), variable

    def shown(self, setting: str) -> Any:
        """Return the value of a setting, as JSON data, without what is secret."""
        value = getattr(self, setting)
        if setting == "redis_url" and value is not None:
            return self._url()
        if isinstance(value, SecretStr):
            return _HIDDEN
        is_from_url = self.source_of(setting)[0] == URL
        if setting == "redis_username" and is_from_url and self.redis_password is None:
            return _HIDDEN  # who leaves out the colon gives a password as a name
        return str(value) if isinstance(value, Path) else value

    def _url(self) -> str:
        """Return the address that a URL leads to, made anew, so that it holds nothing else."""
        if self._unix_socket is not None:
            return f"unix://{self._unix_socket}?db={self.redis_db}"
        scheme = "rediss" if self.redis_tls else "redis"
        has_user = "redis_username" in self.model_fields_set or self.redis_password is not None
        user = f"{_HIDDEN}@" if has_user else ""
        return f"{scheme}://{user}{self.redis_host}/{self.redis_db}"


def _differs(value: Any, text: Any) -> bool:
    """Whether a setting has another value than its own variable: then the URL has replaced it."""
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(plain, float | int) and not isinstance(plain, bool):
        return float(text) != plain
    return isinstance(plain, str) and isinstance(text, str) and plain != text


def _env_file() -> tuple[Path, bool]:
    file = Path(".env").resolve()
    return file, file.exists()


async def config(session: Session) -> int:
    """Tell each setting, its value, and where that was read."""
    settings, out, (file, is_there) = NotedSettings.load(), session.out, _env_file()
    read = {
        name: (settings.shown(name), *settings.source_of(name))
        for name in type(settings).model_fields
    }
    with suppress(CacheConfigError):  # the end tells it
        if app := session.find_prefix(or_default=True):
            prefix = session.settings.cache_key_prefix
            read["cache_key_prefix"] = (prefix, APPLICATION, app.name)
    rows = [(name, *told) for name, told in read.items()]
    out.json(
        env_file=str(file) if is_there else None,
        backend=settings.backend_name,
        settings=[
            {"name": name.upper(), "value": value, "source": source, "variable": variable}
            for name, value, source, variable in rows
        ],
    )
    there = str(file) if is_there else f"there is none in {file.parent}"
    out.line(f"backend: {settings.backend_name}; .env: {there}")
    for name, value, source, variable in rows:
        other = f", {variable}" if variable not in (None, source, name.upper()) else ""
        style = "dim" if source == DEFAULT else ""
        shown = (
            str(value).lower() if isinstance(value, bool) else "-" if value is None else str(value)
        )
        out.line((f"{name.upper():26}{shown:24} ", style), (f"{source}{other}", "dim"))
    _ = session.manager  # raises for settings that contradict each other, or files that are missing
    return DONE
