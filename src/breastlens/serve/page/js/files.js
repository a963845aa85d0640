// Files that were dropped, chosen or pasted, those in folders included.

/** All files of a drop, with their paths inside the folders that were dropped. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...transfer.files];
  const found = await Promise.all(entries.map(filesBelow));
  return found.flat();
}

async function filesBelow(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    inside.push(...some);
  }
  inside.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  return (await Promise.all(inside.map(filesBelow))).flat();
}

/** Pictures on the clipboard. */
export function pastedFiles(clipboard) {
  return [...(clipboard?.files ?? [])];
}

export function visible(files) {
  return [...files].filter((file) => !file.name.startsWith("."));
}
