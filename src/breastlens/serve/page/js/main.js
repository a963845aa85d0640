// The page: files in, cards out. All that it knows lies in `items` and is gone when the page is.
import { drawAbout } from "./about.js";
import { decisionWords, makeCard } from "./card.js";
import { save, toCsv } from "./csv.js";
import { make } from "./dom.js";
import { droppedFiles, imagesOf, pastedFiles, pathOf, sorted, visible } from "./files.js";
import { describeModel, listModels, predictImage, predictPatient, ServiceError, setToken } from "./service.js";
import { apply, moment, percent, preferredLanguage, text, useLanguage } from "./strings.js";

const AT_ONCE = 3;
const find = (id) => document.getElementById(id);
const items = [];
const groups = new Map();
const figures = new Map();
const opened = new Date();
let about = null;
let working = null;

async function start() {
  const language = preferredLanguage();
  find("language").value = language;
  await useLanguage(language);
  bind();
  await connect();
}

/** Ask which models there are; where a token is needed, ask for that first. */
async function connect() {
  try {
    const { models } = await listModels();
    find("model").replaceChildren(...models.map((model) => make("option", { value: model.name }, model.name)));
    find("model-choice").hidden = models.length < 2;
    await showModel(models[0].name);
    find("token-form").hidden = true;
    find("intake").hidden = false;
  } catch (error) {
    if (!(error instanceof ServiceError)) return say(text("message.offline"));
    if (error.status !== 401) return say(error.message);
    const again = !find("token-form").hidden;
    find("token-form").hidden = false;
    find("token-error").textContent = again ? text("token.wrong") : "";
    find("token").focus();
  }
  return undefined;
}

async function showModel(name) {
  about = await describeModel(name);
  figures.set(about.model.version, about.figures);
  drawModel();
}

function drawModel() {
  if (!about) return;
  const { model } = about;
  find("about-body").replaceChildren(...drawAbout(about));
  find("about").hidden = false;
  find("model-line").textContent = `${text("about.against", model)} · ${model.name} · ${model.version}`;
  find("imprint").textContent = text("imprint", { ...model, fingerprint: model.data_fingerprint.slice(0, 16), time: moment(opened) });
}

function bind() {
  const drop = find("drop");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const { files, skipped } = await droppedFiles(event.dataTransfer);
    add(files, skipped);
  });
  document.addEventListener("paste", (event) => {
    const files = pastedFiles(event.clipboardData);
    if (files.length) add(files);
  });
  find("choose").addEventListener("click", () => find("files").click());
  find("choose-folder").addEventListener("click", () => find("folder").click());
  find("files").addEventListener("change", ({ target }) => { add(visible(sorted(target.files))); target.value = ""; });
  find("folder").addEventListener("change", async ({ target }) => {
    const given = sorted(target.files);
    target.value = "";
    const { files, skipped } = await imagesOf(given);
    add(files, skipped);
  });
  find("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(find("token").value.trim());
    find("token-error").textContent = "";
    connect();
  });
  find("language").addEventListener("change", async (event) => {
    await useLanguage(event.target.value);
    redraw();
  });
  find("model").addEventListener("change", (event) => showModel(event.target.value));
  find("cancel").addEventListener("click", cancel);
  find("csv").addEventListener("click", () => save("breastlens.csv", toCsv(items)));
  find("print").addEventListener("click", () => window.print());
  find("clear").addEventListener("click", clear);
}

function add(files, skipped = 0) {
  if (find("intake").hidden) return;
  const said = [files.length ? "" : text("message.nothing"), skipped ? text("message.skipped", { count: skipped }) : ""];
  say(said.filter(Boolean).join(" "));
  if (files.length === 0) return;
  const patient = find("patient").value.trim();
  const readFirst = find("read-first").checked;
  for (const file of files) {
    const item = { file, name: pathOf(file), patient, readFirst, model: about.model, figures: about.figures, threshold: 0, distanceLimit: null, thumbnails: about.thumbnails, state: "waiting", answer: null, together: null, reading: "", agrees: "", note: "", error: "", at: "" };
    items.push(item);
    item.card = makeCard(item, { onRemove: () => remove(item), onRetry: () => retry(item), onRead: drawGroups });
    place(item);
  }
  find("results").hidden = false;
  work();
}

/** A patient's images are scored together by the model that scored each; "" for an image that stands alone. */
function keyOf(item) {
  return item.patient ? JSON.stringify([item.patient, item.model.name]) : "";
}

/** Put a card at its place: among those of its patient, or by itself. */
function place(item) {
  if (!item.patient) {
    find("cards").append(item.card.element);
    return;
  }
  let group = groups.get(keyOf(item));
  if (!group) {
    const title = make("h3", {}, text("patient.title", { name: item.patient }));
    const result = make("p", { className: "group-result" });
    const again = make("button", { type: "button", className: "small", hidden: true, onclick: work }, text("card.again"));
    const element = make("section", { className: "group", "aria-label": text("patient.title", { name: item.patient }) }, make("div", { className: "group-head" }, title, result, again));
    group = { patient: item.patient, element, title, result, again, answer: null, stale: true };
    groups.set(keyOf(item), group);
    find("cards").append(element);
  }
  group.stale = true;
  group.element.append(item.card.element);
}

/** Score all that waits, a few at a time, then patients together. */
async function work() {
  const busy = working !== null;
  working ??= new AbortController();
  drawProgress();
  if (busy) return;
  const { signal } = working;
  const next = () => items.find((item) => item.state === "waiting" && !item.begun);
  const worker = async () => {
    for (let item = next(); item && !signal.aborted; item = next()) {
      item.begun = true;
      await score(item, signal);
      item.begun = false;
      drawProgress();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (!signal.aborted) await scorePatients(signal);
  working = null;
  drawProgress();
  if (next()) work();
}

async function score(item, signal) {
  try {
    const answer = await predictImage(item.model.name, item.file, signal);
    const [prediction] = answer.predictions;
    await notice(answer.model);
    Object.assign(item, { model: answer.model, figures: figures.get(answer.model.version) ?? null, threshold: answer.threshold, distanceLimit: answer.distance_limit, at: new Date().toISOString() });
    if (prediction.problem) fail(item, prediction.problem.detail, { canRetry: false, language: "en" });
    else Object.assign(item, { state: "done", answer: prediction, error: "" });
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof ServiceError) fail(item, error.message, { canRetry: true, language: "en" });
    else fail(item, text("message.offline"), { canRetry: true });
  }
  item.card.draw();
  if (!items.includes(item)) return;
  const words = item.state === "done" ? announced(item) : `${text("card.failed")}. ${item.error}`;
  find("live").textContent = text("results.announced", { name: item.name, answer: words });
}

function announced(item) {
  return item.readFirst && !item.reading ? text("own.before") : decisionWords(item.answer.decision, item.model);
}

function fail(item, error, { canRetry, language }) {
  Object.assign(item, { state: "failed", error, canRetry, errorLanguage: language });
}

/** Tell once where another version of a model has begun to answer, and learn how well it does. */
async function notice(model) {
  if (figures.has(model.version)) return;
  figures.set(model.version, null);
  try {
    if (model.name === about.model.name) {
      say(text("message.new"));
      await showModel(model.name);
    } else {
      const found = await describeModel(model.name);
      figures.set(found.model.version, found.figures);
    }
  } catch {
    say(text("message.offline"));
  }
  for (const item of items.filter((each) => each.state === "done" && each.model.version === model.version)) {
    item.figures = figures.get(model.version);
    item.card.draw();
  }
}

async function scorePatients(signal) {
  for (const [key, group] of groups) {
    if (!group.stale) continue;
    const own = items.filter((item) => keyOf(item) === key);
    const scored = own.filter((item) => item.state === "done");
    group.stale = false;
    try {
      group.answer = scored.length ? await predictPatient(scored[0].model.name, scored.map((item) => item.file), signal) : null;
    } catch (error) {
      group.stale = true;
      if (error.name !== "AbortError") say(error instanceof ServiceError ? error.message : text("message.offline"));
    }
    const same = own.every((item) => item.state !== "done" || item.model.version === group.answer?.version);
    for (const item of own) item.together = same ? group.answer : null;
  }
  drawGroups();
}

function drawGroups() {
  for (const [key, group] of groups) {
    const own = items.filter((item) => keyOf(item) === key);
    group.title.textContent = text("patient.title", { name: group.patient });
    group.element.setAttribute("aria-label", group.title.textContent);
    group.result.textContent = together(group, own);
    group.again.textContent = text("card.again");
    group.again.hidden = !isGivenUp(group, own);
  }
  drawTally();
}

/** Whether scores are there and nobody is at work to bring them together: it was cancelled, or failed. */
function isGivenUp(group, own) {
  return group.stale && !working && own.some((item) => item.state === "done");
}

function together(group, own) {
  if (isGivenUp(group, own)) return text("patient.notYet");
  if (own.some((item) => item.state === "waiting") || (group.stale && working)) return text("patient.waiting");
  if (own.some((item) => item.state === "done" && item.readFirst && !item.reading)) return text("patient.hidden");
  const { answer } = group;
  if (answer && own.some((item) => item.state === "done" && item.model.version !== answer.version)) return text("patient.mixed");
  if (!answer) return text("patient.none");
  if (answer.decision === "refused") return text("patient.refused", { images: answer.images });
  const counted = own.filter((item) => item.state === "done" && item.answer.decision !== "refused");
  const [{ model, answer: first }] = counted;
  const said = text("patient.result", { answer: decisionWords(answer.decision, model), positive: model.positive, score: percent(answer.y_score), counted: counted.length, images: own.length });
  return counted.length === 1 && first.decision !== answer.decision ? `${said} ${text("patient.differs")}` : said;
}

function drawProgress() {
  const waiting = items.filter((item) => item.state === "waiting").length;
  const all = items.length;
  const done = all - waiting;
  const progress = find("progress");
  progress.max = Math.max(all, 1);
  progress.value = done;
  progress.hidden = !working;
  find("cancel").hidden = !working;
  find("progress-text").textContent = working ? text("results.progress", { done, all }) : text("results.finished", { all });
  drawGroups();
}

function drawTally() {
  const shown = items.filter((item) => item.state === "done" && (!item.readFirst || item.reading));
  const count = (decision) => shown.filter((item) => item.answer.decision === decision).length;
  const failed = items.filter((item) => item.state === "failed").length;
  find("tally").textContent = about
    ? text("results.tally", { positive: count("positive"), negative: count("negative"), refer: count("refer"), refused: count("refused"), failed, positiveName: about.model.positive, negativeName: about.model.negative })
    : "";
}

function cancel() {
  working?.abort();
  for (const item of items.filter((each) => each.state === "waiting")) {
    fail(item, text("card.cancelled"), { canRetry: true });
    item.card.draw();
  }
}

function retry(item) {
  Object.assign(item, { state: "waiting", error: "" });
  item.card.draw();
  if (item.patient) groups.get(keyOf(item)).stale = true;
  work();
}

function remove(item) {
  items.splice(items.indexOf(item), 1);
  item.card.release();
  item.card.element.remove();
  const group = groups.get(keyOf(item));
  if (group && !items.some((each) => keyOf(each) === keyOf(item))) {
    group.element.remove();
    groups.delete(keyOf(item));
  } else if (group) {
    group.stale = true;
    work();
  }
  find("results").hidden = items.length === 0;
  drawProgress();
  find(items.length ? "main" : "choose").focus();
}

function clear() {
  working?.abort();
  for (const item of items.splice(0)) {
    item.card.release();
    item.card.element.remove();
  }
  for (const group of groups.values()) group.element.remove();
  groups.clear();
  find("results").hidden = true;
  find("choose").focus();
}

function redraw() {
  apply(document);
  drawModel();
  for (const item of items) item.card.draw();
  drawProgress();
}

function say(words) {
  find("message").textContent = words;
  find("message").hidden = !words;
}

start();
