"""Write the tables of README.md from the results of the scripts, so that no number is typed by hand.

results/*.json --> Markdown --> between the markers of README.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import BAR_COLUMNS, RESULTS, Bar

README = Path(__file__).with_name("README.md")


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown, with its numbers aligned to the right.

    Examples
    --------
    >>> print(markdown(["", "µs"], [["one", "1.5"]]))
    |  | µs |
    | --- | ---: |
    | one | 1.5 |
    """
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *lines))


def section(result: Mapping[str, Any]) -> str:
    """Write the tables and notes of a script, and the machine on which they were measured."""
    parts = [f"**{table['title']}**\n\n{markdown(table['columns'], table['lines'])}" for table in result["tables"]]
    parts += [f"- {note}" for note in result["notes"]]
    parts.append("Measured on: " + "; ".join(f"{name} {value}" for name, value in result["machine"].items()) + ".")
    return "\n\n".join(parts)


def fill(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Replace the text between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` by a script's tables, or by all bars.

    Parameters
    ----------
    text : str
        The text of a page.
    results : mapping of str to dict
        The results of the scripts, by their names.

    Returns
    -------
    str
        The page. If a script has no result, the page says so.
    """
    bars = [Bar(**bar).line() for result in results.values() for bar in result["bars"]]
    sections = {name: section(result) for name, result in results.items()} | {"bars": markdown(BAR_COLUMNS, bars)}

    def replace(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- {name} -->\n\n{sections.get(name, 'Not measured yet.')}\n\n<!-- end of {name} -->"

    return re.sub(r"<!-- (?P<name>\w+) -->.*?<!-- end of (?P=name) -->", replace, text, flags=re.DOTALL)


def main() -> None:
    """Write the tables of README.md."""
    text = README.read_text(encoding="utf-8")
    names = re.findall(r"<!-- end of (\w+) -->", text)
    results = {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in names
        if (RESULTS / f"{name}.json").is_file()
    }
    README.write_text(fill(text, results), encoding="utf-8")


if __name__ == "__main__":
    main()
