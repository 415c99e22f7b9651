"""Models as files: what a file needs and gives, and exports to other programs."""
