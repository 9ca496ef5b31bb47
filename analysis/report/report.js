"use strict";
// Tables sort by a click on a heading: up, down, and back to the order they came in.
const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const NUMBER = /^[-+−]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?(?=$|[\s%x\/])/i;
const MISSING = new Set(["", "-", "–"]);

function value(cell) {
  return cell.dataset.v ?? cell.textContent.trim();
}

function number(text) {
  if (/^-?Infinity$/.test(text)) return Number(text);
  const found = NUMBER.exec(text);
  return found ? Number(found[0].replaceAll(",", "").replace("−", "-")) : NaN;
}

function sort(table, index) {
  const heads = [...table.tHead.rows[0].cells];
  const before = heads[index].getAttribute("aria-sort");
  const next = { none: "ascending", ascending: "descending", descending: "none" }[before ?? "none"];
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  if (next !== "none") heads[index].setAttribute("aria-sort", next);
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, text: value(row.cells[index]) }));
  const known = rows.filter((r) => !MISSING.has(r.text));
  const numeric = known.every((r) => !Number.isNaN(number(r.text)));
  const sign = next === "descending" ? -1 : 1;
  rows.sort((a, b) => {
    if (next === "none") return a.row.dataset.i - b.row.dataset.i;
    const lost = MISSING.has(a.text) - MISSING.has(b.text); // these stay at the end
    if (lost || MISSING.has(a.text)) return lost;
    if (!numeric) return sign * order.compare(a.text, b.text);
    const [x, y] = [number(a.text), number(b.text)];
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
  body.append(...rows.map((r) => r.row));
}

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!table.tHead || !body || body.rows.length < 2) continue;
  [...body.rows].forEach((row, i) => { row.dataset.i = i; });
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, index));
  });
}

// On paper everything is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => {
  closed.forEach((details) => { details.open = false; });
  closed = [];
});
