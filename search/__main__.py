"""`python -m search`: searches that are described in a TOML file instead of Python."""

import sys

from search.command.main import main

if __name__ == "__main__":
    sys.exit(main())
