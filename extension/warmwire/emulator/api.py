"""The HTTP side: Runtime API 2018-06-01, Extensions API 2020-01-01, Telemetry API 2022-07-01 on one port.

Reads requests, finds the method of the `Rendezvous` or of `Telemetry` that they mean, and writes what comes back. All
errors are JSON with ``errorMessage`` and ``errorType``, as AWS answers them.
"""

import dataclasses
import email.message
import http.server
import json
import re
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

from warmwire.emulator.phases import ExtensionCall, RuntimeCall
from warmwire.emulator.rendezvous import Ended, Invoke, Refusal, Rendezvous, Response, Shutdown
from warmwire.emulator.telemetry import Telemetry
from warmwire.emulator.variables import Function

MAX_PAYLOAD = 6 * 1024 * 1024 + 100
"""Bytes of a response: 6 MB and some slack (AWS answers 413 above)."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One HTTP request. ``parameters`` are what the route's pattern caught."""

    headers: email.message.Message
    body: bytes
    parameters: tuple[str, ...]

    def json(self) -> Any:
        """The body's JSON.

        Raises:
            Refusal: 403 ``InvalidRequestFormat``.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Refusal(403, "InvalidRequestFormat", str(error)) from None


@dataclasses.dataclass(frozen=True)
class Reply:
    """One HTTP response."""

    status: int
    body: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


ACCEPTED = Reply(202, b'{"status":"OK"}\n')
Route = Callable[["Api", Rendezvous, Request], Reply]


def identifier_of(request: Request) -> str:
    """The caller's extension identifier.

    Raises:
        Refusal: 403, it is missing or no UUID.
    """
    identifier = request.headers.get("Lambda-Extension-Identifier", "")
    if not identifier:
        message = "Missing Lambda-Extension-Identifier header"
        raise Refusal(403, "Extension.MissingExtensionIdentifier", message)
    try:
        return str(uuid.UUID(identifier))
    except ValueError:
        message = "Invalid Lambda-Extension-Identifier"
        raise Refusal(403, "Extension.InvalidExtensionIdentifier", message) from None


def register(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``POST /extension/register``."""
    name = request.headers.get("Lambda-Extension-Name", "")
    if not name:
        raise Refusal(403, "Extension.InvalidExtensionName", "Empty extension name")
    body = request.json()
    events = body.get("events") or [] if isinstance(body, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise Refusal(403, "InvalidRequestFormat", "events must be a list of strings")
    if body.get("configurationKeys"):
        message = "configurationKeys are deprecated; use environment variables instead"
        raise Refusal(403, "InvalidRequestFormat", message)
    extension = rendezvous.register(name, events)
    function = api.function
    answer = {
        "functionName": function.name,
        "functionVersion": function.version,
        "handler": function.handler,
    }
    features = request.headers.get("Lambda-Extension-Accept-Feature", "")
    if "accountId" in [feature.strip() for feature in features.split(",")]:
        answer["accountId"] = function.account_id
    return Reply(200, json.dumps(answer).encode(), {"Lambda-Extension-Identifier": extension.identifier})


def extension_next(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``GET /extension/event/next``: a long poll."""
    event = rendezvous.extension_next(identifier_of(request))
    if isinstance(event, Shutdown):
        body = {"eventType": "SHUTDOWN", "deadlineMs": event.deadline_ms, "shutdownReason": event.reason}
        return Reply(200, json.dumps(body).encode(), {"Content-Type": "text/plain; charset=utf-8"})
    body = {
        "eventType": "INVOKE",
        "deadlineMs": event.deadline_ms,
        "requestId": event.request_id,
        "invokedFunctionArn": event.function_arn,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": event.trace_id},
    }
    return Reply(200, json.dumps(body).encode(), {"Lambda-Extension-Event-Identifier": str(uuid.uuid4())})


def extension_error(call: ExtensionCall) -> Route:
    """``POST /extension/init/error`` and ``/extension/exit/error``."""

    def route(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
        identifier = identifier_of(request)
        error_type = request.headers.get("Lambda-Extension-Function-Error-Type", "")
        if not error_type:
            message = "Lambda-Extension-Function-Error-Type not found"
            raise Refusal(403, "Extension.MissingHeader", message)
        rendezvous.extension_error(identifier, call, error_type)
        return ACCEPTED

    return route


def telemetry(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``PUT /telemetry``."""
    extension = rendezvous.find(identifier_of(request))
    api.telemetry.subscribe(extension.name, request.body)
    return Reply(200, b'"OK"')


def runtime_next(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``GET /runtime/invocation/next``: a long poll."""
    invoke: Invoke = rendezvous.runtime_next()
    return Reply(
        200,
        invoke.payload,
        {
            "Lambda-Runtime-Aws-Request-Id": invoke.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invoke.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invoke.function_arn,
            "Lambda-Runtime-Trace-Id": invoke.trace_id,
        },
    )


def invocation_response(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``POST /runtime/invocation/<id>/response``."""
    if len(request.body) <= MAX_PAYLOAD:
        rendezvous.respond(request.parameters[0], RuntimeCall.RESPONSE, Response(request.body))
        return ACCEPTED
    error_type = "Function.ResponseSizeTooLarge"
    message = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
    response = Response(error_body(error_type, message), error_type)
    rendezvous.respond(request.parameters[0], RuntimeCall.RESPONSE, response)
    raise Refusal(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).")


def invocation_error(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``POST /runtime/invocation/<id>/error``."""
    rendezvous.respond(request.parameters[0], RuntimeCall.ERROR, error_response(request))
    return ACCEPTED


def runtime_init_error(api: "Api", rendezvous: Rendezvous, request: Request) -> Reply:
    """``POST /runtime/init/error``."""
    rendezvous.runtime_init_error(error_response(request))
    return ACCEPTED


def error_response(request: Request) -> Response:
    """What a runtime reports about a failure of the function."""
    error_type = request.headers.get("Lambda-Runtime-Function-Error-Type", "")
    return Response(request.body, error_type or "Runtime.Unknown")


def error_body(error_type: str, message: str) -> bytes:
    """An error as all three APIs, and Lambda itself, word it."""
    return json.dumps({"errorMessage": message, "errorType": error_type}).encode()


ROUTES: list[tuple[str, str, Route]] = [
    ("POST", r"/2020-01-01/extension/register", register),
    ("GET", r"/2020-01-01/extension/event/next", extension_next),
    ("POST", r"/2020-01-01/extension/init/error", extension_error(ExtensionCall.INIT_ERROR)),
    ("POST", r"/2020-01-01/extension/exit/error", extension_error(ExtensionCall.EXIT_ERROR)),
    ("PUT", r"/2022-07-01/telemetry", telemetry),
    ("GET", r"/2018-06-01/runtime/invocation/next", runtime_next),
    ("POST", r"/2018-06-01/runtime/invocation/([^/]+)/response", invocation_response),
    ("POST", r"/2018-06-01/runtime/invocation/([^/]+)/error", invocation_error),
    ("POST", r"/2018-06-01/runtime/init/error", runtime_init_error),
]


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a process to the API; kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Api"

    def do_GET(self) -> None:
        """Find the route, call it, write its reply; end the connection if the processes are gone."""
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            for method, pattern, route in ROUTES:
                caught = re.fullmatch(pattern, path)
                if method == self.command and caught:
                    request = Request(self.headers, body, caught.groups())
                    reply = route(self.server, self.server.rendezvous, request)
                    break
            else:
                reply = Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        except Refusal as refusal:
            reply = Reply(refusal.status, error_body(refusal.error_type, str(refusal)))
        except (Ended, ConnectionError):
            self.close_connection = True
            return
        self._write(reply)

    do_POST = do_PUT = do_GET  # the routes tell them apart

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the processes' own output is what matters."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return body

    def _write(self, reply: Reply) -> None:
        try:
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()
        except OSError:
            # Whoever asked has gone; as in Lambda, what was handed out is lost.
            self.close_connection = True


class Api(http.server.ThreadingHTTPServer):
    """The server. ``rendezvous`` is that of the present processes and is exchanged after a reset."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, function: Function, telemetry: Telemetry) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.function = function
        self.telemetry = telemetry
        self.rendezvous = Rendezvous([])
        threading.Thread(target=self.serve_forever, args=(0.05,), name="Lambda API", daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port``, as AWS_LAMBDA_RUNTIME_API gives it."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A process that is killed while it speaks is nothing to report; anything else is a bug and is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
