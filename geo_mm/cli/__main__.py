"""``python -m geo_mm.cli`` is the command ``geo-mm``."""

import sys

from geo_mm.cli import main

sys.exit(main())
