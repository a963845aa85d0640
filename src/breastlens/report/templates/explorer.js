// The threshold explorer of a BreastLens report. A score at or above the threshold is called positive.
function countCalls(positive, negative, threshold) {
  const above = (scores) => scores.filter((score) => score >= threshold).length;
  const tp = above(positive), fp = above(negative);
  return { tp, fp, fn: positive.length - tp, tn: negative.length - fp };
}

// PPV and NPV at another prevalence, by Bayes' theorem; null where nothing is called so.
function judgeCalls(calls, prevalence) {
  const sensitivity = calls.tp / (calls.tp + calls.fn), specificity = calls.tn / (calls.tn + calls.fp);
  const right = sensitivity * prevalence, wrong = (1 - specificity) * (1 - prevalence);
  const clear = specificity * (1 - prevalence), missed = (1 - sensitivity) * prevalence;
  return {
    sensitivity, specificity,
    ppv: right + wrong > 0 ? right / (right + wrong) : null,
    npv: clear + missed > 0 ? clear / (clear + missed) : null,
  };
}

function startExplorer(section) {
  const find = (name) => section.querySelector("#explorer-" + name);
  const positive = JSON.parse(section.dataset.positive), negative = JSON.parse(section.dataset.negative);
  const first = { threshold: Number(section.dataset.threshold), prevalence: Number(section.dataset.prevalence) };
  const now = { ...first };
  const figure = (value) => (value === null ? "–" : value.toFixed(3));
  let timer = 0;

  function show(changed) {
    for (const name of ["threshold", "prevalence"]) {
      if (changed !== name + "-slider") find(name + "-slider").value = now[name];
      if (changed !== name) find(name).value = Number(now[name].toFixed(6));
    }
    const calls = countCalls(positive, negative, now.threshold), judged = judgeCalls(calls, now.prevalence);
    for (const name of ["tp", "fp", "fn", "tn"]) find(name).textContent = calls[name].toLocaleString("en");
    for (const name of ["sensitivity", "specificity", "ppv", "npv"]) find(name).textContent = figure(judged[name]);
    clearTimeout(timer);
    timer = setTimeout(() => {
      find("said").textContent = "At a threshold of " + figure(now.threshold) + ": sensitivity " +
        figure(judged.sensitivity) + ", specificity " + figure(judged.specificity) + ". At a prevalence of " +
        figure(now.prevalence) + ": PPV " + figure(judged.ppv) + ", NPV " + figure(judged.npv) + ".";
    }, 300);
  }

  function take(name, text, changed) {
    const value = Number(text);
    if (text === "" || !(value >= 0 && value <= 1)) return;
    now[name] = value;
    show(changed);
  }

  for (const name of ["threshold", "prevalence"]) {
    for (const id of [name, name + "-slider"]) {
      find(id).addEventListener("input", (event) => take(name, event.target.value, id));
    }
  }
  find("back").addEventListener("click", () => { Object.assign(now, first); show(""); });
  const asked = new URLSearchParams(location.hash.slice(1));
  section.hidden = false;
  show("");
  for (const name of ["threshold", "prevalence"]) if (asked.has(name)) take(name, asked.get(name), "");
  if (asked.has("threshold")) section.scrollIntoView();
}

if (typeof document !== "undefined") startExplorer(document.getElementById("explorer"));
if (typeof module !== "undefined") module.exports = { countCalls, judgeCalls };
