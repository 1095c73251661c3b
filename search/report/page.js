"use strict";

// Makes the table of the ranking sortable and filterable. Without this script, the table is complete, best first.
{
  const table = document.getElementById("ranking-table");
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const names = headers.map((header) => header.textContent);
  const rows = [...body.rows].map((row, position) => ({
    row,
    position,
    cells: [...row.cells].map((cell) => cell.textContent),
  }));
  const words = document.getElementById("words");
  const status = document.getElementById("status");
  const count = document.getElementById("count");
  const most = 1000;
  const collator = new Intl.Collator("en", { numeric: true });

  const isNumber = (text) => text !== "" && !Number.isNaN(Number(text));

  // Numbers are compared by value, text by letters. A missing number ("–") comes last in both directions. Equal cells keep the
  // order of their rank.
  function compare(a, b, column, direction) {
    const [x, y] = [a.cells[column], b.cells[column]];
    const numeric = headers[column].classList.contains("n");
    if (numeric && isNumber(x) !== isNumber(y)) return isNumber(x) ? -1 : 1;
    const order = numeric && isNumber(x) ? Number(x) - Number(y) : collator.compare(x, y);
    return direction * order || a.position - b.position;
  }

  function sortBy(column) {
    const ascending = headers[column].getAttribute("aria-sort") !== "ascending";
    for (const header of headers) header.removeAttribute("aria-sort");
    headers[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
    rows.sort((a, b) => compare(a, b, column, ascending ? 1 : -1));
    show();
  }

  // A row is searched as "lr=0.1|hidden=(75,50)|". A word matches any part of a value, "name=value" the start of a value.
  for (const entry of rows) {
    entry.text = entry.cells.map((cell, i) => `${names[i]}=${cell}|`.replaceAll(/\s/g, "").toLowerCase()).join("");
    entry.status = entry.cells.at(-1);
  }

  // The page shows at most this many rows, because a browser takes seconds to lay out ten thousand.
  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = rows.filter(
      (entry) => (!status.value || entry.status === status.value) && wanted.every((word) => entry.text.includes(word)),
    );
    body.replaceChildren(...matching.slice(0, most).map((entry) => entry.row));
    const rest = matching.length > most ? `, the first ${most} are shown` : "";
    count.textContent = `${matching.length} of ${rows.length} configurations${rest}`;
  }

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(column));
    header.replaceChildren(button);
  });
  if (headers.length) headers[0].setAttribute("aria-sort", "ascending");
  words.addEventListener("input", show);
  status.addEventListener("change", show);
  document.querySelector(".controls").hidden = false;
  show();
}
