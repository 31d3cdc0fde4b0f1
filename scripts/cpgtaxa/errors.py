"""One kind of error for everything a user can mend: all problems found, at once."""


class InputError(Exception):
    """Something in the user's input is wrong.

    Each problem is one sentence or two: what was found, where (file, row, key) and what to do.
    """

    def __init__(self, problems: str | list[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(self.text())

    def text(self) -> str:
        """The message as shown to the user."""
        if len(self.problems) == 1:
            return f"Input problem: {self.problems[0]}"
        lines = [f"{len(self.problems)} input problems:"]
        lines += [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        return "\n".join(lines)


def refuse(problems: list[str]) -> None:
    """Raise InputError with all problems, where there are any."""
    if problems:
        raise InputError(problems)


def gathered(problems: list[str], read, *arguments):
    """What `read(*arguments)` gives; None where it raises an InputError, whose problems are added to those so far."""
    try:
        return read(*arguments)
    except InputError as error:
        problems += error.problems
        return None


def some(items, limit: int = 5) -> str:
    """The first few items as text, and how many more there are."""
    items = [str(item) if len(str(item)) <= 200 else f"{str(item)[:200]}…" for item in items]
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(repr(item) for item in items[:limit]) + more


def reason_of(error: BaseException) -> str:
    """The first line of a library's message, short and printable: of damaged files, it may quote what it fell over."""
    lines = str(error).splitlines()
    text = "".join(sign if sign.isprintable() else "?" for sign in (lines[0] if lines else ""))
    return f"{text[:200]}…" if len(text) > 200 else text or type(error).__name__
