"""`python -m worker`: a worker process. Children import this file too, so it imports nothing before it must."""

import sys

if __name__ == "__main__":
    from worker.process import main

    sys.exit(main())
