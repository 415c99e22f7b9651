"""`geo-mm status` as a script, as MMDetection and MMSegmentation have them."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['status', *sys.argv[1:]]))
