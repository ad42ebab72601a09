"""How Hypothesis searches, and where compiled kernels are kept.

The same cases every time in `make test`, new ones on demand. Numba's cache does not notice a change in a
called function of another file: the folder is that of this edition of the controller, as on the box.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import settings

from hardware.kernels import keep_in

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Numba forgets too that bounds were checked when it compiled.
STORE = "edge-tests-checked" if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else "edge-tests"
keep_in(Path(tempfile.gettempdir()) / f"{STORE}-{os.getuid()}")
