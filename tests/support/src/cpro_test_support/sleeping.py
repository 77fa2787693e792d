"""A process that reads its input and then does nothing, for tests of time limits."""

import sys
import time

if __name__ == "__main__":
    sys.stdin.buffer.read()
    time.sleep(600)
