"use strict";
// Steps through the run: the picture and the table are there without this script.
const run = JSON.parse(document.getElementById("run").textContent);
const rows = [...document.querySelectorAll("tbody tr[data-at]")];
const steps = rows.map((row) => Number(row.dataset.at));
const scroll = document.querySelector(".scroll");
const state = document.getElementById("state");
const tip = document.getElementById("tip");
const bands = document.querySelectorAll("rect.now");
const names = document.querySelector(".names");
let now = -1; // an index into rows

const cell = (row, place) => row.cells[place].textContent;
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
};
// The last of the entries [step, text] that is not after the step.
const last = (entries, step) => entries.filter((entry) => entry[0] <= step).pop();
// The column [last step, x, width] of a step: its own, or that of the steps that are not drawn.
const place = (step) => run.places.find(([to]) => step <= to) ?? [0, 0, 0];

function describe(row) {
  const observed = cell(row, 4);
  return `${cell(row, 0)} · ${cell(row, 2)} · ${cell(row, 3)}${observed ? " → " + observed : ""}`;
}

function show(index, follow) {
  if (!rows.length) return;
  now = Math.max(0, Math.min(rows.length - 1, index));
  const step = steps[now];
  const [, x, width] = place(step);
  for (const band of bands) {
    band.setAttribute("x", x);
    band.setAttribute("width", width);
  }
  document.querySelector("tr.current")?.classList.remove("current");
  rows[now].classList.add("current");

  const boxes = [];
  for (const line of run.lines) {
    const entry = last(line.values, step);
    if (!entry || entry[1] === "" && line.kind === "held") continue;
    const changed = entry[0] === step;
    const differs = line.differs?.some(([from, to]) => from <= step && step < to);
    const box = element("div", `${line.kind}${changed ? " changed" : ""}${differs ? " differs" : ""}`, "");
    box.append(element("dt", "", line.name), element("dd", "", (differs ? "≠ " : "") + (entry[1] || "empty")));
    boxes.push([changed || differs || line.kind === "held", box]);
  }
  // Where there is much, what says something goes first.
  if (boxes.length > 12) boxes.sort(([one], [other]) => Number(Boolean(other)) - Number(Boolean(one)));
  const list = document.createElement("dl");
  list.append(...boxes.slice(0, 12).map(([, box]) => box));
  if (boxes.length > 12) list.append(element("div", "more", `and ${boxes.length - 12} more`));
  const what = document.getElementById("step");
  what.replaceChildren(element("b", "", `Step ${cell(rows[now], 0)} of ${run.steps}`),
    ` · ${cell(rows[now], 1)} · ${cell(rows[now], 2)} · `, element("code", "", cell(rows[now], 3)));
  if (cell(rows[now], 4)) what.append(" → ", element("code", "", cell(rows[now], 4)));
  state.querySelector("dl").replaceWith(list);
  state.hidden = false;

  if (follow) {
    const left = names.getBoundingClientRect().width;
    const from = x - 40, to = x + width + 40 - (scroll.clientWidth - left);
    if (scroll.scrollLeft > from) scroll.scrollLeft = from;
    else if (scroll.scrollLeft < to) scroll.scrollLeft = to;
    history.replaceState(null, "", `#step=${cell(rows[now], 0)}`);
  }
}

function fromHash() {
  const wanted = /^#step=(\d+)$/.exec(location.hash);
  const number = wanted ? Number(wanted[1]) : run.start;
  const index = rows.findIndex((row) => Number(cell(row, 0)) >= number);
  show(index < 0 ? rows.length - 1 : index, false);
  const first = wanted || run.from === null ? null : place(run.from);
  const [, x, width] = place(steps[now]);
  const room = scroll.clientWidth - names.getBoundingClientRect().width;
  // Without a wish: from the first of the two turns that raced on, if where it was held is then in sight.
  if (first && x + width - first[1] < room) scroll.scrollLeft = first[1] - 16;
  else scroll.scrollLeft = x + width > room ? x + width / 2 - room / 3 : 0;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: rows.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  show(to, true);
});

// The step under the pointer: the column that it is in, of which it is the last.
const body = document.querySelector("svg.body");
function under(event) {
  const x = event.clientX - body.getBoundingClientRect().left;
  const column = run.places.find(([, from, width]) => from <= x && x < from + width);
  return column ? steps.indexOf(column[0]) : -1;
}
body.addEventListener("pointermove", (event) => {
  const index = under(event);
  tip.hidden = index < 0;
  if (tip.hidden) return;
  tip.textContent = describe(rows[index]);
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - box.width - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 18, innerHeight - box.height - 8)}px`;
});
body.addEventListener("pointerleave", () => { tip.hidden = true; });
body.addEventListener("click", (event) => {
  const index = under(event);
  if (index >= 0) show(index, true);
});
addEventListener("hashchange", fromHash);
fromHash();
