/* The rows of a dataset: a table or a grid of images over the whole file, and a dialog that changes one row. */
(() => {
  if (window.studioRows) return;

  const make = (...made) => studio.make(...made);
  const WAIT = 350, PATIENCE = 20_000;

  function table(element, props, trigger, watch) {
    let state = null, typing = null, opener = null, asking = null;
    const waiting = [];

    /* one after the other: what is asked for while an answer is on its way waits for it */
    const send = () => {
      const next = waiting.shift();
      if (!next || !state?.at) return;
      box.setAttribute("aria-busy", "true");
      clearTimeout(asking);
      asking = setTimeout(() => { asking = null; send(); }, PATIENCE);
      props.value = { ask: { ...next, at: { ...state.at, row: null, ...next.at } } };
      trigger("input");
    };
    const ask = (what, more = {}, at = {}) => {
      if (what === "page" && waiting.at(-1)?.what === "page") waiting.pop();
      waiting.push({ what, ...more, at });
      if (asking === null) send();
    };
    const answered = () => { clearTimeout(asking); asking = null; send(); };
    const page = (at) => ask("page", {}, at);

    /* -- the bar above: searching, jumping, the kind of view -- */

    const search = make("input", { type: "search", class: "ps-text", id: "rows-search", placeholder: "In any column", autocomplete: "off",
      oninput: () => { clearTimeout(typing); typing = setTimeout(() => page({ search: search.value, offset: 0 }), WAIT); },
      onkeydown: (event) => { if (event.key === "Enter") { clearTimeout(typing); page({ search: search.value, offset: 0 }); } } });
    const jump = make("input", { type: "number", class: "ps-number", id: "rows-jump", min: 1, inputmode: "numeric",
      onkeydown: (event) => { if (event.key === "Enter") go(); } });
    const go = () => { if (jump.value) page({ jump: jump.value }); };
    const kind = make("button", { type: "button", class: "ps-button", onclick: () => page({ view: state.at.view === "grid" ? "table" : "grid" }) });
    const sorts = make("select", { class: "ps-select", id: "rows-sort", onchange: () => page({ sort: sorts.value || null, descending: false, offset: 0 }) });
    const sorting = make("div", { class: "ps-field" }, make("label", { class: "ps-field-name", for: "rows-sort" }, "Sort by"), sorts);
    const bar = make("div", { class: "ps-rows-bar" },
      make("div", { class: "ps-field" }, make("label", { class: "ps-field-name", for: "rows-search" }, "Search all rows"), search),
      make("div", { class: "ps-field" }, make("label", { class: "ps-field-name", for: "rows-jump" }, "Go to row"),
        make("div", { class: "ps-control" }, jump, make("button", { type: "button", class: "ps-button", onclick: go }, "Go"))), sorting, kind);

    /* -- what was changed and not saved yet -- */

    const told = make("span", { role: "status" });
    const button = (text, what, look = "") => make("button", { type: "button", class: `ps-button ${look}`, onclick: () => ask(what) }, text);
    const drafts = make("div", { class: "ps-rows-drafts ps-note ps-info", hidden: true }, told,
      make("div", { class: "ps-actions" }, button("Undo", "undo"), button("Discard all", "discard"), button("Save as a new version", "save", "ps-primary")));

    const note = make("div", {}), body = make("div", {}), status = make("p", { class: "ps-muted", role: "status" });
    const before = make("button", { type: "button", class: "ps-button", onclick: () => page({ offset: Math.max(0, state.at.offset - state.at.limit) }) }, "Previous");
    const after = make("button", { type: "button", class: "ps-button", onclick: () => page({ offset: state.at.offset + state.at.limit }) }, "Next");
    const size = make("select", { class: "ps-select", "aria-label": "Rows on a page", onchange: () => page({ limit: Number(size.value), offset: Math.floor(state.at.offset / Number(size.value)) * Number(size.value) }) });
    const pager = make("div", { class: "ps-rows-pager" }, status, make("div", { class: "ps-control" }, size, before, after));
    const box = make("div", { class: "ps-rows-box" }, bar, drafts, note, body, pager);

    /* -- one row, as a table's line or as a tile -- */

    const marked = (text) => {
      const wanted = state.at.search.trim().toLowerCase();
      const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
      if (at < 0) return [text];
      return [text.slice(0, at), make("mark", {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)];
    };
    const picture = (row, size) => make("img", { src: `/api/v1/datasets/${state.id}/rows/${row.number}/image?size=${size}`, loading: "lazy", decoding: "async",
      alt: `Row ${row.number}${labelOf(row) ? `, ${labelOf(row)}` : ""}`, class: "ps-thumb" });
    const labelOf = (row) => row.cells[state.columns.findIndex((column) => column.name === state.label)]?.text ?? "";
    const cell = (row, item, column) => {
      const cut = item.all ? make("small", { class: "ps-muted" }, ` ${item.all}`) : "";
      const inner = column.kind === "image" ? [picture(row, 96)] : marked(item.text);
      return make("td", { class: [item.was !== undefined ? "ps-edited" : "", column.kind === "number" ? "ps-num" : ""].join(" ").trim() || null, "data-label": column.name },
        item.was !== undefined ? make("del", {}, item.was || "(empty)") : "", make("div", { class: "ps-cell" }, ...inner), cut);
    };
    const acts = (row) => [
      make("button", { type: "button", class: "ps-button ps-small", "aria-label": `Edit row ${row.number}`, "data-edit": String(row.number), onclick: () => { opener = `[data-edit="${row.number}"]`; ask("row", { row: row.number }); } }, "Edit"),
      make("button", { type: "button", class: "ps-button ps-small", "aria-label": row.out ? `Take row ${row.number} back in` : `Exclude row ${row.number}`,
        onclick: () => ask("edit", { edits: [{ row: row.number, exclude: !row.out }] }) }, row.out ? "Take back" : "Exclude")];
    const classes = (row) => [row.out ? "ps-out" : "", row.number === state.at.row ? "ps-found" : ""].join(" ").trim() || null;
    const line = (row) => make("tr", { class: classes(row) }, make("td", { class: "ps-num", "data-label": "Row" }, row.number.toLocaleString("en")),
      ...row.cells.map((item, index) => cell(row, item, state.columns[index])), make("td", { class: "ps-row-acts", "data-label": "" }, ...acts(row)));
    const tile = (row) => make("li", { class: classes(row) }, picture(row, 256),
      make("p", {}, make("b", {}, labelOf(row) || "no label"), make("span", { class: "ps-muted" }, ` row ${row.number.toLocaleString("en")}`)), make("div", { class: "ps-row-acts" }, ...acts(row)));

    const header = (column) => {
      const mine = state.at.sort === column.name;
      const next = !mine ? { sort: column.name, descending: false } : state.at.descending ? { sort: null, descending: false } : { sort: column.name, descending: true };
      return make("th", { scope: "col", "aria-sort": mine ? (state.at.descending ? "descending" : "ascending") : "none" },
        make("button", { type: "button", class: "ps-sorter", title: "Sort by this column", onclick: () => page({ ...next, offset: 0 }) },
          make("span", { class: "ps-column-name" }, column.name || "(no name)"), make("span", { "aria-hidden": "true" }, mine ? (state.at.descending ? " ▾" : " ▴") : "")),
        column.role ? make("span", { class: "ps-tag" }, column.role) : "");
    };
    const grid = () => state.at.view === "grid" && state.columns.some((column) => column.kind === "image");
    const lines = () => {
      if (!state.rows?.length) return make("p", { class: "ps-muted" }, state.html ? "" : state.at.search ? `No row holds “${state.at.search}”.` : "There are no rows.");
      if (grid()) return make("ul", { class: "ps-tiles" }, ...state.rows.map(tile));
      return make("div", { class: "ps-scroll ps-rows-scroll", tabindex: "0", role: "region", "aria-label": "Rows" },
        make("table", { class: "ps-table ps-rows-table" }, make("caption", { class: "ps-hidden" }, "Rows"),
          make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Row"), ...state.columns.map(header), make("th", { scope: "col" }, "Change"))),
          make("tbody", {}, ...state.rows.map(line))));
    };

    /* -- the dialog that changes one row -- */

    const edit = (full) => {
      const fields = state.columns.filter((column) => column.kind && column.kind !== "image" && full.cells[column.name] !== undefined).map((column) => {
        const id = `row-${state.columns.indexOf(column)}`, text = full.cells[column.name];
        const short = column.name === state.label || column.kind === "number";
        const input = short ? make("input", { type: "text", id, class: "ps-text", list: column.name === state.label ? "row-labels" : null, autocomplete: "off" })
          : make("textarea", { id, class: "ps-text", rows: String(Math.min(10, Math.max(2, Math.ceil(text.length / 60)))) });
        input.value = text;
        return { column, input, text, row: make("div", { class: "ps-field" }, make("label", { class: "ps-field-name", for: id }, column.name), input,
          ["list", "conversation"].includes(column.kind) ? make("p", { class: "ps-help" }, "A JSON list.") : "") };
      });
      const keep = () => {
        const changed = fields.filter(({ input, text }) => input.value !== text).map(({ column, input }) => ({ row: full.row, column: column.name, value: input.value }));
        dialog.close();
        if (changed.length) ask("edit", { edits: changed });
      };
      const dialog = make("dialog", { class: "ps-dialog ps-row-dialog", "aria-label": `Edit row ${full.row}`, onclose: () => { dialog.remove(); element.querySelector(opener)?.focus(); } },
        make("p", { class: "ps-what" }, `Row ${full.row.toLocaleString("en")}`), ...fields.map((field) => field.row),
        make("datalist", { id: "row-labels" }, ...state.labels.map((label) => make("option", { value: label }))),
        make("div", { class: "ps-actions" }, make("button", { type: "button", class: "ps-button", onclick: () => dialog.close() }, "Cancel"),
          make("button", { type: "button", class: "ps-button ps-primary", onclick: keep }, "Change the row")));
      for (const { input } of fields) if (input.tagName === "INPUT") input.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); keep(); } });
      element.append(dialog);
      dialog.showModal();
    };

    /* -- drawing -- */

    const remember = () => {
      const query = new URLSearchParams(location.search), { at } = state;
      const kept = { tab: "rows", row: at.row ?? "", search: at.search, sort: at.sort ? (at.descending ? "-" : "") + at.sort : "", offset: at.offset && !at.row ? at.offset : "", view: at.view };
      for (const [name, value] of Object.entries(kept)) value === "" ? query.delete(name) : query.set(name, value);
      history.replaceState(null, "", `${location.pathname}?${query}`);
    };
    const paint = () => {
      const next = props.value ?? {};
      if (next.ask) return;
      if (!next.columns) { state = null; element.replaceChildren(make("div", {})); element.firstChild.innerHTML = next.html ?? ""; return; }
      const was = element.contains(document.activeElement) ? document.activeElement : null;
      const label = was?.getAttribute?.("aria-label");
      state = next;
      if (box.parentNode !== element) element.replaceChildren(box);
      box.removeAttribute("aria-busy");
      if (document.activeElement !== search) search.value = state.at.search;
      jump.max = state.there;
      kind.hidden = !state.columns.some((column) => column.kind === "image");
      sorting.hidden = !grid();
      sorts.replaceChildren(make("option", { value: "" }, "As in the file"), ...state.columns.filter((column) => column.kind !== "image")
        .map((column) => make("option", { value: column.name, selected: column.name === state.at.sort }, column.name)));
      kind.textContent = state.at.view === "grid" ? "Show as a table" : "Show as images";
      drafts.hidden = !state.drafts;
      told.textContent = state.told;
      note.innerHTML = state.html ?? "";
      body.replaceChildren(lines());
      /* what scrolls must be reached by the keyboard */
      for (const item of body.querySelectorAll(".ps-cell")) if (item.scrollHeight > item.clientHeight) item.tabIndex = 0;
      size.replaceChildren(...state.sizes.map((number) => make("option", { value: String(number), selected: number === state.at.limit }, `${number} rows`)));
      const first = state.at.offset + 1, last = state.at.offset + (state.rows?.length ?? 0), number = (value) => value.toLocaleString("en");
      status.textContent = last < first ? "" : `${number(first)} to ${number(last)} of ${number(state.total)}${state.total < state.there ? ` (${number(state.there)} in all)` : ""}`
        + (state.hidden ? `; ${number(state.hidden)} more columns are not shown` : "");
      before.disabled = state.at.offset === 0;
      after.disabled = last >= state.total;
      remember();
      if (label && !document.body.contains(was)) [...element.querySelectorAll("button")].find((item) => item.getAttribute("aria-label") === label)?.focus();
      body.querySelector(".ps-found")?.scrollIntoView({ block: "nearest" });
      if (state.full) {
        const { full } = state;
        delete state.full; /* drawn again, the table is only a table */
        edit(full);
      }
      answered();
    };
    watch("value", paint);
    paint();
  }

  window.studioRows = { table };
  dispatchEvent(new Event("ps-script"));
})();
