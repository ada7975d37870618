"""Settings: the only reader of the environment, and the source of the README's table.

Every setting is one field of :class:`Config`. Unknown ``WARMWIRE_*`` names and bad values are reported all at once, in
words. Nothing here exits: what a bad configuration means is decided by the caller.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from warmwire.errors import ConfigError

PREFIX = "WARMWIRE_"
NOT_SETTINGS = tuple(PREFIX + name for name in ("LAYER_ROOT", "TEST_", "CACHE", "FUZZ_"))
"""Names that belong to the layer's launcher and to the project's own tests."""

Parser = Callable[[str], Any]
"""Turns a setting's text into its value, or raises ValueError with what the setting takes."""


def _number(low: int, high: int) -> Parser:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Parser:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be seconds from {low:g} to {high:g}")
        return value

    return parse


def _one_of(*choices: str) -> Parser:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError("must be " + " or ".join((", ".join(choices[:-1]), choices[-1]) if choices[1:] else choices))
        return text.lower()

    return parse


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL byte")
    if not _is_utf8(text):
        raise ValueError("must be UTF-8")
    return text


def _is_utf8(text: str) -> bool:
    """Whether the environment's bytes were; others come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _socket_path(text: str) -> str:
    if len(os.fsencode(text)) > 107:  # sun_path of unix(7), with its final NUL
        raise ValueError("must be at most 107 bytes: the system's limit for a socket's path")
    return _text(text)


def _setting(name: str, default: object, parse: Parser, meaning: str, shown: str | None = None) -> Any:
    metadata = {"name": PREFIX + name, "parse": parse, "meaning": meaning, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, checked. Times are seconds."""

    db_url: str = dataclasses.field(
        default="",
        repr=False,  # it holds a password
        metadata={
            "name": PREFIX + "DB_URL",
            "parse": str,  # _parts_of looks at it
            "meaning": "`mysql://user:password@host:port/dbname`, special characters percent-encoded; the settings below"
            " override its parts",
            "shown": "–",
        },
    )
    db_host: str = _setting("DB_HOST", "", _text, "the database's host name or address", shown="–")
    db_port: int = _setting("DB_PORT", 3306, _number(1, 65535), "the database's port")
    db_user: str = _setting("DB_USER", "", _text, "the account that Warmwire logs in with, and that clients name", shown="–")
    db_password: str = dataclasses.field(
        default="",
        repr=False,
        metadata={"name": PREFIX + "DB_PASSWORD", "parse": _text, "meaning": "its password", "shown": "empty"},
    )
    db_auth: str = _setting("DB_AUTH", "password", _one_of("password"), "how to log in: `password`")
    db_name: str = _setting(
        "DB_NAME",
        "",
        _text,
        "the database that the first upstream is opened on; a client that names none still has none, as it has directly",
        shown="–",
    )
    db_tls: str = _setting(
        "DB_TLS",
        "verify-full",
        _one_of("verify-full", "verify-ca", "required", "disabled"),
        "`verify-full` (certificate and host name), `verify-ca` (certificate), `required` (encrypted only), `disabled`",
    )
    db_tls_ca: str = _setting("DB_TLS_CA", "", _text, "PEM file of the CAs to trust", shown="the system's")
    port: int = _setting("PORT", 3306, _number(1, 65535), "TCP port on 127.0.0.1 that clients connect to")
    socket: str = _setting(
        "SOCKET", "/tmp/warmwire.sock", _socket_path, "unix socket for clients, mode 0600; empty for none"  # noqa: S108
    )
    local_password: str | None = dataclasses.field(
        default=None,
        repr=False,
        metadata={
            "name": PREFIX + "LOCAL_PASSWORD",
            "parse": _text,
            "meaning": "if set, clients must give it; if not, their password is not checked, only the user name",
            "shown": "–",
        },
    )
    pool_size: int = _setting("POOL_SIZE", 1, _number(0, 1000), "upstream connections kept across invocations")
    pool_max: int = _setting(
        "POOL_MAX", 5, _number(1, 1000), "upstream connections at once; those above POOL_SIZE close when the invocation ends"
    )
    checkout_timeout: float = _setting(
        "CHECKOUT_TIMEOUT", 5.0, _seconds(0.1, 900), "seconds that a client waits for an upstream"
    )
    idle_timeout: int = _setting(
        "IDLE_TIMEOUT",
        600,
        _number(1, 31_536_000),
        "`wait_timeout` of every upstream session, so that the server ends what a frozen environment holds",
    )
    validate_after: float = _setting(
        "VALIDATE_AFTER", 5.0, _seconds(0, 86_400), "seconds of idleness after which an upstream is pinged before use"
    )
    invoke_end: str = _setting(
        "INVOKE_END", "strict", _one_of("strict"), "`strict`: hold the environment until the invocation's end was cleaned up"
    )
    eager: str = _setting(
        "EAGER",
        "auto",
        _one_of("auto", "on", "off"),
        "open the first upstream during Init: `auto` (only where the first invocation follows at once), `on`, `off`",
    )
    metrics: str = _setting("METRICS", "off", _one_of("off"), "`off`: this version writes none")
    log_level: str = _setting(
        "LOG_LEVEL",
        "info",
        _one_of("debug", "info", "warning", "error"),
        "`debug`, `info`, `warning`, `error`",
        shown="AWS_LAMBDA_LOG_LEVEL or info",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read and check all settings.

        Args:
            environ: the environment, by default the process's.

        Raises:
            ConfigError: one or more settings are unknown, missing or bad; all of them are in the message.
        """
        environ = os.environ if environ is None else environ
        fields = {field.metadata["name"]: field for field in dataclasses.fields(cls)}
        problems: dict[str, str] = {}  # by the setting that has them
        values = _defaults_from(environ)
        url = environ.get(PREFIX + "DB_URL", "")
        if url:
            try:
                values.update(_parts_of(url))
            except ValueError as problem:
                problems[PREFIX + "DB_URL"] = f"{PREFIX}DB_URL {problem}"
        for name, text in sorted(environ.items()):
            if not name.startswith(PREFIX) or name.startswith(NOT_SETTINGS):
                continue
            field = fields.get(name)
            if field is None:
                problems[name] = f"{name}: no such setting{_meant(name, fields)}"
                continue
            try:
                values[field.name] = field.metadata["parse"](text)
            except ValueError as problem:
                shown = f"={text!r}" if field.repr else ""
                problems[name] = f"{name}{shown} {problem}"
        config = cls(**values)
        for names, contradiction in config._contradictions():
            if problems.keys().isdisjoint(names):  # what a bad value should have been is not known
                problems[names[0]] = contradiction
        if problems:
            raise ConfigError(list(problems.values()))
        return config

    def _contradictions(self) -> list[tuple[tuple[str, ...], str]]:
        """What is missing or does not go together: the settings that it depends on, and the problem."""
        host, user, url = PREFIX + "DB_HOST", PREFIX + "DB_USER", PREFIX + "DB_URL"
        size, most = PREFIX + "POOL_SIZE", PREFIX + "POOL_MAX"
        problems: list[tuple[tuple[str, ...], str]] = []
        if not self.db_host:
            problems.append(((host, url), f"{host} is missing: set it, or {url}, to the database's host"))
        if not self.db_user:
            problems.append(((user, url), f"{user} is missing: set it, or {url}, to the database account"))
        if self.pool_size > self.pool_max:
            problems.append(((size, most), f"{size}={self.pool_size} must not be above {most}={self.pool_max}"))
        return problems

    @property
    def database(self) -> str:
        """The database in words for messages: ``host:port``."""
        return f"{self.db_host}:{self.db_port}"


def local_only(environ: Mapping[str, str] | None = None) -> Config:
    """The settings that the local listener needs, for when :meth:`Config.from_env` failed.

    Bad values give way to their defaults: the listener has to come up so that clients can be told what is wrong.
    """
    environ = os.environ if environ is None else environ
    values = {}
    for field in dataclasses.fields(Config):
        if field.name in ("port", "socket", "log_level") and field.metadata["name"] in environ:
            try:
                values[field.name] = field.metadata["parse"](environ[field.metadata["name"]])
            except ValueError:
                continue
    return Config(**values)


def reference_table() -> str:
    """The README's table of settings, in Markdown."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Config):
        shown = field.metadata["shown"] or (f"`{field.default}`" if field.default != "" else "–")
        if isinstance(field.default, float):
            shown = f"`{field.default:g}`"
        rows.append(f"| `{field.metadata['name']}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join(rows)


@dataclasses.dataclass(frozen=True, slots=True)
class LambdaEnvironment:
    """What the Lambda service says in the extension's environment."""

    runtime_api: str
    """``host:port`` of the Extensions API; empty outside Lambda. Never assume 127.0.0.1:9001."""
    initialization_type: str
    """``on-demand``, ``provisioned-concurrency``, ``snap-start``, ``lambda-managed-instances`` or empty."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "LambdaEnvironment":
        """Read it from the environment, by default the process's."""
        environ = os.environ if environ is None else environ
        return cls(environ.get("AWS_LAMBDA_RUNTIME_API", ""), environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", ""))

    @property
    def is_managed_instance(self) -> bool:
        """Whether invocations run concurrently and neither INVOKE events nor freezes exist."""
        return self.initialization_type == "lambda-managed-instances"


def _meant(name: str, known: Iterable[str]) -> str:
    """What to say of the setting that was probably meant, if any is like it."""
    from difflib import get_close_matches  # only where something is wrong already

    return "".join(f"; is {setting} meant?" for setting in get_close_matches(name, known, n=1, cutoff=0.85))


_LAMBDA_LEVELS = {"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error", "FATAL": "error"}


def _defaults_from(environ: Mapping[str, str]) -> dict[str, Any]:
    level = _LAMBDA_LEVELS.get(environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper())
    return {"log_level": level} if level else {}


def _parts_of(url: str) -> dict[str, Any]:
    """The settings inside a ``mysql://`` URL. Raises ValueError without ever quoting the URL: it holds a password."""
    from urllib.parse import unquote, urlsplit  # 6 ms, and most environments use the single settings

    form = "must look like mysql://user:password@host:port/dbname, special characters percent-encoded"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(form) from None
    if parts.scheme not in ("mysql", "mariadb") or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ValueError(form)
    if "/" in parts.path[1:] or "\0" in unquote(url) or not _is_utf8(url):
        raise ValueError(form)
    values: dict[str, Any] = {"db_url": url, "db_host": parts.hostname}
    if port is not None:
        values["db_port"] = port
    if parts.username is not None:
        values["db_user"] = unquote(parts.username)
    if parts.password is not None:
        values["db_password"] = unquote(parts.password)
    if parts.path.strip("/"):
        values["db_name"] = unquote(parts.path[1:])
    return values
