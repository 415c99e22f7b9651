"""`geo-mm mosaic` as a script, as MMDetection and MMSegmentation have them."""

import sys

from geo_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['mosaic', *sys.argv[1:]]))
