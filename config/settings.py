"""Every setting: an environment variable `PASSAPAROLA_…` or a line of a `.env` file; none is needed.

`load_settings()` reads and checks them all at once; an unknown name is refused, because a mistyped setting that is
silently ignored is worse than a refusal. Values travel down as plain arguments: no other room imports this file. The
table in `docs/reference/settings.md` is made from the descriptions (`make docs`).
"""

import difflib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from domain.errors import RejectedInput

PREFIX = "PASSAPAROLA_"
DOTENV = ".env"
DATABASE_FILE = "passaparola.sqlite3"
SECRET_FILE = "secret_key"  # noqa: S105 (a file name)
MIN_SECRET = 32  # characters


class Settings(BaseSettings):
    """All settings of one process; immutable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str = Field(
        "",
        repr=False,
        description="`sqlite:////folder/file.sqlite3` or `postgresql+asyncpg://user:password@host/name`; "
        f"empty: the file `{DATABASE_FILE}` in `DATA_DIR`.",
    )
    redis_url: str = Field(
        "",
        repr=False,
        description="`redis://host:6379/0`: carries wake-ups between processes and the API's counts of requests, "
        "never data; empty: within the process.",
    )
    data_dir: Path = Field(
        Path("data"),
        description="Folder for the database, media files, the secret key and the control socket.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` for all.")
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="Port to listen on; 0: the system chooses. `PORT=… make run` sets it as well.",
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on which a process without the role `web` answers `/healthz`, `/readyz` and `/metrics`; 0: "
        "it does not listen.",
    )
    public_url: str = Field(
        "",
        description="Where platforms and browsers reach this server, e.g. `https://chat.example.com`. Set: webhooks "
        "are registered there; empty: Telegram bots poll.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description=f"At least {MIN_SECRET} random characters that seal secrets and personal data; absent: made once "
        f"into `DATA_DIR/{SECRET_FILE}`. Keep it away from backups of the database. "
        "Several processes need the same one.",
    )
    telegram_api_url: str = Field(
        "https://api.telegram.org",
        description="Origin of the Telegram Bot API, or of your own Bot API server.",
    )
    whatsapp_api_url: str = Field(
        "https://graph.facebook.com", description="Origin of the WhatsApp Cloud API."
    )
    whatsapp_api_version: str = Field(
        "v25.0", pattern=r"^v[0-9]{1,3}\.[0-9]$", description="Version of the WhatsApp Cloud API."
    )
    outgoing_allow: str = Field(
        "",
        description="Servers that flows may call though they are not on the public internet or use an unusual port: "
        "`erp.example.com:8443, 10.0.0.5:80`. Only the public internet on ports 80, 443, 8080 and 8443 is allowed "
        "without it.",
    )
    ai_url: str = Field(
        "",
        description="Address of a service that speaks OpenAI's chat completions, up to `/chat/completions`, e.g. "
        "`https://api.openai.com/v1` or `http://127.0.0.1:11434/v1`; empty: the step `ai` is off.",
    )
    ai_key: SecretStr | None = Field(None, description="Key for that service, when it wants one.")
    ai_model: str = Field("", max_length=200, description="Model that the step `ai` asks for.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token for `/metrics` from other machines; absent: loopback only."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="`console` for people, `json` for programs: one object a line."
    )
    crash_at: str = Field(
        "",
        description="For fault tests: a crash point (`passaparola check` lists them) with an optional `:n`; the "
        "process ends at its n-th passing.",
    )

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("secret_key", "metrics_token", "ai_key", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("telegram_api_url", "whatsapp_api_url", mode="before")
    @classmethod
    def _empty_is_default(cls, value: object, info: ValidationInfo) -> object:
        return value or cls.model_fields[info.field_name or ""].default

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET:
            raise ValueError("too short")
        return value

    @field_validator("outgoing_allow")
    @classmethod
    def _places(cls, value: str) -> str:
        outgoing_places(value)
        return value

    @field_validator("public_url", "telegram_api_url", "whatsapp_api_url", "ai_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (
            parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment
        ):
            raise ValueError("not an address")
        _ = parts.port  # raises ValueError for a port that is none
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("not a Redis address")
        return value

    @property
    def store_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / DATABASE_FILE}"

    @property
    def base_url(self) -> str:
        """Where this server is reached: the public address, else the one it listens on."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 (compared, not bound)
        return self.public_url or f"http://{host}:{self.port}"


# What each value must look like: said in place of a value, which may be secret.
_FORMS = {
    "redis_url": "must look like redis://host:6379/0",
    "data_dir": "must be a folder",
    "host": "must be an address such as 127.0.0.1",
    "port": "must be a whole number between 0 and 65535",
    "health_port": "must be a whole number between 0 and 65535",
    "public_url": "must look like https://chat.example.com",
    "secret_key": f"must have at least {MIN_SECRET} characters",
    "telegram_api_url": "must look like https://api.telegram.org",
    "whatsapp_api_url": "must look like https://graph.facebook.com",
    "whatsapp_api_version": "must look like v25.0",
    "outgoing_allow": "must be a list such as erp.example.com:8443, 10.0.0.5:80",
    "ai_url": "must look like https://api.openai.com/v1",
    "ai_model": "must be the name of a model",
    "log_level": "must be debug, info, warning or error",
    "log_format": "must be console or json",
}


def load_settings(**given: Any) -> Settings:
    """The settings of this process; `given` ones (by field name) win over the environment, that over `.env`.

    Raises RejectedInput naming the first wrong variable, never its value.
    """
    _refuse_unknown([*os.environ, *_dotenv()])
    try:
        return Settings(**given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0]).lower().removeprefix(PREFIX.lower())
        raise RejectedInput(_FORMS.get(name, "cannot be read"), where=PREFIX + name.upper()) from None


def outgoing_places(value: str) -> frozenset[tuple[str, int]]:
    """(host, port) of each entry. Raises ValueError."""
    from bot.outgoing.addresses import allow_list

    try:
        return allow_list([one for one in value.split(",") if one.strip()], where=PREFIX + "OUTGOING_ALLOW")
    except RejectedInput as error:
        raise ValueError(error.what) from None


def environment() -> Mapping[str, str]:
    """The environment over the lines of `.env`: where a business file's `${NAME}` is looked up."""
    return {**_dotenv(), **os.environ}


def _dotenv() -> dict[str, str]:
    try:
        found = DotEnvSettingsSource(Settings, env_file=DOTENV, case_sensitive=True).env_vars
    except UnicodeDecodeError as error:
        raise RejectedInput("is not text in UTF-8", where=DOTENV) from error
    except OSError as error:
        raise RejectedInput(f"cannot be read: {error.strerror}", where=DOTENV) from error
    return {name: value or "" for name, value in found.items()}


def _refuse_unknown(names: Iterable[str]) -> None:
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in names:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
            raise RejectedInput(f"there is no such setting; the nearest one is {nearest}", where=name)


def secret_key(settings: Settings) -> str:
    """The installation's secret: the setting, else the file in `DATA_DIR`, which is made (mode 600) when absent.

    Raises RejectedInput when the file is unfit, or absent beside a database that was sealed with it.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    path = settings.data_dir / SECRET_FILE
    if not path.exists():
        if not settings.database_url and (settings.data_dir / DATABASE_FILE).exists():
            raise RejectedInput(
                f"is not set, and {path}, with which the database was sealed, is gone: bring it back",
                where=PREFIX + "SECRET_KEY",
            )
        make_secret_file(path)
    found = path.read_text().strip()
    if len(found) < MIN_SECRET:
        raise RejectedInput(f"must have at least {MIN_SECRET} characters", where=str(path))
    return found


def make_secret_file(path: Path) -> None:
    """Writes a new secret, mode 600. Of several processes at once the first wins: the file appears complete."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half, path)
    except FileExistsError:
        return
    finally:
        half.unlink()
