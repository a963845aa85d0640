// The list of runs: a click on a heading puts the rows in order, and a field shows those with all of some words.
// Cells without a value come last in either direction; equal ones keep their order.
function compareCells(one, other, numeric, descending) {
  if (!one || !other) return (one ? 0 : 1) - (other ? 0 : 1);
  const order = numeric ? Number(one) - Number(other) : one.localeCompare(other, "en", { numeric: true });
  return descending ? -order : order;
}

function holdsAll(text, words) {
  const low = text.toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => low.includes(word));
}

function startRuns(table) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  const field = document.getElementById("words"), shown = document.getElementById("shown");

  function order(column) {
    const heading = headings[column], numeric = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    // figures are read from the top, names from the beginning
    const descending = before ? before === "ascending" : numeric;
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    body.append(...[...body.rows].sort((one, other) => compareCells(value(one), value(other), numeric, descending)));
  }

  function filter() {
    let count = 0;
    for (const row of body.rows) {
      row.hidden = !holdsAll([...row.cells].map((cell) => cell.textContent).join(" "), field.value);
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = count + " of " + body.rows.length;
  }

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => order(column));
    heading.replaceChildren(button);
  });
  field.addEventListener("input", filter);
  document.getElementById("filter").hidden = false;
  filter();
}

if (typeof document !== "undefined") startRuns(document.getElementById("runs"));
if (typeof module !== "undefined") module.exports = { compareCells, holdsAll };
