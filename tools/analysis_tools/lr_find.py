"""`geo-mm lr-find` as a script."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['lr-find', *sys.argv[1:]]))
