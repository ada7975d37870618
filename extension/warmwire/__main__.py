"""``python -m warmwire``, and what the layer's launcher runs."""

import sys

from warmwire.cli import main

sys.exit(main())
