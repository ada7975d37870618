"""Clients of the Lambda APIs for tiny extensions and runtimes. Runs in their processes; standard library only."""

import contextlib
import http.client
import http.server
import json
import os
import sys
import threading

API = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")


def note(*words):
    print(*words, flush=True)


def call(method, path, body=None, headers=None, api=None):
    with contextlib.closing(http.client.HTTPConnection(api or API)) as connection:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        payload = response.read()
        with contextlib.suppress(ValueError):
            payload = json.loads(payload)
        return response.status, response.headers, payload


class Extension:
    def __init__(self, *events, name=None, api=None, headers=None):
        self.api = api
        name = name or os.path.basename(sys.argv[0])
        headers = {"Lambda-Extension-Name": name, **(headers or {})}
        status, reply, self.registration = self.call("/register", {"events": list(events)}, headers)
        assert status == 200, self.registration
        self.identifier = reply["Lambda-Extension-Identifier"]

    def call(self, path, body=None, headers=None, method="POST"):
        return call(method, "/2020-01-01/extension" + path, body, headers, self.api)

    @property
    def own(self):
        return {"Lambda-Extension-Identifier": self.identifier}

    def next(self):
        status, _, event = self.call("/event/next", None, self.own, "GET")
        assert status == 200, event
        return event

    def error(self, kind, error_type):
        return self.call(f"/{kind}/error", {}, {**self.own, "Lambda-Extension-Function-Error-Type": error_type})[0]

    def subscribe(self, port, timeout_ms=25, types=("platform",)):
        body = {
            "schemaVersion": "2025-01-29",
            "types": list(types),
            "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": timeout_ms},
            "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}/"},
        }
        return call("PUT", "/2022-07-01/telemetry", body, self.own, self.api)


class Runtime:
    """The loop of a runtime, opened up."""

    def next(self):
        status, headers, event = call("GET", "/2018-06-01/runtime/invocation/next")
        assert status == 200, event
        self.headers = headers
        self.request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        return event

    def respond(self, result):
        return call("POST", f"/2018-06-01/runtime/invocation/{self.request_id}/response", result)

    def serve(self, handler=lambda event: event):
        while True:
            self.respond(handler(self.next()))


class Listener(http.server.ThreadingHTTPServer):
    """Takes telemetry, after ``refusals`` that it answers with 500. ``events`` grows; ``arrived`` is notified."""

    def __init__(self, refusals=0):
        self.events = []
        self.refusals = refusals
        self.arrived = threading.Condition()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                batch = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with self.arrived:
                    refuse = self.refusals > 0
                    self.refusals -= refuse
                    self.events += [] if refuse else batch
                    self.arrived.notify_all()
                handler.send_response(500 if refuse else 200)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *words):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def types(self):
        return [event["type"] for event in self.events]

    def await_event(self, kind, request_id=None, timeout=5.0):
        def found():
            return [
                event
                for event in self.events
                if event["type"] == kind and (request_id is None or event["record"]["requestId"] == request_id)
            ]

        with self.arrived:
            assert self.arrived.wait_for(found, timeout), f"no {kind} in {self.types()}"
            return found()[0]
