"use strict";
// The page is the state: what is chosen in it is what is saved. Nothing is sent, nothing is stored by the browser.
const sections = [...document.querySelectorAll("section")];
const names = sections.map((section) => section.dataset.person);
const said = document.querySelector("output");
let unsaved = false;

const personLabel = (section) => section.querySelector("input[type=radio]:checked").value;
const lookLabel = (look, label) => look.querySelector("select").value || label;

// Whoever is said to be the same as somebody: each person leads to the first of their group.
function groups() {
  const first = names.map((_, index) => index);
  const root = (index) => (first[index] === index ? index : root(first[index]));
  sections.forEach((section, index) => {
    const other = names.indexOf(section.querySelector("input[list]").value.trim());
    if (other < 0) return;
    const [low, high] = [root(index), root(other)].sort((a, b) => a - b);
    first[high] = low;
  });
  return names.map((_, index) => root(index));
}

function refresh() {
  const first = groups();
  const count = {};
  let out = 0;
  sections.forEach((section, index) => {
    const box = section.querySelector("input[list]");
    const word = box.value.trim();
    box.setCustomValidity(word === "" || names.includes(word) ? "" : "There is no such person on this page.");
    const label = personLabel(section);
    const note = section.querySelector(".same");
    const merged = first[index] !== index;
    section.classList.toggle("merged", merged);
    note.textContent = merged ? `counted as ${names[first[index]]}` : "";
    for (const look of section.querySelectorAll("li")) {
      const chosen = lookLabel(look, label);
      const isOut = chosen === "leave_out" || chosen === "not_a_face";
      const differs = !isOut && (look.dataset.likeliest !== chosen || look.dataset.unsure === "yes");
      look.classList.toggle("out", isOut);
      look.classList.toggle("differs", differs);
      if (isOut) out += 1;
      else count[chosen] = (count[chosen] || 0) + 1;
    }
  });
  const words = { mask: "mask", no_mask: "no mask", incorrect: "worn wrongly" };
  const parts = Object.keys(words).filter((key) => count[key]).map((key) => `${count[key]} ${words[key]}`);
  const persons = new Set(first).size;
  said.textContent = `${persons} person${persons === 1 ? "" : "s"}; looks: ${parts.join(", ") || "none"}; ${out} left out`
    + (unsaved ? " · not saved" : "");
}

function table() {
  const first = groups();
  const lines = ["crop,person,label"];
  sections.forEach((section, index) => {
    const label = personLabel(section);
    for (const look of section.querySelectorAll("li"))
      lines.push([look.dataset.crop, names[first[index]], lookLabel(look, label)].join(","));
  });
  return lines.join("\n") + "\n";
}

document.querySelector("button").addEventListener("click", () => {
  const wrong = document.querySelector("input:invalid");
  if (wrong) {
    wrong.reportValidity();
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the browser reads it after the click
  unsaved = false;
  refresh();
});
document.addEventListener("input", () => {
  unsaved = true;
  refresh();
});
addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
refresh();
