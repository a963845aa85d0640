// Elements in one line. Nothing that came from a file or from the service is ever taken for markup.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const PATHS = {
  positive: ["M12 5v14", "M5 12h14"],
  negative: ["M5 12h14"],
  refer: ["M9.2 9a3 3 0 1 1 4.3 2.7c-1 .5-1.5 1.1-1.5 2.3", "M12 17.6v.2"],
  refused: ["M6 6l12 12", "M18 6L6 18"],
};

/** The sign beside a decision; it says nothing that the words do not say. */
export function sign(decision) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 24 24");
  picture.setAttribute("aria-hidden", "true");
  const ring = document.createElementNS(space, "circle");
  for (const [name, value] of [["cx", 12], ["cy", 12], ["r", 10.5]]) ring.setAttribute(name, value);
  picture.append(ring);
  for (const way of PATHS[decision] ?? []) {
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", way);
    picture.append(line);
  }
  return picture;
}
