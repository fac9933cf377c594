"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input or parameters; the message is one sentence for the user.

    The command line prints the message and exits with status 2, without a traceback.
    """
