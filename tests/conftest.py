"""One torch thread a test process, and a program that tests start: pytest runs as many processes as there are cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
