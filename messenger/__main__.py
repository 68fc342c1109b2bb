"""`python -m messenger`: the command `peyk`."""

import sys

from messenger.cli import main

if __name__ == "__main__":
    sys.exit(main())
