"""What all commands have in common: how they end, and how text that may be a stranger's is shown."""

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from bdray.exceptions import DISK_FULL, BdrayError

GOOD, FOUND, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: fine; fine, but what was looked for is there; a mistake of the user; Ctrl-C."""


def run(work: Callable[[Console], int], after_interrupt: str = "") -> int:
    """Do the work of a command and return its exit status.

    An error that is the user's to solve is one line on stderr, without a traceback.

    Args:
        work: Prints to the console that it is given, and returns its exit status.
        after_interrupt: What to know after Ctrl-C.
    """
    complaints = Console(stderr=True)
    try:
        return work(Console())
    except BdrayError as error:
        complaints.print(f"[bold red]error:[/] {plain(str(error))}", highlight=False, soft_wrap=True)
        return BAD_INPUT
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        said = plain(" ".join(str(error).split()))
        complaints.print(
            f"[bold red]error:[/] the disk is full: {said}. Make room, and run the same command again.",
            highlight=False,
            soft_wrap=True,
        )
        return BAD_INPUT
    except KeyboardInterrupt:
        complaints.print(f"\nInterrupted. {after_interrupt}".rstrip(), highlight=False, soft_wrap=True)
        return INTERRUPTED


def count(number: int, noun: str) -> str:
    """``1 stage``, ``2 stages``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def plain(text: str) -> str:
    """Text as plain characters for a console: no markup, and nothing that would control a terminal."""
    return escape("".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text))
