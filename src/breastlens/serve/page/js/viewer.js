// An image and, beside it, the same under its map. Both are moved and enlarged together; the first is never covered.
import { make } from "./dom.js";
import { text } from "./strings.js";

const MOST_ZOOM = 8;
const STEP = 1.25;
const MOVE = 0.1;
const WIDE = "(min-width: 760px)";

export function makeViewer(name, picture, positive) {
  const view = { zoom: 1, x: 0, y: 0 };
  const stages = [];
  const preview = toUrl(picture.preview);
  const map = picture.map ? toUrl(picture.map) : null;
  const windowed = [];
  const layer = map ? make("img", { src: map, alt: "", draggable: false }) : null;

  const draw = () => {
    for (const { stage, layers } of stages) {
      const side = stage.clientWidth;
      stage.classList.toggle("enlarged", view.zoom > 1);
      layers.style.transform = `translate(${-view.x * side * view.zoom}px, ${-view.y * side * view.zoom}px) scale(${view.zoom})`;
    }
  };
  const limit = () => {
    const most = 1 - 1 / view.zoom;
    view.x = Math.min(Math.max(view.x, 0), most);
    view.y = Math.min(Math.max(view.y, 0), most);
    draw();
  };
  const zoomTo = (zoom, x = 0.5, y = 0.5) => {
    const before = view.zoom;
    view.zoom = Math.min(Math.max(zoom, 1), MOST_ZOOM);
    view.x += x / before - x / view.zoom;
    view.y += y / before - y / view.zoom;
    limit();
  };
  const move = (x, y) => {
    view.x += x / view.zoom;
    view.y += y / view.zoom;
    limit();
  };
  const onKey = (event) => {
    const keys = {
      "+": () => zoomTo(view.zoom * STEP),
      "=": () => zoomTo(view.zoom * STEP),
      "-": () => zoomTo(view.zoom / STEP),
      0: () => zoomTo(1),
      ArrowLeft: () => move(-MOVE, 0),
      ArrowRight: () => move(MOVE, 0),
      ArrowUp: () => move(0, -MOVE),
      ArrowDown: () => move(0, MOVE),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    keys[event.key]();
    event.preventDefault();
  };

  const makeStage = (label, ...images) => {
    const layers = make("div", { className: "layers" }, ...images);
    const stage = make(
      "div",
      { className: "stage", tabIndex: 0, role: "group", "aria-label": text("picture.stage", { name: label }), onkeydown: onKey },
      layers,
    );
    stage.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey) return;
        event.preventDefault();
        const box = stage.getBoundingClientRect();
        zoomTo(view.zoom * (event.deltaY < 0 ? STEP : 1 / STEP), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
      },
      { passive: false },
    );
    stage.addEventListener("pointerdown", (event) => {
      if (view.zoom > 1) stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!stage.hasPointerCapture(event.pointerId)) return;
      move(-event.movementX / stage.clientWidth, -event.movementY / stage.clientHeight);
    });
    stages.push({ stage, layers });
    return stage;
  };
  const makeImage = (alt) => {
    const image = make("img", { src: preview, alt, draggable: false });
    windowed.push(image);
    return image;
  };

  const original = makeStage(name, makeImage(name));
  const figures = [make("figure", {}, original, make("figcaption", {}, text("picture.original")))];
  let mapFigure = null;
  if (layer) {
    const stage = makeStage(`${name}: ${text("picture.map")}`, makeImage(""), layer);
    mapFigure = make("figure", {}, stage, make("figcaption", {}, text("picture.map")));
    figures.push(mapFigure);
  }
  const pictures = make("div", { className: layer ? "pictures" : "pictures alone" }, ...figures);

  const levels = { brightness: 1, contrast: 1 };
  const setLevels = () => {
    for (const image of windowed) image.style.filter = `brightness(${levels.brightness}) contrast(${levels.contrast})`;
  };
  const makeSlider = (key, low, high, value, onChange) => {
    const input = make("input", { type: "range", min: low, max: high, step: 0.05, autocomplete: "off" });
    input.value = value;
    input.addEventListener("input", () => onChange(Number(input.value)));
    return make("label", { className: "slider" }, make("span", {}, text(key)), input);
  };
  const setOpacity = (value) => {
    layer.style.opacity = value;
  };
  const opacity = layer ? makeSlider("view.opacity", 0, 1, 0.8, setOpacity) : null;
  if (layer) setOpacity(0.8);
  const sliders = make(
    "div",
    { className: "sliders" },
    opacity,
    makeSlider("view.brightness", 0.25, 3, 1, (value) => { levels.brightness = value; setLevels(); }),
    makeSlider("view.contrast", 0.25, 3, 1, (value) => { levels.contrast = value; setLevels(); }),
  );
  const button = (key, sign, action) =>
    make("button", { type: "button", "aria-label": `${text(key)}: ${name}`, title: text(key), onclick: action }, sign);
  const zoom = make(
    "div",
    { className: "zoom" },
    make("span", {}, text("view.zoom")),
    button("view.out", "−", () => zoomTo(view.zoom / STEP)),
    button("view.in", "+", () => zoomTo(view.zoom * STEP)),
    button("view.reset", "1:1", () => zoomTo(1)),
  );
  const key = layer
    ? make(
        "p",
        { className: "bar-key" },
        make("span", {}, text("picture.against")),
        make("i", { "aria-hidden": "true" }),
        make("span", {}, text("picture.for", { positive })),
      )
    : make("p", { className: "hint" }, text("picture.noMap"));
  new ResizeObserver(draw).observe(original);

  return {
    pictures,
    controls: make(
      "details",
      { className: "controls", open: matchMedia(WIDE).matches },
      make("summary", {}, text("view.title")),
      make("div", { className: "sliders" }, key, sliders, zoom),
    ),
    showMap(shown) {
      if (!mapFigure) return;
      mapFigure.hidden = !shown;
      opacity.hidden = !shown;
      key.hidden = !shown;
      pictures.classList.toggle("alone", !shown);
    },
    release() {
      URL.revokeObjectURL(preview);
      if (map) URL.revokeObjectURL(map);
    },
  };
}

function toUrl(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}
