"""How a client is told of an error, and the log of it."""

import logging

from warmwire.errors import AccessDenied, CheckoutTimeout, ClientError, DatabaseUnreachable, ServerRefused
from warmwire.protocol.handshake import write_error

logger = logging.getLogger("warmwire.client")


def refusal(problem: ClientError, *, greeted: bool = True) -> bytes:
    """The ERR packet's payload for an error. Its text says that Warmwire speaks, unless it is the server's own."""
    text = str(problem) if isinstance(problem, (ServerRefused, AccessDenied)) else f"Warmwire: {problem}"
    return write_error(problem.errno, problem.sqlstate, text, greeted=greeted)


def log_refusal(problem: ClientError) -> None:
    """Say why a client was not let in: what the database did is a warning, what the client did is not."""
    if isinstance(problem, ServerRefused):
        logger.warning("the database refused a login: error %d (%s): %s", problem.errno, problem.sqlstate, problem)
    elif isinstance(problem, (DatabaseUnreachable, CheckoutTimeout)):
        logger.warning("a client was refused: %s", problem)
    else:
        logger.info("a client was refused: %s", problem)
