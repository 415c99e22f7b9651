"""`geo-mm train` as a script, as MMDetection and MMSegmentation have them."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['train', *sys.argv[1:]]))
