"""`python -m timestore_assets.cli`, the same as `timestore`."""

from __future__ import annotations

import sys

from timestore_assets.cli.process import main

if __name__ == "__main__":
    sys.exit(main())
