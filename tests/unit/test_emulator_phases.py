import itertools

import pytest

from warmwire.emulator.phases import (
    ExtensionCall,
    ExtensionState,
    NotAllowed,
    RuntimeCall,
    RuntimeState,
    extension_after,
    runtime_after,
)

# Written out by hand, from the Extensions and Runtime API references: a test that derived these from the tables would
# agree with any mistake made there.
S, C = ExtensionState, ExtensionCall
EXTENSION = {
    (S.STARTED, C.REGISTER): S.REGISTERED,
    (S.STARTED, C.LAUNCH_ERROR): S.LAUNCH_ERROR,
    (S.REGISTERED, C.NEXT): S.READY,
    (S.REGISTERED, C.INIT_ERROR): S.INIT_ERROR,
    (S.REGISTERED, C.EXIT_ERROR): S.EXIT_ERROR,
    (S.READY, C.DELIVERY): S.RUNNING,
    (S.READY, C.EXIT_ERROR): S.EXIT_ERROR,
    (S.RUNNING, C.NEXT): S.READY,
    (S.RUNNING, C.EXIT_ERROR): S.EXIT_ERROR,
    (S.INIT_ERROR, C.INIT_ERROR): S.INIT_ERROR,
    (S.EXIT_ERROR, C.EXIT_ERROR): S.EXIT_ERROR,
}
R, K = RuntimeState, RuntimeCall
RUNTIME = {
    (R.STARTED, K.NEXT): R.READY,
    (R.STARTED, K.INIT_ERROR): R.INIT_ERROR,
    (R.READY, K.NEXT): R.READY,
    (R.READY, K.DELIVERY): R.RUNNING,
    (R.RUNNING, K.NEXT): R.RUNNING,
    (R.RUNNING, K.RESPONSE): R.RESPONDED,
    (R.RUNNING, K.ERROR): R.RESPONDED,
    (R.RESPONDED, K.NEXT): R.READY,
}


@pytest.mark.parametrize(("state", "call"), list(itertools.product(ExtensionState, ExtensionCall)))
def test_an_extension_moves_only_where_the_api_reference_says(state, call):
    if (state, call) in EXTENSION:
        assert extension_after(state, call) is EXTENSION[state, call]
    else:
        with pytest.raises(NotAllowed, match=f"from {state.value} to {call.value} failed"):
            extension_after(state, call)


@pytest.mark.parametrize(("state", "call"), list(itertools.product(RuntimeState, RuntimeCall)))
def test_a_runtime_moves_only_where_the_api_reference_says(state, call):
    if (state, call) in RUNTIME:
        assert runtime_after(state, call) is RUNTIME[state, call]
    else:
        with pytest.raises(NotAllowed, match=f"from {state.value} to {call.value} failed"):
            runtime_after(state, call)
