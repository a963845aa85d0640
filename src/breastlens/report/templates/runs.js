// The list of runs: a click on a heading puts the rows in order, and a field shows those with all of some words, and for
// which all of some conditions hold, which have the form that `breastlens runs --where` takes.
const OPERATORS = {
  "!=": (value, wanted) => value !== wanted,
  "<=": (value, wanted) => value <= wanted,
  ">=": (value, wanted) => value >= wanted,
  "=": (value, wanted) => value === wanted,
  "<": (value, wanted) => value < wanted,
  ">": (value, wanted) => value > wanted,
  "~": (value, part) => value.toLowerCase().includes(part.toLowerCase()),
};
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
const CONDITION = /(^|\s)(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(?:"([^"]*)"|(\S*))(?!\S)/g;

// What has no value comes last in either direction; equal ones keep their order.
function compareValues(one, other, descending) {
  if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
  const order = typeof one === "number" ? one - other : compareTexts(one, other);
  return descending ? -order : order;
}

// As `breastlens runs --sort` does: digits count as the number they are, and capitals as small letters.
function compareTexts(one, other) {
  const [parts, others] = [one, other].map((text) => text.toLowerCase().split(/(\d+)/));
  for (let at = 0; at < Math.min(parts.length, others.length); at++) {
    const [a, b] = [parts[at], others[at]].map((part) => at % 2 ? BigInt(part) : part);
    if (a !== b) return a < b ? -1 : 1;
  }
  return parts.length - others.length;
}

// The tests of a row that a text asks for, and the conditions in it that are none, each with why. `columns` says which hold text.
function readFilter(text, columns) {
  const tests = [], refused = [];
  const words = text.replace(CONDITION, (condition, before, column, symbol, quoted, bare) => {
    const isColumn = Object.hasOwn(columns, column);
    const test = isColumn && readCondition(column, symbol, quoted ?? bare, columns[column]);
    if (test) tests.push(test);
    else refused.push(condition.trim() + (isColumn ? " (no number)" : " (no such column)"));
    return " ";
  });
  for (const word of words.toLowerCase().split(/\s+/).filter(Boolean)) tests.push((line, shown) => shown.includes(word));
  return { tests, refused };
}

function readCondition(column, symbol, text, isText) {
  const compare = OPERATORS[symbol];
  if (isText || symbol === "~") return (line) => compare(String(line[column] ?? ""), text);
  if (text !== "" && !NUMBER.test(text)) return null;
  const wanted = text === "" ? undefined : Number(text);
  if (symbol === "=" || symbol === "!=") return (line) => compare(line[column], wanted);
  if (wanted === undefined) return null;
  return (line) => line[column] !== undefined && compare(line[column], wanted);
}

function startRuns(table) {
  const body = table.tBodies[0], columns = JSON.parse(table.dataset.columns);
  const field = document.getElementById("words"), shown = document.getElementById("shown");
  const rows = [...body.rows].map((row) => ({
    row,
    line: JSON.parse(row.dataset.line),
    text: row.textContent.toLowerCase().replaceAll("\u2212", "-"),
  }));

  function order(heading) {
    const column = heading.dataset.column, before = heading.getAttribute("aria-sort");
    // figures and dates are read from the top, names from the beginning
    const descending = before ? before === "ascending" : !columns[column] || column === "date";
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    rows.sort((one, other) => compareValues(one.line[column], other.line[column], descending));
    body.append(...rows.map((each) => each.row));
  }

  function filter() {
    const { tests, refused } = readFilter(field.value, columns);
    let count = 0;
    for (const { row, line, text } of rows) {
      row.hidden = !tests.every((test) => test(line, text));
      count += row.hidden ? 0 : 1;
    }
    const passedOver = refused.length ? "; not followed: " + refused.join(", ") : "";
    shown.textContent = count + " of " + rows.length + (rows.length === 1 ? " run" : " runs") + passedOver;
    document.getElementById("filter").classList.toggle("used", field.value.trim() !== "");
  }

  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => order(heading));
    heading.replaceChildren(button);
  }
  field.addEventListener("input", filter);
  for (const id of ["filter", "form"]) document.getElementById(id).hidden = false;
  filter();
}

if (typeof document !== "undefined" && document.getElementById("runs")) startRuns(document.getElementById("runs"));
if (typeof module !== "undefined") module.exports = { compareValues, readFilter };
