"""The command line: ``warmwire run``, ``serve``, ``emulate``, ``check``. Imports only what the command needs."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: by default the process's.

    Returns:
        The exit code: 0 for success, 1 for a failure, 2 for a bad configuration or a bad command line.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments in ([], ["run"]) and _in_lambda():
        from warmwire.app import run  # the start-up path: no argparse

        return run()
    return _parse_and_run(arguments)


def _in_lambda() -> bool:
    from warmwire.config import LambdaEnvironment

    return bool(LambdaEnvironment.from_env().runtime_api)


def _parse_and_run(arguments: Sequence[str]) -> int:
    import argparse
    from importlib.util import find_spec

    from warmwire import __version__

    parser = argparse.ArgumentParser(
        prog="warmwire",
        description="MySQL connections that stay warm inside a Lambda execution environment.",
        epilog="Settings are environment variables named WARMWIRE_…; the README lists them all.",
    )
    parser.add_argument("--version", action="version", version=f"warmwire {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser(
        "run",
        help="the Lambda extension; the default where AWS_LAMBDA_RUNTIME_API is set",
        description="Register as a Lambda extension and serve until SHUTDOWN. Needs AWS_LAMBDA_RUNTIME_API.",
    )
    commands.add_parser(
        "serve",
        help="the same proxy without Lambda, for development and tests",
        description="Serve MySQL clients on 127.0.0.1 and a unix socket until SIGTERM or SIGINT. Exit code 2: bad settings.",
    )
    commands.add_parser(
        "check",
        help="validate the settings, connect once, say what was found",
        description="Validate the settings and log in to the database once. Exit code 0: all is well; 1: it cannot be"
        " reached; 2: bad settings.",
    )
    if find_spec("warmwire.emulator") is not None:  # it is not in the layer
        from warmwire.emulator import command as emulate

        emulate.add_arguments(
            commands.add_parser(
                "emulate",
                help="a local Lambda: run a function and its extensions through Init, Invoke, freeze and Shutdown",
                description="Run a function and the extensions of a layer through Init, Invoke, freeze, thaw and Shutdown.",
            )
        )
    chosen = parser.parse_args(arguments)
    if chosen.command == "emulate":
        return emulate.run(chosen)
    if chosen.command == "check":
        from warmwire.app import check

        return check()
    if chosen.command == "run":
        parser.error("run needs AWS_LAMBDA_RUNTIME_API; outside Lambda use serve or emulate")
    from warmwire.app import serve

    return serve()
