"""The command line, ``fx2ait``."""
