"""The Extensions API's client against a service of a few lines."""

import http.client
import http.server
import json
import socket
import threading

import pytest

from warmwire.errors import LambdaApiError
from warmwire.lambda_api import extensions
from warmwire.lambda_api.extensions import ExtensionsApi

IDENTIFIER = "9f9b6a2c-1111-2222-3333-444455556666"


class Service(http.server.ThreadingHTTPServer):
    """Answers each path with what ``answers`` holds for it: status, headers, body."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = {}
        self.requests = []
        self.endpoint = f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """A client that hangs up is nothing to write about."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        status, headers, answer = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_):
        """Nothing to anybody."""


REGISTER, NEXT = "/2020-01-01/extension/register", "/2020-01-01/extension/event/next"
TELEMETRY, EXIT_ERROR = "/2022-07-01/telemetry", "/2020-01-01/extension/exit/error"


@pytest.fixture
def service():
    server = Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.answers[REGISTER] = (200, {"Lambda-Extension-Identifier": IDENTIFIER}, b'{"functionName": "shop"}')
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def api(service):
    """Registered already."""
    api = ExtensionsApi(service.endpoint)
    api.register(["INVOKE", "SHUTDOWN"])
    service.requests.clear()
    return api


def test_registering_says_our_name_and_what_events_we_want(service):
    assert ExtensionsApi(service.endpoint).register(["SHUTDOWN"]) == {"functionName": "shop"}
    ((method, path, headers, body),) = service.requests
    assert (method, path) == ("POST", REGISTER)
    assert headers["Lambda-Extension-Name"] == "warmwire"
    assert headers["Content-Type"] == "application/json"
    assert "Lambda-Extension-Identifier" not in headers
    assert json.loads(body) == {"events": ["SHUTDOWN"]}


def test_every_call_after_it_carries_the_identifier(service, api):
    event = {"eventType": "INVOKE", "requestId": "r", "deadlineMs": 5}
    service.answers[NEXT] = (200, {}, json.dumps(event).encode())
    service.answers[TELEMETRY] = (200, {}, b'"OK"')
    service.answers[EXIT_ERROR] = (202, {}, b'{"status": "OK"}')
    assert api.next_event() == event
    assert api.subscribe("http://sandbox.localdomain:4243/") is True
    api.report_exit("EventStreamBroke", "why")
    assert [headers["Lambda-Extension-Identifier"] for _, _, headers, _ in service.requests] == [IDENTIFIER] * 3
    (_, _, _, nothing), (_, _, _, subscription), (_, _, headers, report) = service.requests
    assert nothing == b""
    assert json.loads(subscription) == {
        "schemaVersion": "2025-01-29",
        "types": ["platform"],
        "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/"},
    }
    assert headers["Lambda-Extension-Function-Error-Type"] == "Extension.EventStreamBroke"
    assert json.loads(report)["errorMessage"] == "why"


@pytest.mark.parametrize("status", [202, 400, 403, 500])
def test_where_there_is_no_telemetry_that_is_no_failure(service, api, status):
    service.answers[TELEMETRY] = (status, {}, b"not supported")
    assert api.subscribe("http://sandbox.localdomain:4243/") is False


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"errorType": "Extension.UnknownExtensionIdentifier", "errorMessage": "?"}', "Extension.UnknownExtensionIdentifier"),
        (b"<html>", ""),
        (b"", ""),
        (b"[1]", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_refusal_says_which_call_its_status_and_lambdas_word_for_it(service, api, body, kind):
    service.answers[NEXT] = service.answers[REGISTER] = (403, {}, body)
    for call, path in ((api.next_event, "/extension/event/next"), (lambda: api.register([]), "/extension/register")):
        with pytest.raises(LambdaApiError) as raised:
            call()
        assert str(raised.value).startswith(f"{path} was answered with HTTP 403")
        assert (raised.value.status, raised.value.error_type) == (403, kind)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"INVOKE"'])
def test_an_event_that_is_no_document_is_refused(service, api, body):
    service.answers[NEXT] = (200, {}, body)
    with pytest.raises(LambdaApiError, match="HTTP 200"):
        api.next_event()


def test_what_registering_returns_may_be_nothing(service):
    service.answers[REGISTER] = (200, {}, b"")
    assert ExtensionsApi(service.endpoint).register([]) == {}


def test_a_service_that_is_not_there_is_an_os_error():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(ConnectionRefusedError):
        ExtensionsApi(endpoint).register([])


@pytest.mark.parametrize("endpoint", ["127.0.0.1:port", "a b:80"])
def test_an_endpoint_that_is_none_is_an_error_that_is_expected(endpoint):
    with pytest.raises((OSError, http.client.HTTPException)):
        ExtensionsApi(endpoint).register([])


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"])
def test_a_service_that_breaks_off_is_an_error_that_is_expected(said):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(65536)
                accepted.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises((OSError, http.client.HTTPException)):
            ExtensionsApi(f"127.0.0.1:{listening.getsockname()[1]}").next_event()
        thread.join()


def test_only_the_wait_for_an_event_has_no_end(monkeypatch):
    monkeypatch.setattr(extensions, "_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = ExtensionsApi(f"127.0.0.1:{listening.getsockname()[1]}")
        for call in (lambda: api.register([]), lambda: api.subscribe("http://x/"), lambda: api.report_exit("E", "m")):
            with pytest.raises(TimeoutError):
                call()
        events = []
        waiting = threading.Thread(target=lambda: events.append(api.next_event()))
        waiting.start()
        for _ in range(3):
            listening.accept()[0].close()  # of those that gave up
        accepted, _ = listening.accept()
        waiting.join(0.3)
        assert waiting.is_alive()
        with accepted:
            accepted.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"eventType":"PONDER"')
            accepted.sendall(b"}")
        waiting.join(5)
        assert events == [{"eventType": "PONDER"}]


def test_no_proxy_of_the_functions_environment_is_used(service, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ExtensionsApi(service.endpoint).register([]) == {"functionName": "shop"}
