// The session as a table: every answer with all its digits, and what the reader said. Columns that `predict` has, too, say
// the same: a refused image has a score, which says nothing, and neither side nor set.
const COLUMNS = [
  ["file", (item) => item.name],
  ["patient", (item) => item.patient],
  ["y_score", (item) => item.answer?.y_score],
  ["y_pred", (item) => item.answer?.y_pred],
  ["category", (item) => item.answer?.category],
  ["decision", (item) => item.answer?.decision],
  ["prediction_set", (item) => item.answer?.prediction_set],
  ["distance", (item) => item.answer?.distance],
  ["novel", (item) => item.answer?.novel],
  ["error", (item) => item.error],
  ["reader_first", (item) => item.reading],
  ["reader_agrees", (item) => item.agrees],
  ["note", (item) => item.note],
  ["patient_y_score", (item) => item.together?.y_score],
  ["patient_decision", (item) => item.together?.decision],
  ["model", (item) => item.model?.name],
  ["model_version", (item) => item.model?.version],
  ["data_fingerprint", (item) => item.model?.data_fingerprint],
  ["scored_at", (item) => item.at],
];

export function toCsv(items) {
  const rows = items.map(shown).map((item) => COLUMNS.map(([, value]) => cell(value(item))).join(","));
  return `${[COLUMNS.map(([name]) => name).join(","), ...rows].join("\r\n")}\r\n`;
}

/** An item without the answer, where its reader has not read first and wanted to. */
function shown(item) {
  return item.readFirst && !item.reading ? { ...item, answer: null, together: null } : item;
}

/** One cell. A text that a spreadsheet would take for a formula gets an apostrophe in front; texts stand in quotes, so
 * that no separator in one begins another cell. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "string") return String(value);
  const harmless = /^[\s"]*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? `'${value}` : value;
  return `"${harmless.replaceAll('"', '""')}"`;
}

export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", content], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
