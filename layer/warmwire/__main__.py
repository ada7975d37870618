"""What `python -I /opt/warmwire` runs: this folder is then first on sys.path, so it finds what lies beside it."""

import sys

# A runtime that is too old gets as far as here, and its log has to say why the function fails.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"warmwire: needs a runtime of python3.11 or later, this one is Python {sys.version}")

from warmwire.cli import main

# The launcher gives no arguments: then this is the extension.
sys.exit(main(sys.argv[1:] or ["run"]))
