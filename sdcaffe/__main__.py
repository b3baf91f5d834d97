"""`python -m sdcaffe` is the command `sdcaffe`."""

import sys

from sdcaffe.cli import main

if __name__ == "__main__":
    sys.exit(main())
