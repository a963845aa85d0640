// One image as a card: what it is, what the model says of it, and what its reader says.
import { make, sign } from "./dom.js";
import { trainingImage } from "./service.js";
import { number, percent, text } from "./strings.js";
import { makeViewer } from "./viewer.js";

/** The words for a decision, for people: the side's own name, or why there is none. */
export function decisionWords(decision, model) {
  if (decision === "positive") return model.positive;
  if (decision === "negative") return model.negative;
  return text(`decision.${decision}`);
}

/**
 * Build the card of an item and keep it in step with what becomes of it.
 * The item is {file, name, patient, state, answer, model, figures, threshold, distanceLimit, thumbnails, reading, agrees, note, readFirst, error}.
 */
export function makeCard(item, { onRemove, onRetry, onRead }) {
  const element = make("article", { className: "card" });
  let viewer = null;

  const draw = () => {
    viewer?.release();
    viewer = null;
    element.className = item.state === "failed" ? "card failed" : "card";
    element.setAttribute("aria-label", item.name);
    element.setAttribute("aria-busy", String(item.state === "waiting"));
    if (item.state === "done") drawAnswer();
    else if (item.state === "failed") drawFailure();
    else element.replaceChildren(make("p", { className: "waiting" }, `${item.name}: ${text("card.waiting")}`));
  };

  const head = (small) =>
    make(
      "div",
      { className: "card-head" },
      make("h4", {}, item.name, small ? make("small", {}, small) : null),
      make("button", { type: "button", className: "small", "aria-label": text("card.remove", { name: item.name }), onclick: onRemove }, "×"),
    );

  const drawFailure = () => {
    element.replaceChildren(
      make(
        "div",
        { className: "answer" },
        head(""),
        make("p", { className: "decision refused" }, sign("refused"), text("card.failed")),
        make("p", { className: "error", lang: item.errorLanguage }, item.error),
        item.canRetry ? make("p", {}, make("button", { type: "button", className: "small", onclick: onRetry }, text("card.again"))) : null,
      ),
    );
  };

  const drawAnswer = () => {
    const { answer, model } = item;
    viewer = makeViewer(item.name, answer.picture, model.positive);
    const hidden = item.readFirst && !item.reading;
    viewer.showMap(!hidden && answer.decision !== "refused");
    const size = text("card.size", answer);
    const said = hidden ? [] : [...decision(), similarImages()];
    element.replaceChildren(
      make("div", { className: "look" }, viewer.pictures, viewer.controls),
      make("div", { className: "answer" }, head(size), ...said, own(hidden), origin()),
    );
  };

  const decision = () => {
    const { answer, model, threshold } = item;
    const names = { positive: model.positive, negative: model.negative };
    const words = decisionWords(answer.decision, model);
    const plain = answer.prediction_set === null && answer.decision !== "refused";
    const why = plain ? "explain.plain" : `explain.${answer.decision}`;
    const [distance, limit] = [answer.distance, item.distanceLimit].map((value) => (value === null ? "" : number(value, 2)));
    const parts = [
      make("p", { className: `decision ${answer.decision}`, tabIndex: -1 }, sign(answer.decision), words),
      make("p", { className: "explain" }, text(why, { ...names, distance, limit })),
    ];
    if (answer.decision !== "refused") parts.splice(1, 0, scale(answer, model, threshold));
    return parts;
  };

  const scale = (answer, model, threshold) => {
    const words = { positive: model.positive, score: percent(answer.y_score), threshold: percent(threshold) };
    const fill = make("span", { className: "fill" });
    fill.style.width = `${100 * answer.y_score}%`;
    const mark = make("span", { className: "mark" });
    mark.style.left = `${100 * threshold}%`;
    return make(
      "div",
      { className: `scale ${answer.decision}` },
      make("div", { className: "scale-words", "aria-hidden": "true" }, make("span", {}, text("score.label", words)), make("strong", {}, words.score)),
      make("div", { className: "track", role: "img", "aria-label": text("score.text", words) }, fill, mark),
      make("div", { className: "scale-words", "aria-hidden": "true" }, make("small", {}, text("score.threshold", words))),
    );
  };

  /** Which model said it, and how well that does; it stands on every card, since a print may hold cards of several. */
  const origin = () => {
    const words = text("card.origin", { ...item.model, fingerprint: item.model.data_fingerprint.slice(0, 16) });
    const figures = (item.figures?.key_figures ?? []).slice(0, 2).map((one) => `${one.label} ${one.figure} (${one.interval})`);
    return make("p", { className: "origin" }, words, figures.length ? make("span", { lang: "en" }, `. ${figures.join(", ")}`) : null);
  };

  const own = (hidden) => {
    const { model } = item;
    const readings = [["negative", model.negative], ["unsure", text("own.unsure")], ["positive", model.positive]];
    if (hidden) {
      const choices = readings.map(([reading, words]) =>
        make("button", { type: "button", onclick: () => { item.reading = reading; draw(); element.querySelector(".decision")?.focus(); onRead(item); } }, words),
      );
      return make("div", { className: "own", role: "group", "aria-label": text("own.before") }, make("p", {}, text("own.before")), make("div", { className: "choices" }, ...choices));
    }
    const buttons = [["agree", "own.agree"], ["disagree", "own.disagree"]].map(([agrees, key]) =>
      make("button", { type: "button", "aria-pressed": String(item.agrees === agrees), onclick: (event) => setAgrees(agrees, event.target) }, text(key)),
    );
    const note = make("textarea", { rows: 1, placeholder: text("own.note"), "aria-label": `${text("own.note")}: ${item.name}`, autocomplete: "off" });
    const printed = make("p", { className: "printed-note" }, item.note);
    note.value = item.note;
    note.addEventListener("input", () => {
      item.note = note.value;
      printed.textContent = note.value;
    });
    const read = item.reading ? readings.find(([reading]) => reading === item.reading)[1] : null;
    return make(
      "div",
      { className: "own", role: "group", "aria-label": text("own.after") },
      make("p", {}, read ? text("own.said", { reading: read }) : text("own.after")),
      item.answer.decision === "refused" ? null : make("div", { className: "choices" }, ...buttons),
      note,
      printed,
    );
  };

  const setAgrees = (agrees, button) => {
    item.agrees = item.agrees === agrees ? "" : agrees;
    for (const each of button.parentElement.children) each.setAttribute("aria-pressed", String(each === button && item.agrees !== ""));
  };

  const similarImages = () => {
    const { similar } = item.answer;
    if (similar.length === 0) return null;
    const list = make("ul", { className: "similar" });
    const details = make("details", {}, make("summary", {}, text("similar.title")), make("p", { className: "hint" }, text("similar.hint")), list);
    details.addEventListener("toggle", async () => {
      if (!details.open || list.childElementCount) return;
      for (const one of similar) {
        const label = one.label ? item.model.positive : item.model.negative;
        const words = text("similar.item", { number: one.number, label });
        const entry = make("li", {}, words);
        list.append(entry);
        if (!item.thumbnails) continue;
        const blob = await trainingImage(item.model, one.number).catch(() => null);
        if (!blob) continue;
        const url = URL.createObjectURL(blob);
        entry.prepend(make("img", { src: url, alt: "", onload: () => URL.revokeObjectURL(url) }));
      }
    });
    return details;
  };

  draw();
  return { element, draw, release: () => viewer?.release() };
}
