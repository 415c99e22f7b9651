"""`geo-mm export-chips` as a script."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['export-chips', *sys.argv[1:]]))
