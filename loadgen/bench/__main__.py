"""`python -m loadgen.bench`."""

import sys

from loadgen.bench.cli import main

sys.exit(main())
