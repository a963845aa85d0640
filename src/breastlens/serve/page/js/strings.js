// The words of the page, in the language that was chosen. English stands in where a word is missing.
const LANGUAGES = ["en", "pt", "es"];
let words = {};
let language = "en";

export function preferredLanguage() {
  const wanted = navigator.languages?.length ? navigator.languages : [navigator.language];
  return wanted.map((each) => each.slice(0, 2).toLowerCase()).find((each) => LANGUAGES.includes(each)) ?? "en";
}

export async function useLanguage(wanted) {
  const [english, own] = await Promise.all([load("en"), wanted === "en" ? {} : load(wanted)]);
  words = { ...english, ...own };
  language = wanted;
  document.documentElement.lang = wanted;
  apply(document);
}

async function load(name) {
  const answer = await fetch(`strings/${name}.json`, { cache: "no-cache" });
  return answer.json();
}

/** A sentence with its figures filled in. */
export function text(key, values = {}) {
  const sentence = words[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Fill in all words below an element. */
export function apply(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
}

export function number(value, digits) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** A probability in whole per cent; never 0 or 100, since no model is that sure. */
export function percent(value) {
  const format = new Intl.NumberFormat(language, { style: "percent" });
  if (value < 0.005) return `< ${format.format(0.01)}`;
  if (value >= 0.995) return `> ${format.format(0.99)}`;
  return format.format(value);
}

export function moment(date) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(date);
}
