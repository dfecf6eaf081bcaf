"use strict";
// Filters of the findings and of the statements. Without this script everything is shown.
(() => {
  const remembered = new URLSearchParams(location.hash.slice(1));
  for (const form of document.querySelectorAll("form.filters")) {
    form.hidden = false;
    const rows = [...document.querySelectorAll(`[data-of="${form.id}"]`)];
    const controls = [...form.querySelectorAll("select, input")];
    const output = form.querySelector("output");
    const nothing = document.getElementById(`${form.id}-nothing`);
    const matches = (row) => controls.every((control) => {
      const wanted = control.value.trim().toLowerCase();
      if (wanted === "") return true;
      if (control.type === "search") return wanted.split(/\s+/).every((word) => row.dataset.text.includes(word));
      return row.dataset[control.name].split("\n").includes(wanted);
    });
    const apply = () => {
      let shown = 0;
      for (const row of rows) {
        row.hidden = !matches(row);
        shown += row.hidden ? 0 : 1;
      }
      output.value = `${shown} of ${rows.length} shown`;
      if (nothing) nothing.hidden = shown > 0 || rows.length === 0;
      const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
      for (const control of controls) {
        if (control.value === control.dataset.default) state.delete(control.id);
        else state.set(control.id, control.value);
      }
      const hash = state.toString();
      if (hash !== "" || location.hash.includes("=")) history.replaceState(null, "", hash === "" ? location.pathname + location.search : `#${hash}`);
    };
    for (const control of controls) {
      control.dataset.default = control.value;
      const before = remembered.get(control.id);
      if (before !== null) control.value = before;
    }
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      for (const control of controls) control.value = "";
      apply();
    });
    apply();
  }
  // A link to a finding opens it.
  const open = () => {
    const target = location.hash.startsWith("#finding-") && document.getElementById(location.hash.slice(1));
    if (!target) return;
    target.hidden = false;
    target.querySelector("details").open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
  // What is printed is not folded.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll(".findings details:not([open])")];
    for (const one of unfolded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of unfolded) one.open = false; });
})();
