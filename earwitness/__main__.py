"""``python -m earwitness``, as torchrun starts it."""

import sys

from earwitness.cli import main

if __name__ == "__main__":
    sys.exit(main())
