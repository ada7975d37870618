"""What happens to Warmwire when bytes come that nobody sane would send.

Everything random comes from one seed, which failures name: ``WARMWIRE_FUZZ_SEED=7 pytest tests/fuzz`` plays it again.
The suite spends about 20 seconds here; ``WARMWIRE_FUZZ_SECONDS=600`` (``make fuzz``) spends more, with a new seed.
"""

import os
import random

SUITE_SECONDS = 20.0
SECONDS = float(os.environ.get("WARMWIRE_FUZZ_SECONDS", SUITE_SECONDS))
"""For all fuzz tests together."""
SEED = int(
    os.environ.get("WARMWIRE_FUZZ_SEED", 1 if SECONDS <= SUITE_SECONDS else random.SystemRandom().randrange(1 << 31))
)


def replay() -> str:
    """How to see a failure again, for its message."""
    return f"WARMWIRE_FUZZ_SEED={SEED} WARMWIRE_FUZZ_SECONDS={SECONDS:g}"
