"""The Extensions API: register, wait for events, report a fatal error; and the subscription to the Telemetry API.

Blocking calls with ``http.client``, which honours no proxy settings of the function, for use on a thread of their own.
``/event/next`` has no timeout on purpose: it is answered at the next invocation, whenever that is, and a client that
gives up can never ask again.
"""

import http.client
import json
from typing import Any

from warmwire.errors import LambdaApiError

NAME = "warmwire"
"""The file name of the launcher in /opt/extensions; Lambda knows the extension by it."""
_TIMEOUT = 5.0


class ExtensionsApi:
    """One extension's conversation with the Lambda service.

    Args:
        endpoint: ``host:port`` of AWS_LAMBDA_RUNTIME_API.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._identifier = ""

    def register(self, events: list[str]) -> dict[str, Any]:
        """Register; from then on the function's code may run.

        Returns:
            functionName, functionVersion, handler.

        Raises:
            LambdaApiError: it was refused.
            OSError, http.client.HTTPException: the service did not answer.
        """
        status, headers, body = self._call(
            "POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": NAME}, {"events": events}, _TIMEOUT
        )
        if status != 200:
            raise LambdaApiError("/extension/register", status, _error_type(body))
        self._identifier = headers.get("Lambda-Extension-Identifier", "")
        return body if isinstance(body, dict) else {}

    def next_event(self) -> dict[str, Any]:
        """Say that this extension is ready, and wait for the next event. Raises as :meth:`register`."""
        status, _, body = self._call("GET", "/2020-01-01/extension/event/next", {}, None, None)
        if status != 200 or not isinstance(body, dict):
            raise LambdaApiError("/extension/event/next", status, _error_type(body))
        return body

    def subscribe(self, uri: str) -> bool:
        """Ask for the platform's telemetry to be posted to ``uri``.

        Returns:
            False if there is no telemetry here (the answer 202 of AWS's emulator) or the service refused.

        Raises:
            OSError, http.client.HTTPException: the service did not answer.
        """
        request = {
            "schemaVersion": "2025-01-29",
            "types": ["platform"],
            "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": uri},
        }
        return self._call("PUT", "/2022-07-01/telemetry", {}, request, _TIMEOUT)[0] == 200

    def report_exit(self, error_type: str, message: str) -> None:
        """Say why this extension is about to exit. Raises as :meth:`register`."""
        headers = {"Lambda-Extension-Function-Error-Type": f"Extension.{error_type}"}
        body = {"errorMessage": message, "errorType": f"Extension.{error_type}", "stackTrace": []}
        self._call("POST", "/2020-01-01/extension/exit/error", headers, body, _TIMEOUT)

    def _call(
        self, method: str, path: str, headers: dict[str, str], body: object, timeout: float | None
    ) -> tuple[int, http.client.HTTPMessage, Any]:
        connection = http.client.HTTPConnection(self._endpoint, timeout=timeout)
        try:
            if self._identifier:
                headers["Lambda-Extension-Identifier"] = self._identifier
            payload = None
            if body is not None:
                payload = json.dumps(body)
                headers["Content-Type"] = "application/json"
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return response.status, response.headers, json.loads(text) if text else None
        except ValueError:
            return response.status, response.headers, None


def _error_type(body: object) -> str:
    return str(body.get("errorType", "")) if isinstance(body, dict) else ""
