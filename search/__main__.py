"""`python -m search`: searches for people who do not write Python for them."""

import sys

from search.command.main import main

if __name__ == "__main__":
    sys.exit(main())
