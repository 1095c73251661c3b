"""The errors of a search. Each is one line that says what was found and what to do."""

import re

LONGEST = 1_000  # characters of a message; a longer one is cut, as it is stored with each fit and shown in tables

# Control characters, which a terminal obeys and XML forbids. Lone surrogates, which no file can hold. Marks that change the
# direction in which the text around them is read.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text in which characters that cannot be shown safely are written as escapes, such as ``\\x1b``.

    Examples
    --------
    >>> print(printable("\x1b[31mred, \udc80"))
    \x1b[31mred, \udc80
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def message_line(error: BaseException) -> str:
    """Return the message of an exception as one line that can be printed, of about 1,000 characters at most."""
    try:
        message = str(error)
    except Exception as failure:  # a user's __str__
        message = f"its message cannot be shown ({type(failure).__name__})"
    text = printable(" ".join(message[:LONGEST].split()))
    return text if len(message) <= LONGEST else f"{text}... (cut, {len(message):,} characters)"


def one_line(error: BaseException) -> str:
    r"""Return the type and the message of an exception, or of what a `LeftError` stands for, as one line that can be printed.

    Examples
    --------
    >>> one_line(ValueError("no such\n  activation"))
    'ValueError: no such activation'
    """
    error = (isinstance(error, LeftError) and error.__cause__) or error
    return f"{printable(type(error).__name__[:LONGEST])}: {message_line(error)}".rstrip()


class LeftError(Exception):
    """A user's code raised something that would end the program, such as SystemExit, which is the cause of this error."""


class SearchError(Exception):
    """A search, or a re-training of its best configurations, cannot go on.

    Examples
    --------
    >>> raise SearchError("a worker process died; run again to go on")
    Traceback (most recent call last):
    search.errors.SearchError: a worker process died; run again to go on
    """


class StoreError(SearchError):
    """A store cannot be opened, read or written; or it is damaged, in use, or belongs to another search.

    Examples
    --------
    >>> from search import Store
    >>> Store("no/such/folder/search.sqlite", {})
    Traceback (most recent call last):
    search.errors.StoreError: store no/such/folder/search.sqlite: folder ... does not exist, expected one; make it first
    """
