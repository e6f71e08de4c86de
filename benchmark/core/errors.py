"""Errors that a user can mend."""


class InputError(Exception):
    """Bad input: one line that names the argument, what is wrong and what would be right.

    The command line prints it and exits with code 2; a cell that meets one becomes a failed row.

    Attributes:
        argument: What was bad.
    """

    def __init__(self, argument: str, problem: str, remedy: str = "") -> None:
        self.argument = argument
        super().__init__(f"{argument}: {problem}" + (f"; {remedy}" if remedy else ""))
