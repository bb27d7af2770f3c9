/* Pieces of the list and detail pages: HTML that keeps what a person opened, columns with their roles, renaming. */
(() => {
  if (window.studioParts) return;

  const make = (...made) => studio.make(...made);

  /* -- HTML that is redrawn while it is read -------------------------------------------------------------------- */

  /* numbers change between two drawings ("Log (6 lines)"), the words around them do not */
  const words = (text) => (text ?? "").replace(/[\d.,]+/g, "").trim();
  const FOCUSABLE = "a[href], button, summary, [tabindex]";
  const key = (item) => item.getAttribute("href") ?? item.getAttribute("aria-label") ?? words(item.textContent);

  const remembered = (element) => {
    const active = element.contains(document.activeElement) ? document.activeElement : null;
    return {
      opened: new Map([...element.querySelectorAll("details")].map((part) => [words(part.querySelector("summary")?.textContent), part.open])),
      scrolled: new Map([...element.querySelectorAll("[tabindex]")].map((part) => [key(part), {
        left: part.scrollLeft, top: part.scrollTop, end: part.scrollTop > 0 && part.scrollTop + part.clientHeight > part.scrollHeight - 4 }])),
      active: active && { tag: active.tagName, key: key(active) },
    };
  };
  const recalled = (element, before) => {
    for (const part of element.querySelectorAll("details")) {
      const open = before.opened.get(words(part.querySelector("summary")?.textContent));
      if (open !== undefined) part.open = open;
    }
    for (const part of element.querySelectorAll("[tabindex]")) {
      const at = before.scrolled.get(key(part));
      if (at) Object.assign(part, { scrollLeft: at.left, scrollTop: at.end ? part.scrollHeight : at.top });
    }
    if (before.active)
      [...element.querySelectorAll(FOCUSABLE)].find((item) => item.tagName === before.active.tag && key(item) === before.active.key)?.focus({ preventScroll: true });
  };
  /* on a phone a table's rows stand one below the other, and each cell needs its column's name */
  const labelled = (element) => {
    for (const table of element.querySelectorAll("table")) {
      const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
      for (const row of table.tBodies[0]?.rows ?? []) [...row.cells].forEach((cell, index) => { cell.dataset.label = names[index] ?? ""; });
    }
  };

  function kept(element, props, trigger, watch) {
    let shown = null;
    const paint = () => {
      const next = typeof props.value === "string" ? props.value : "";
      if (next === shown) return;
      const before = remembered(element);
      shown = next;
      element.innerHTML = next;
      labelled(element);
      recalled(element, before);
    };
    watch("value", paint);
    paint();
  }

  /* -- the first rows, and in their header the part each column plays ----------------------------------------------- */

  function columns(element, props, trigger, watch) {
    let drawn = "";
    const pick = (column, role) => {
      const chosen = { ...props.value.chosen };
      for (const other of Object.keys(chosen)) if (chosen[other] === role) delete chosen[other];
      delete chosen[column];
      if (role) chosen[column] = role;
      props.value = { ...props.value, chosen };
      mark();
      trigger("input");
    };
    const mark = () => {
      const { chosen = {}, columns: names = [] } = props.value ?? {};
      element.querySelectorAll("select").forEach((select) => {
        select.value = chosen[names[select.dataset.index]] ?? "";
        select.closest("th").classList.toggle("ps-played", Boolean(select.value));
      });
    };
    const header = (state, name, index) => {
      const id = `column-role-${index}`;
      const select = make("select", { id, class: "ps-select", "data-index": String(index), disabled: state.fixed, "aria-label": `Part of the column ${name || "without a name"}`, onchange: () => pick(name, select.value) },
        make("option", { value: "" }, "not used"), ...state.roles.map((role) => make("option", { value: role.value, title: role.help }, role.title)));
      return make("th", { scope: "col" }, make("span", { class: "ps-column-name" }, name || "(no name)"),
        state.fixed && !state.chosen?.[name] ? "" : select);
    };
    const paint = () => {
      const state = props.value ?? {};
      if (!state.columns?.length) { element.replaceChildren(); drawn = ""; return; }
      const parts = JSON.stringify([state.columns, state.rows, state.roles, state.fixed && state.chosen]);
      if (parts !== drawn) {
        drawn = parts;
        const body = state.rows.map((row, number) => make("tr", {}, make("td", { class: "ps-num" }, String(number + 1)), ...row.map((cell) => make("td", {}, cell))));
        const box = make("div", { class: "ps-scroll ps-tall", tabindex: "0", role: "region", "aria-label": state.label },
          make("table", { class: "ps-table ps-columns-table" }, make("caption", { class: "ps-hidden" }, state.label),
            make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Row"), ...state.columns.map((name, index) => header(state, name, index)))),
            make("tbody", {}, ...body)));
        element.replaceChildren(box);
      }
      mark();
    };
    watch("value", paint);
    paint();
  }

  /* -- a button that asks for a name ---------------------------------------------------------------------------------- */

  function rename(element, props, trigger, watch) {
    const paint = () => {
      const state = props.value ?? {};
      const box = make("input", { type: "text", class: "ps-text", "aria-label": "Name", maxlength: "200", required: true, autocomplete: "off" });
      const keep = () => {
        if (!box.value.trim()) { box.focus(); return; }
        props.value = { ...props.value, name: box.value.trim() };
        dialog.close();
        trigger("submit");
      };
      const dialog = make("dialog", { class: "ps-dialog", "aria-label": "Rename" },
        make("p", { class: "ps-what" }, "Rename"), box,
        make("div", { class: "ps-actions" },
          make("button", { type: "button", class: "ps-button", onclick: () => dialog.close() }, "Cancel"),
          make("button", { type: "button", class: "ps-button ps-primary", onclick: keep }, "Save the name")));
      box.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); keep(); } });
      const button = make("button", { type: "button", class: "ps-button", onclick: () => { box.value = props.value?.name ?? ""; dialog.showModal(); box.select(); } }, "Rename");
      element.replaceChildren(state.name === undefined ? "" : button, state.name === undefined ? "" : dialog);
    };
    let had = null;
    watch("value", () => { const has = props.value?.name !== undefined; if (has !== had) { had = has; paint(); } });
    had = props.value?.name !== undefined;
    paint();
  }

  window.studioParts = { kept, columns, rename };
  dispatchEvent(new Event("ps-script"));
})();
