"""The entrance: `python -m tests.fuzz`."""

import sys

from tests.fuzz.long_storm import main

if __name__ == "__main__":
    sys.exit(main())
