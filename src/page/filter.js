"use strict";
const box = document.getElementById("filter");
const rows = [...document.querySelectorAll("#differences tbody tr")];
const told = document.getElementById("shown");
if (box && told) {
  box.closest(".filter").hidden = false;
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase();
    const shown = rows.filter((row) => {
      row.hidden = !row.textContent.toLowerCase().includes(words);
      return !row.hidden;
    });
    told.textContent = shown.length + " of " + rows.length + " shown";
  });
}
