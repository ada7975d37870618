"""The environment variables that Lambda gives to a runtime and to an extension."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path

NOT_FOR_EXTENSIONS = frozenset(
    {
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
"""Besides these, everything that begins with an underscore (Extensions API, "Environment variables")."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Function:
    """A function as it would be configured in Lambda.

    ``handler`` (``file.function``) runs under ``awslambdaric`` with this interpreter, unless ``bootstrap`` names a
    command, its first part relative to ``directory`` if it has a slash. ``timeout`` is in seconds.
    """

    directory: Path
    handler: str = ""
    bootstrap: tuple[str, ...] = ()
    name: str = "function"
    version: str = "$LATEST"
    region: str = "us-east-1"
    account_id: str = "123456789012"
    memory_mb: int = 128
    timeout: float = 3.0
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.name}"

    @property
    def command(self) -> tuple[str, ...]:
        """What starts the runtime."""
        return self.bootstrap or (sys.executable, "-m", "awslambdaric", self.handler)


def for_runtime(function: Function, api: str, layer: Path | None, initialization_type: str, log_stream: str) -> dict[str, str]:
    """The runtime's variables. ``api`` is ``host:port``, ``layer`` what would be /opt."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # The layer's launcher looks for the runtime's own interpreter, which in Lambda is the first on the PATH. The venv's
    # would bring development packages along, hence the one that it was made from.
    interpreters = str(Path(os.path.realpath(sys.executable)).parent)
    path = [interpreters, "/usr/local/bin", "/usr/bin", "/bin"]
    variables = {
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": "" if function.bootstrap else f"AWS_Lambda_{version}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_REGION": function.region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": str(function.directory),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": function.handler,
    }
    if layer is not None:
        path.append(str(layer / "bin"))
        libraries = (layer / "python", layer / "python" / "lib" / version / "site-packages")
        variables["PYTHONPATH"] = os.pathsep.join(str(folder) for folder in libraries)
    variables["PATH"] = os.pathsep.join(path)
    if function.bootstrap:
        del variables["AWS_EXECUTION_ENV"]
    return {**variables, **function.variables}


def for_extension(function: Function, runtime_variables: Mapping[str, str], layer: Path) -> dict[str, str]:
    """An extension's variables: the runtime's without what belongs to the runtime only.

    ``WARMWIRE_LAYER_ROOT`` tells the launcher where the layer lies, since there is no /opt here.
    """
    variables = {
        name: value for name, value in runtime_variables.items() if name not in NOT_FOR_EXTENSIONS and not name.startswith("_")
    }
    if "PYTHONPATH" not in function.variables:
        variables.pop("PYTHONPATH", None)
    return {**variables, "WARMWIRE_LAYER_ROOT": str(layer)}
