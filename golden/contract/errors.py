"""The exceptions that the command line turns into an exit status and one sentence."""


class UserError(ValueError):
    """Bad input or parameters; the message is one sentence for the user.

    The command line prints the message and exits with status 2, without a traceback.
    """


class TooLongError(UserError):
    """A layer has more in_features than the hardware holds at once; a part of it may do."""


class ToolError(RuntimeError):
    """An outside tool failed, or what it wrote is not whole; exit status 2.

    Attributes
    ----------
    sentence
        One sentence for the user. The message may tell more: the command, and what it printed.
    """

    def __init__(self, sentence: str, message: str | None = None) -> None:
        super().__init__(message or sentence)
        self.sentence = sentence


class DifferenceError(Exception):
    """RTL and golden differ; the message is one sentence, and the exit status 1."""


class RequirementError(Exception):
    """A stated requirement is not met; the message is one sentence, and the exit status 3."""
