// What the model is, how well it does, and what stands against it. Sentences of the training run are in English.
import { make } from "./dom.js";
import { moment, number, percent, text } from "./strings.js";

export function drawAbout({ model, card, figures }) {
  const parts = figures ? shownFigures(figures) : [make("p", {}, text("about.unknown")), make("p", {}, text("about.noControl"))];
  return make(
    "div",
    {},
    ...parts,
    make(
      "dl",
      { className: "facts" },
      ...fact("about.what", text("about.against", model)),
      ...fact("about.rule", `${percent(card.threshold)} (${card.threshold_rule})`),
      ...fact("about.version", model.version),
      ...fact("about.created", moment(new Date(model.created))),
      ...fact("about.data", model.data_fingerprint.slice(0, 16)),
    ),
  ).children;
}

function shownFigures(figures) {
  return [
    make("p", { className: "verdict", lang: "en" }, figures.verdict),
    tiles(figures.key_figures),
    ...figures.meaning.map((sentence) => make("p", { lang: "en" }, sentence)),
    Object.keys(figures.controls).length === 0 ? make("p", {}, text("about.noControl")) : null,
    figures.doubts.length === 0
      ? null
      : make("section", {}, make("h3", {}, text("about.doubts")), make("ul", { lang: "en" }, ...figures.doubts.map((doubt) => make("li", {}, doubt)))),
    controls(figures.controls),
    metrics(figures.metrics),
    make("p", { className: "hint", lang: "en" }, figures.judged_on),
  ].filter(Boolean);
}

function tiles(list) {
  const kinds = ["score", "control", "", ""];
  return make(
    "dl",
    { className: "tiles", lang: "en" },
    ...list.map((one, place) =>
      make(
        "div",
        { className: `tile ${kinds[place] ?? ""}` },
        make("dt", {}, one.label),
        make("dd", {}, one.figure, make("small", {}, [one.interval, one.meaning].filter(Boolean).join("; "))),
      ),
    ),
  );
}

function controls(found) {
  const rows = Object.values(found).filter((one) => one.auc !== null);
  if (rows.length === 0) return null;
  const body = rows.map((one) => make("tr", {}, make("td", { lang: "en" }, one.what), make("td", {}, range(one.auc, one))));
  return folded("about.controls", table(["about.shown", "AUC"], body));
}

function metrics(found) {
  const rows = Object.values(found).filter((one) => one.value !== null && one.value !== undefined);
  const body = rows.map((one) => make("tr", {}, make("th", { scope: "row", lang: "en" }, one.title), make("td", {}, range(one.value, one))));
  return folded("about.metrics", table(["about.metric", "about.value"], body));
}

function folded(key, content) {
  return make("details", {}, make("summary", {}, text(key)), content);
}

function table(heads, body) {
  const row = make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, text(head))));
  return make("table", { className: "table" }, make("thead", {}, row), make("tbody", {}, ...body));
}

function range(value, { low, high }) {
  const known = low !== null && low !== undefined && high !== null && high !== undefined;
  return known ? `${number(value, 3)} (${number(low, 3)}–${number(high, 3)})` : number(value, 3);
}

function fact(key, value) {
  return [make("dt", {}, text(key)), make("dd", {}, value)];
}
