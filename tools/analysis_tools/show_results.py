"""`geo-mm show` as a script."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['show', *sys.argv[1:]]))
