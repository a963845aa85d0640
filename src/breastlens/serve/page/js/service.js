// What the page asks of the service.
const MOST_TRIES = 6;
const SIMILAR = 5;
let token = "";

/** An answer that was no success, with the service's own words. */
export class ServiceError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function setToken(given) {
  token = given;
}

export function listModels() {
  return ask("v1/models");
}

export function describeModel(name) {
  return ask(`v1/model?${new URLSearchParams({ model: name })}`);
}

/** Score one image, with its picture, its map and the training images that resemble it. */
export async function predictImage(model, file, signal) {
  const query = new URLSearchParams({ model, map: "true", similar: String(SIMILAR) });
  return ask(`v1/predictions?${query}`, { method: "POST", body: form([file]), signal });
}

/** Score the images of one patient together. The patient's name stays here: to the service all are "1". */
export async function predictPatient(model, files, signal) {
  const query = new URLSearchParams({ model });
  const answer = await ask(`v1/predictions?${query}`, { method: "POST", body: form(files, "1"), signal });
  return { ...answer.patients[0], version: answer.model.version };
}

/** A training image as a picture, or null where the model's maker gave none along. */
export async function trainingImage(model, number) {
  const query = new URLSearchParams({ model: model.name, version: model.version });
  try {
    return await (await request(`v1/thumbnails/${number}?${query}`)).blob();
  } catch (error) {
    if (error instanceof ServiceError) return null;
    throw error;
  }
}

function form(files, patient) {
  const data = new FormData();
  for (const file of files) data.append("files", file);
  if (patient !== undefined) data.append("patient_id", patient);
  return data;
}

async function ask(path, options = {}) {
  return (await request(path, options)).json();
}

/** Ask; where the service is busy, ask again when it says so. */
async function request(path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const wait = Number(answer.headers.get("retry-after"));
    if (![429, 503].includes(answer.status) || !wait || tries === MOST_TRIES) {
      throw new ServiceError(answer.status, problem.detail ?? `HTTP ${answer.status}`);
    }
    await pause(wait * 1000 * (0.5 + Math.random()), options.signal);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}
