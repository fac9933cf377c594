"""Where ``nibbleforge`` starts: Ctrl-C ends it properly while the command line still loads, too."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Load the command line and run it; ends the process with its exit status."""
    try:
        from . import main as command_line
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    command_line.main()
