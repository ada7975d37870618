"""Which call of an extension or a runtime is legal when. Pure: two tables and the function that reads them.

Theory of operation. Lambda knows an extension by its state and answers every call that the state does not allow with
403. What surprises is READY: it is entered when the extension *asks* for an event and left when one is *handed out*.
A client that gives up waiting and asks again is therefore refused for good, because nothing told the service that it
had gone. A runtime is treated more kindly: it may ask again.

The names of the states are those that AWS prints in its errors.
"""

import enum


class ExtensionState(enum.Enum):
    """Where an extension is in its life."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"


class ExtensionCall(enum.Enum):
    """What moves an extension on. The value is the state that AWS's error text says it tried to enter."""

    REGISTER = "Registered"
    NEXT = "Ready"
    DELIVERY = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"


class RuntimeState(enum.Enum):
    """Where the runtime is in its life."""

    STARTED = "Started"
    READY = "Ready"
    RUNNING = "Running"
    RESPONDED = "RuntimeResponseSentState"
    INIT_ERROR = "InitError"


class RuntimeCall(enum.Enum):
    """What moves a runtime on."""

    NEXT = "Ready"
    DELIVERY = "Running"
    RESPONSE = "InvocationResponse"
    ERROR = "InvocationErrorResponse"
    INIT_ERROR = "InitError"


EXTENSION: dict[ExtensionState, dict[ExtensionCall, ExtensionState]] = {
    ExtensionState.STARTED: {
        ExtensionCall.REGISTER: ExtensionState.REGISTERED,
        ExtensionCall.LAUNCH_ERROR: ExtensionState.LAUNCH_ERROR,
    },
    ExtensionState.REGISTERED: {
        ExtensionCall.NEXT: ExtensionState.READY,
        ExtensionCall.INIT_ERROR: ExtensionState.INIT_ERROR,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    ExtensionState.READY: {
        ExtensionCall.DELIVERY: ExtensionState.RUNNING,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    ExtensionState.RUNNING: {
        ExtensionCall.NEXT: ExtensionState.READY,
        ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    # Both ends accept the same error again: only the first one counts.
    ExtensionState.INIT_ERROR: {ExtensionCall.INIT_ERROR: ExtensionState.INIT_ERROR},
    ExtensionState.EXIT_ERROR: {ExtensionCall.EXIT_ERROR: ExtensionState.EXIT_ERROR},
    ExtensionState.LAUNCH_ERROR: {},
}

RUNTIME: dict[RuntimeState, dict[RuntimeCall, RuntimeState]] = {
    RuntimeState.STARTED: {
        RuntimeCall.NEXT: RuntimeState.READY,
        RuntimeCall.INIT_ERROR: RuntimeState.INIT_ERROR,
    },
    RuntimeState.READY: {RuntimeCall.NEXT: RuntimeState.READY, RuntimeCall.DELIVERY: RuntimeState.RUNNING},
    RuntimeState.RUNNING: {
        # The same invocation is handed out again.
        RuntimeCall.NEXT: RuntimeState.RUNNING,
        RuntimeCall.RESPONSE: RuntimeState.RESPONDED,
        RuntimeCall.ERROR: RuntimeState.RESPONDED,
    },
    RuntimeState.RESPONDED: {RuntimeCall.NEXT: RuntimeState.READY},
    RuntimeState.INIT_ERROR: {},
}


class NotAllowed(Exception):
    """The state does not allow the call. ``str()`` is the sentence AWS answers with, without the name of the caller."""


def extension_after(state: ExtensionState, call: ExtensionCall) -> ExtensionState:
    """The state that ``call`` leads to.

    Raises:
        NotAllowed: The call is not legal in ``state``; the state stays as it is.
    """
    try:
        return EXTENSION[state][call]
    except KeyError:
        raise NotAllowed(f"State transition from {state.value} to {call.value} failed for extension") from None


def runtime_after(state: RuntimeState, call: RuntimeCall) -> RuntimeState:
    """The state that ``call`` leads to.

    Raises:
        NotAllowed: The call is not legal in ``state``; the state stays as it is.
    """
    try:
        return RUNTIME[state][call]
    except KeyError:
        raise NotAllowed(f"State transition from {state.value} to {call.value} failed for runtime") from None
