"""Where ``nibbleforge`` starts: what goes wrong while the command line still loads is told, too."""

import sys

OK, DIFFERENT, FAILED, NOT_MET, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: see :func:`nibbleforge.scripts.main.status`."""


def main() -> None:
    """Load the command line and run it; ends the process with its exit status."""
    try:
        from .outputs import protect

        protect()
        from . import main as command_line

        command_line.main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except ImportError as error:
        print(f"nibbleforge: the installation is not whole: {error}.", file=sys.stderr)
        sys.exit(FAILED)
