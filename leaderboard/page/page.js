"use strict";
const all = (what, inside = document) => [...inside.querySelectorAll(what)];
const one = (id) => document.getElementById(id);
const tables = all(".board table");
const clips = all("#section option");
const print = matchMedia("print");

/** A cell's sort key; null where nothing was measured. */
function key(cell, text) {
  const value = cell.dataset.v;
  if (value === undefined || value === "") return null;
  return text ? value : Number(value);
}

/** Sorts a table's rows, those with the same key as they were; what is missing comes last in either direction. */
function sort(head) {
  const heads = [...head.parentElement.cells];
  const column = heads.indexOf(head);
  const before = head.getAttribute("aria-sort");
  const down = before === "none" ? "down" in head.dataset : before === "ascending";
  const body = head.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => [key(row.cells[column], "text" in head.dataset), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return a === b ? 0 : (a < b) === down ? 1 : -1;
  });
  body.append(...keyed.map(([, row]) => row));
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

/** Shows one board of the page, whole, with the clips that it has. */
function choose() {
  const view = one("track").value;
  for (const part of all(".view")) part.hidden = part.dataset.view !== view;
  one("section")?.replaceChildren(...clips.filter((option) => (option.dataset.view ?? view) === view));
  if (clips.length) one("section").value = "";
}

/** Shows the rows, sections and columns that the controls ask for; on paper, every column. */
function show() {
  const wanted = one("filter").value.toLowerCase();
  const section = one("section")?.value;
  const threat = print.matches ? "" : one("threat")?.value;
  let found = 0;
  let rows = 0;
  document.body.classList.toggle("no-intervals", !one("intervals").checked);
  for (const table of tables) {
    const place = table.closest("section");
    place.hidden = Boolean(section) && place.id !== section;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.dataset.names.toLowerCase().includes(wanted);
      if (!place.closest("[hidden]")) [rows, found] = [rows + 1, found + !row.hidden];
    }
    narrow(table, threat);
  }
  one("count").textContent = found === rows ? `${rows} rows` : `${found} of ${rows} rows`;
}

/** Leaves out the attacks of attackers who know more or less than `threat`. */
function narrow(table, threat) {
  const heads = [...table.tHead.rows[1].cells];
  const off = heads.map((head) => Boolean(threat && head.dataset.threat) && head.dataset.threat !== threat);
  for (const row of [table.tHead.rows[1], ...table.tBodies[0].rows]) {
    [...row.cells].forEach((cell, column) => cell.classList.toggle("off", off[column]));
  }
  for (const group of table.tHead.rows[0].cells) {
    if (group.dataset.kind !== "attack") continue;
    const left = heads.filter((head, column) => head.dataset.kind === "attack" && !off[column]).length;
    group.classList.toggle("off", !left);
    group.colSpan = left || 1;
  }
}

/** One field of a CSV file: quoted, and no formula for a spreadsheet. */
function field(text) {
  const plain = /^[=+\-@\t\r]./.test(text) ? `'${text}` : text;
  return `"${plain.replaceAll('"', '""')}"`;
}

/** What is shown, as a CSV file; `-` becomes an empty field. */
function download() {
  const lines = [];
  for (const table of tables.filter((table) => !table.closest("[hidden]"))) {
    const title = all("h2", table.closest("section"))[0].textContent;
    for (const row of [table.tHead.rows[1], ...table.tBodies[0].rows].filter((row) => !row.hidden)) {
      const cells = [...row.cells].filter((cell) => !cell.classList.contains("off"));
      const texts = cells.map((cell) => cell.dataset.v && !cell.matches(".number, .rank") ? cell.dataset.v : written(cell));
      lines.push([row.parentElement === table.tHead ? "Clips" : title, ...texts].map(field).join(","));
    }
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = "leaderboard.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function written(cell) {
  const parts = all(one("intervals").checked ? ".v, .i" : ".v", cell);
  const text = (parts.length ? parts.map((part) => part.textContent).join(" ") : cell.textContent).trim();
  return text === "-" ? "" : text;
}

function theme() {
  const style = document.documentElement;
  const dark = style.dataset.theme ? style.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  style.dataset.theme = dark ? "light" : "dark";
}

for (const head of all(".heads th")) {
  const button = head.querySelector("button");
  button.disabled = false;
  button.addEventListener("click", () => sort(head));
}
const controls = document.querySelector(".controls");
controls.hidden = false;
controls.addEventListener("submit", (event) => event.preventDefault());
controls.addEventListener("input", show);
one("track")?.addEventListener("input", choose);
one("csv").addEventListener("click", download);
one("theme").addEventListener("click", theme);
print.addEventListener("change", show);
if (one("track")) choose();
show();
