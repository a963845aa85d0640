// Files that were dropped, chosen or pasted, those in folders included.
const PICTURES = new Set([".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".dcm", ".dicom", ".npy"]);
const TABLES = new Set([".txt", ".csv"]);
const DICOM = { at: 128, mark: "DICM" };
const LOOKED_AT = 65536;
const order = new Intl.Collator(undefined, { numeric: true });

/** Files as they follow each other for people: 2 before 10. */
export function sorted(files) {
  return [...files].sort((one, other) => order.compare(pathOf(one), pathOf(other)));
}

export function pathOf(file) {
  return file.webkitRelativePath || file.name;
}

/** What of a drop may be images: files as they are, of folders those that look like images; and how many others there were. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return { files: visible(sorted(transfer.files)), skipped: 0 };
  const alone = await Promise.all(entries.filter((entry) => entry.isFile).map(fileOf));
  const folders = await Promise.all(entries.filter((entry) => !entry.isFile).map(filesBelow));
  const { files, skipped } = await imagesOf(folders.flat());
  return { files: [...visible(sorted(alone)), ...files], skipped };
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function filesBelow(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [await fileOf(entry)];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    inside.push(...some);
  }
  inside.sort((one, other) => order.compare(one.name, other.name));
  return (await Promise.all(inside.map(filesBelow))).flat();
}

/** Which files of a folder look like images, and how many do not. */
export async function imagesOf(given) {
  const shown = visible(given);
  const images = await Promise.all(shown.map(mayBeImage));
  const files = shown.filter((_, place) => images[place]);
  return { files, skipped: shown.length - files.length };
}

/** As `predict` searches a folder, by the end of the name. A table has to have a row of numbers alone, else it is a list or
 * a note; a file without an end to its name may be DICOM. */
async function mayBeImage(file) {
  const [end] = /\.[^.]*$/.exec(file.name.toLowerCase()) ?? [""];
  if (PICTURES.has(end)) return true;
  if (TABLES.has(end)) return (await file.slice(0, LOOKED_AT).text()).split(/[\r\n]+/).some(holdsNumbersAlone);
  if (end !== "") return false;
  return (await file.slice(DICOM.at, DICOM.at + DICOM.mark.length).text()) === DICOM.mark;
}

function holdsNumbersAlone(line) {
  const cells = line.split(/[;,\s]+/).filter(Boolean);
  return cells.length > 1 && cells.every((cell) => Number.isFinite(Number(cell)));
}

/** Pictures on the clipboard. */
export function pastedFiles(clipboard) {
  return visible(clipboard?.files ?? []);
}

/** Files that are not hidden, nor in a hidden folder. */
export function visible(files) {
  return [...files].filter((file) => !pathOf(file).split("/").some((part) => part.startsWith(".")));
}
