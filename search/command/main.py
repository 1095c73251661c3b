"""The arguments of the command line, and its exit codes: 0 success, 1 an error, 2 wrong arguments, 130 Ctrl-C."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import tinygrad_lab
from search.command import actions, prediction
from search.command.terminal import program
from search.errors import SearchError, message_line, one_line

EPILOG = """\
a search begins with a TOML file; everything after needs the store only:

  {program} run search.sqlite search.toml
  {program} status search.sqlite
  {program} report search.sqlite report
  {program} predict search.sqlite new.csv --out predictions.csv

  # search.toml
  seed = 0
  [data]
  train = "train.csv"     # beside this file; numbers only, the last column is y
  test = "test.csv"       # for retrain and report; may be left out
  # target = "price"      # for a table with a header: the column to predict
  [grid]
  hidden = [[10, 10], [75, 50]]
  lr = [0.1, 0.05]
  [folds]
  n_splits = 4
"""

Action = Callable[[argparse.Namespace], None]

TRUST = "import the builder that the store of someone else names"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code. The default is the arguments of the command line.

    Examples
    --------
    >>> main(["status", "none.sqlite"])
    1
    """
    if sys.stderr is None:  # it is closed, and print would write to the standard output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        kept = "; finished fits are in the store, the same command goes on from them" if options.command == "run" else ""
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Discard what is still buffered. Python would try to write it once more at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # a traceback would say nothing more to someone who wrote no Python
        print(f"{program()} {options.command}: error: {_message(error)}", file=sys.stderr)
        return 1
    return 0


def _message(error: Exception) -> str:
    """Return an error in one line, with its type if its message may not be written for people."""
    is_for_people = isinstance(error, (SearchError, OSError, TypeError, ValueError, ImportError)) and message_line(error)
    return message_line(error) if is_for_people else one_line(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Cross-validated search over a grid of networks: resumable, and the same on any number of workers.",
        epilog=EPILOG.format(program=program()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-lab {tinygrad_lab.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Action, text: str, other: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        what = "the file of the search's results" + (", or of a saved model" if other else "")
        added.add_argument("store", type=Path, metavar="STORE" + (f"|{other}" if other else ""), help=what)
        added.set_defaults(action=action)
        return added

    def finished(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Add the options of commands that need the settings of a finished search."""
        added.add_argument("--settings", type=Path, metavar="TOML", help="the settings file, in place of the text in the store")
        added.add_argument("--trust", action="store_true", help=TRUST)
        added.add_argument("--workers", type=_integer_from(1), metavar="N", help="processes, in place of the file's")
        added.add_argument("--quiet", action="store_true", help="no progress bar")
        return added

    run = command("run", actions.run, "begin a search, or go on with one")
    run.add_argument("settings", type=Path, nargs="?", metavar="TOML", help="the settings file; not needed to go on")
    run.add_argument(
        "--fork", type=Path, metavar="OTHER", help="begin with the results of another store, whose grid may differ"
    )
    run.add_argument("--trust", action="store_true", help=TRUST)
    run.add_argument("--workers", type=_integer_from(1), metavar="N", help="processes, in place of the file's")
    run.add_argument("--quiet", action="store_true", help="no progress bar")

    command("status", actions.status, "say how far a search is, while it runs or not")

    rank = command("rank", actions.rank, "show the ranking, and which are as good as the best")
    rank.add_argument("--top", type=_integer_from(1), default=20, metavar="N", help="rows to show (default: 20)")
    rank.add_argument("--csv", type=Path, metavar="FILE", help="write all rows to a file")

    for name, action, text in (
        ("retrain", actions.retrain, "train the best on the whole training set and test them"),
        ("report", actions.report, "write a page about the search: index.html in a folder"),
    ):
        added = finished(command(name, action, text))
        if name == "report":
            added.add_argument("folder", type=Path, metavar="FOLDER", help="where to write index.html")
        else:
            added.add_argument("--weights", type=Path, metavar="FILE", help="write the weights of cross-validation's winner")
        added.add_argument("--top", type=_integer_from(1), default=20, metavar="N", help="how many of the best (default: 20)")

    save = finished(command("save", prediction.save, "train the best on the whole training set and keep it as a model"))
    save.add_argument("file", type=Path, metavar="FILE", help="the file to write, such as model.safetensors")

    predict = finished(
        command("predict", prediction.predict, "predict new rows with a search's best or a saved model", "MODEL")
    )
    for added in (save, predict):
        text = "the simplest configuration within one standard error of the best, in place of the best"
        added.add_argument("--simplest", action="store_true", help=text)
    predict.add_argument("table", type=Path, metavar="TABLE", help="the new rows; their columns are matched by name")
    predict.add_argument("--out", type=Path, metavar="FILE", required=True, help="the CSV file to write")
    predict.add_argument(
        "--interval", type=_fraction, metavar="P", help="also an interval that holds the true value with this probability"
    )
    predict.add_argument("--proba", action="store_true", help="also the probability of each class")
    text = "a column to copy, which names the rows (default: data.index of the search); may be given several times"
    predict.add_argument("--index", action="append", default=[], metavar="NAME", help=text)
    for name, default, text in (("--header", True, "has the names of the columns"), ("--no-header", False, "is a row")):
        predict.add_argument(name, action="store_const", const=default, dest="header", help=f"the first line {text}")
    predict.add_argument("--skip", type=_integer_from(0), metavar="N", help="lines to leave out at the top")
    predict.add_argument("--delimiter", metavar="CHARACTER", help="of the new table, if it is not recognised")
    predict.add_argument("--encoding", metavar="NAME", help="of the new table, if it is not recognised")
    predict.add_argument("--sheet", metavar="NAME", help="of the new table, if it is an Excel file")

    command("importance", actions.importance, "show how important each parameter is")

    compare = command("compare", actions.compare_with, "compare with another store, on the same folds")
    compare.add_argument("other", type=Path, metavar="OTHER", help="the file of the other search's results")

    export = command("export", actions.export, "write every fit to a file, one a row, or the ranking for Optuna")
    export.add_argument("file", type=Path, metavar="FILE", help="the file to write: CSV, or Parquet if it ends with .parquet")
    text = "in place of what the name of the file says; optuna writes a study to an SQLite file"
    export.add_argument("--format", choices=["csv", "parquet", "optuna"], help=text)
    return parser


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number between 0 and 1, such as 0.9")
    return number


def _integer_from(minimum: int) -> Callable[[str], int]:
    """Return a reader of integers for the command line."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected an integer of at least {minimum}")
        return number

    return read
