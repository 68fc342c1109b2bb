"""`python -m loadgen.demo`."""

import sys

from loadgen.demo.cli import main

sys.exit(main())
