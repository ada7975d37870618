"""Every error that Warmwire raises itself; the only list of the MySQL errors it answers with.

WarmwireError
├── ConfigError                     a setting is wrong; all problems in one message
├── ProtocolError                   the peer broke the MySQL protocol; its connection is of no further use
├── ClientError                     something a client is told in an ERR packet; carries errno and sqlstate
│   ├── AccessDenied                1045  wrong local user or password
│   ├── CheckoutTimeout             1040  no upstream in time
│   ├── DatabaseUnreachable         1105  network, TLS, bad configuration: the cause comes first in the text
│   ├── UpstreamLost                1152  lost while a statement may have been running
│   ├── TransactionRolledBack       1213  rolled back because the invocation ended
│   ├── UnsupportedCommand          1047  a command that cannot be relayed
│   ├── MalformedPacket             1047  bytes that are no packet
│   ├── PacketTooLarge              1153  a length over our bound
│   ├── HandshakeTimeout            1159  the client did not log in in time
│   ├── ShuttingDown                1053
│   └── ServerRefused               whatever the server said, passed on as it is
└── LambdaApiError                  the Extensions or Telemetry API answered with an error
"""


class WarmwireError(Exception):
    """Base of all errors below."""


class ConfigError(WarmwireError):
    """One or more settings are wrong. ``str()`` names each setting, what is wrong with it and what it takes."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ProtocolError(WarmwireError):
    """The peer sent bytes that the MySQL protocol does not allow here. Close its connection."""


class LambdaApiError(WarmwireError):
    """The Lambda service refused a call. ``status`` is its HTTP status, ``error_type`` its word for the reason."""

    def __init__(self, call: str, status: int, error_type: str) -> None:
        super().__init__(f"{call} was answered with HTTP {status} {error_type}")
        self.status = status
        self.error_type = error_type


class ClientError(WarmwireError):
    """An error whose reader is the client: it becomes an ERR packet with ``errno`` and ``sqlstate``."""

    errno = 1105
    sqlstate = "HY000"


class AccessDenied(ClientError):
    """The client's user name or password is not the one it has to give."""

    errno, sqlstate = 1045, "28000"


class CheckoutTimeout(ClientError):
    """Every upstream stayed in use until the client's deadline."""

    errno, sqlstate = 1040, "08004"


class DatabaseUnreachable(ClientError):
    """No upstream could be opened: name resolution, network, TLS, or the settings."""


class UpstreamLost(ClientError):
    """The upstream connection ended while a statement may have been running."""

    errno, sqlstate = 1152, "08S01"


class TransactionRolledBack(ClientError):
    """The client's open transaction was rolled back when an invocation ended."""

    errno, sqlstate = 1213, "40001"


class UnsupportedCommand(ClientError):
    """A command that cannot be relayed over a shared connection."""

    errno, sqlstate = 1047, "08S01"


class MalformedPacket(ClientError):
    """The client sent bytes that are no packet of the protocol."""

    errno, sqlstate = 1047, "08S01"


class PacketTooLarge(ClientError):
    """A packet that has to be held in memory is over its bound."""

    errno, sqlstate = 1153, "08S01"


class HandshakeTimeout(ClientError):
    """The client did not finish its login in time."""

    errno, sqlstate = 1159, "08S01"


class ShuttingDown(ClientError):
    """The environment is being shut down."""

    errno, sqlstate = 1053, "08S01"


class ServerRefused(ClientError):
    """The database answered with an error; errno, sqlstate and text are its own."""

    def __init__(self, errno: int, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.errno = errno
        self.sqlstate = sqlstate
