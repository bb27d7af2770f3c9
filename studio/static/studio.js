/* PEFT Studio's own components. Each is drawn from `props.value`; what a person changes is written back there. */
(() => {
  if (window.studio) return;

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === false || value === null || value === undefined) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return made;
  };

  const draw = (element, props, watch, paint) => {
    const again = () => paint(props.value ?? {});
    watch("value", again);
    again();
  };

  /* -- cards to choose one of ---------------------------------------------------------------------------------- */

  function choice(element, props, trigger, watch) {
    const name = `choice-${Math.random().toString(36).slice(2)}`;
    let opened = false;
    draw(element, props, watch, (state) => {
      const focused = element.contains(document.activeElement) ? document.activeElement.value : null;
      const card = (option) => {
        const input = make("input", {
          type: "radio", name, value: option.value, disabled: Boolean(option.disabled),
          onchange: () => {
            props.value = { ...props.value, chosen: option.value };
            trigger("input");
          },
        });
        input.checked = option.value === state.chosen;
        return make("label", { class: "ps-option" + (option.disabled ? " ps-off" : ""), title: option.disabled || null },
          input,
          make("span", { class: "ps-option-title" }, option.title, option.tag ? make("span", { class: "ps-tag" }, option.tag) : ""),
          option.text ? make("span", { class: "ps-option-text" }, option.text) : "",
          option.hint ? make("span", { class: "ps-option-text ps-option-hint" }, option.hint) : "",
          option.caution ? make("span", { class: "ps-option-why" }, option.caution) : "",
          option.disabled ? make("span", { class: "ps-option-why" }, option.disabled) : "");
      };
      const grid = (options) => make("div", { class: "ps-options", style: `--columns:${state.columns ?? 3}` }, ...options.map(card));
      const all = state.options ?? [], rest = all.filter((option) => option.more);
      /* what is chosen is never out of sight, and what was opened stays open */
      const more = rest.length ? make("details", { class: "ps-more", open: opened || rest.some((option) => option.value === state.chosen),
        ontoggle: () => { opened = more.open; } },
        make("summary", {}, `${state.more ?? "More"} (${rest.length})`), grid(rest)) : "";
      element.replaceChildren(state.titled ? make("p", { class: "ps-label" }, state.label) : "", make("div", {
        role: "radiogroup", "aria-label": state.label }, grid(all.filter((option) => !option.more)), more));
      if (focused !== null) element.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
    });
  }

  /* -- one of a list, as a native select --------------------------------------------------------------------------- */

  function picker(element, props, trigger, watch) {
    draw(element, props, watch, (state) => {
      const id = `${state.id}-select`;
      const made = make("select", {
        id, class: "ps-select", "aria-describedby": state.help ? `${id}-help` : null, disabled: !(state.options ?? []).length,
        onchange: () => {
          props.value = { ...props.value, chosen: made.value };
          trigger("input");
        },
      });
      if (!(state.options ?? []).some((option) => option.value === state.chosen))
        made.append(make("option", { value: "", disabled: true, selected: true }, state.empty ?? "Choose …"));
      const groups = new Map();
      for (const option of state.options ?? []) {
        const at = option.group ? groups.get(option.group) ?? groups.set(option.group, make("optgroup", { label: option.group })).get(option.group) : made;
        at.append(make("option", { value: option.value, disabled: Boolean(option.disabled), selected: option.value === state.chosen }, option.title));
        if (at !== made) made.append(at);
      }
      const had = element.contains(document.activeElement);
      element.replaceChildren(make("div", { class: "ps-field" },
        make("div", { class: "ps-field-head" }, make("label", { class: "ps-field-name", for: id }, state.label ?? "")), made,
        state.help ? make("p", { class: "ps-help", id: `${id}-help` }, state.help) : ""));
      if (had) made.focus();
    });
  }

  /* -- a button that asks first ---------------------------------------------------------------------------------- */

  function confirm(element, props, trigger, watch) {
    draw(element, props, watch, (state) => {
      const dialog = make("dialog", { class: "ps-dialog", "aria-label": state.question },
        make("p", { class: "ps-what" }, state.question ?? ""),
        state.detail ? make("p", { class: "ps-muted" }, state.detail) : "",
        make("div", { class: "ps-actions" },
          make("button", { type: "button", class: "ps-button", onclick: () => dialog.close() }, state.no ?? "Cancel"),
          make("button", {
            type: "button", class: "ps-button " + (state.danger ? "ps-danger" : "ps-primary"),
            onclick: () => { dialog.close(); trigger("click"); },
          }, state.yes ?? "Yes")));
      const button = make("button", {
        type: "button", class: "ps-button" + (state.danger ? " ps-danger-quiet" : ""), disabled: Boolean(state.disabled),
        onclick: () => dialog.showModal(),
      }, state.label ?? "");
      element.replaceChildren(button, dialog);
    });
  }

  /* -- the address bar ------------------------------------------------------------------------------------------- */

  function address(element, props, trigger, watch) {
    const go = () => {
      const target = props.value;
      if (typeof target !== "string" || !target) return;
      if (target.startsWith("?")) history.replaceState(null, "", location.pathname + (target === "?" ? "" : target));
      /* Gradio complains when its event stream is cut off, so let it end first */
      else if (/^\/(?!\/)/.test(target)) setTimeout(() => location.assign(target), 120);
    };
    watch("value", go);
    go();
  }

  /* -- settings made from a spec --------------------------------------------------------------------------------- */

  const toSlider = (scale, value) => scale === "log2" ? Math.log2(value) : scale === "log10" ? Math.log10(value) : Number(value);
  const fromSlider = (field, value) => {
    if (field.scale === "log2") return 2 ** Math.round(value);
    if (field.scale === "log10") return Number((10 ** value).toPrecision(2));
    return Number(Number(value).toPrecision(10));
  };
  const equal = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
  const read = (values, path) => path.reduce((at, key) => at?.[key], values);
  const write = (values, [key, ...rest], value) =>
    ({ ...(values ?? {}), [key]: rest.length ? write(values?.[key], rest, value) : value });

  function settings(element, props, trigger, watch) {
    let waiting = null, drawn = "", advanced = false;
    /* what the page was opened with or was told to use, and what the browser holds: what is emptied is the former again */
    let prepared = {}, held = {};
    const prefix = props.value?.id ?? "settings";
    const store = `studio.advanced`;
    try { advanced = localStorage.getItem(store) === "1"; } catch { /* storage may be off */ }

    const set = (path, value, patient = false) => {
      props.value = { ...props.value, values: write(props.value.values, path, value) };
      held = props.value.values;
      clearTimeout(waiting);
      if (patient) waiting = setTimeout(() => trigger("input"), 80);
      else trigger("input");
      refresh();
    };

    const number = (field, path, id, value, usual = (left) => { left.value = field.default; }) => {
      /* an emptied box stands at once for what was prepared, or the default, and shows it when it is left; `usual` shows
         a default that is no number */
      const whole = field.kind === "integer";
      const standing = () => {
        const own = read(prepared, path);
        return typeof own === "number" ? own : field.default ?? null;
      };
      const box = make("input", {
        type: "number", id, class: "ps-number", min: field.min, max: field.max, step: whole ? 1 : "any",
        inputmode: whole ? "numeric" : "decimal", "aria-describedby": `${id}-help`,
        placeholder: typeof standing() === "number" ? standing() : field.shown_default,
        oninput: () => {
          const meant = box.value === "" ? standing() : Number(box.value);
          box.setAttribute("aria-invalid", String(!box.checkValidity()));
          set(path, meant, true);
          if (slide && typeof meant === "number") slide.value = toSlider(field.scale, meant);
        },
        onblur: () => {
          if (box.value !== "") return;
          if (typeof standing() === "number") box.value = standing();
          else usual(box);
          box.setAttribute("aria-invalid", "false");
        },
      });
      box.value = typeof value === "number" ? value : "";
      let slide = null;
      if (!field.slider) return make("div", { class: "ps-control" }, box, unit(field));
      const [low, high] = field.slider;
      slide = make("input", {
        type: "range", class: "ps-range", "aria-label": `${field.title}, slider`,
        min: toSlider(field.scale, low), max: toSlider(field.scale, high),
        step: field.scale === "log2" ? 1 : field.scale === "log10" ? 0.05 : field.step ?? (whole ? 1 : (high - low) / 100),
        oninput: () => {
          const picked = fromSlider(field, Number(slide.value));
          box.value = picked;
          box.setAttribute("aria-invalid", "false");
          slide.setAttribute("aria-valuetext", `${picked} ${field.unit ?? ""}`.trim());
          set(path, whole ? Math.round(picked) : picked, true);
        },
      });
      slide.value = typeof value === "number" ? toSlider(field.scale, value) : toSlider(field.scale, field.start ?? low);
      return make("div", { class: "ps-control ps-with-range" }, slide, box, unit(field));
    };

    const unit = (field) => field.unit ? make("span", { class: "ps-unit" }, field.unit) : "";

    const select = (options, id, chosen, pick) => {
      const made = make("select", { id, class: "ps-select", "aria-describedby": `${id}-help`, onchange: () => pick(JSON.parse(made.value)) },
        ...options.map((option) => make("option", { value: JSON.stringify(option.value), disabled: Boolean(option.disabled), title: option.disabled || null }, option.label)));
      made.value = JSON.stringify(chosen ?? null);
      return made;
    };

    const segments = (options, id, chosen, pick, label) => make("div", { class: "ps-segments", role: "radiogroup", "aria-label": label, "aria-describedby": `${id}-help` },
      ...options.map((option, index) => {
        const input = make("input", { type: "radio", name: id, id: index ? null : id, value: JSON.stringify(option.value), disabled: Boolean(option.disabled), onchange: () => pick(option.value) });
        input.checked = equal(option.value, chosen);
        return make("label", { class: option.disabled ? "ps-off" : null, title: option.disabled || null }, input, make("span", {}, option.label));
      }));

    const textual = (field) => ["list", "text", "pairs", "mixed"].includes(field.kind);
    const parsed = (field, text) => {
      const parts = text.split(",").map((item) => item.trim()).filter(Boolean);
      const numeric = (item) => item !== "" && !Number.isNaN(Number(item)) ? Number(item) : item;
      if (field.kind === "list") return parts;
      if (field.kind === "mixed") return text.includes(",") ? parts.map(numeric) : numeric(text.trim());
      if (field.kind === "pairs")
        return Object.fromEntries(parts.map((item) => item.split("=").map((half) => half.trim())).map(([key, number]) => [key, numeric(number ?? "")]));
      return text;
    };
    const written = (field, value) => {
      if (Array.isArray(value)) return value.join(", ");
      if (value && typeof value === "object") return Object.entries(value).map(([key, number]) => `${key}=${number}`).join(", ");
      return value ?? "";
    };

    const words = (field, path, id, value) => {
      /* a few words ("auto", none) or a number or text of one's own */
      const custom = { label: textual(field) ? "These:" : "Custom", value: "\u0000custom" };
      const known = field.options.some((option) => equal(option.value, value));
      const inner = make("div", { class: "ps-inner" });
      const show = (current) => inner.replaceChildren(
        textual(field) ? entry(field, path, `${id}-own`, current) : number(field, path, `${id}-own`, current, usual));
      const usual = () => { chooser.value = JSON.stringify(field.default ?? null); inner.replaceChildren(); };
      const chooser = select([...field.options, custom], id, known ? value : custom.value, (picked) => {
        if (picked === custom.value) {
          const start = textual(field) ? "" : field.start ?? field.min ?? 1;
          show(start);
          if (!textual(field)) set(path, start);
          inner.querySelector("input:not([type=range])")?.focus();
        } else { inner.replaceChildren(); set(path, picked); }
      });
      if (!known) show(value);
      return make("div", { class: "ps-words" }, chooser, inner);
    };

    /* one item or pair a line; a pair's halves stand around " = ", or the first = where there is none */
    const halves = (line) => {
      const sign = line.includes(" = ") ? " = " : "=";
      const at = line.indexOf(sign);
      return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + sign.length).trim()];
    };
    const fromLines = (field, text) => {
      const filled = text.split("\n").filter((line) => line.trim());
      if (field.kind === "pairs") return Object.fromEntries(filled.map(halves).filter(([key]) => key));
      return field.kind === "list" ? filled.map((line) => line.trim()) : text;
    };
    const inLines = (value) => Array.isArray(value) ? value.join("\n") :
      value && typeof value === "object" ? Object.entries(value).map(([key, other]) => `${key} = ${other}`).join("\n") : value ?? "";

    const lines = (field, path, id, value) => {
      const box = make("textarea", { id, class: "ps-text ps-lines", rows: "3", spellcheck: "false", "aria-describedby": `${id}-help`,
        placeholder: field.kind === "pairs" ? "old = new" : null, oninput: () => set(path, fromLines(field, box.value), true) });
      box.value = inLines(value);
      return box;
    };

    const ticks = (field, path, id, value) => {
      const chosen = new Set(Array.isArray(value) ? value : []);
      return make("div", { class: "ps-several ps-segments", role: "group", "aria-label": field.title, "aria-describedby": `${id}-help` },
        ...field.options.map((option, index) => {
          const box = make("input", { type: "checkbox", id: index ? null : id, onchange: () => {
            if (box.checked) chosen.add(option.value); else chosen.delete(option.value);
            set(path, field.options.map((one) => one.value).filter((one) => chosen.has(one)));
          } });
          box.checked = chosen.has(option.value);
          return make("label", {}, box, make("span", {}, option.label));
        }));
    };

    const entry = (field, path, id, value) => {
      const several = field.kind !== "text";
      const box = make("input", {
        type: "text", id, class: "ps-text", "aria-describedby": `${id}-help`, "aria-label": several ? `${field.title}, separated by commas` : null,
        placeholder: { list: "q, v", mixed: "2 or 0, 1, 5", pairs: "q=16, mlp=4" }[field.kind],
        oninput: () => set(path, parsed(field, box.value), true),
      });
      box.value = written(field, value);
      return box;
    };

    const control = (field, path, id, value) => {
      if (field.kind === "flag") {
        const box = make("input", { type: "checkbox", id, class: "ps-switch", role: "switch", "aria-describedby": `${id}-help`, onchange: () => set(path, box.checked) });
        box.checked = Boolean(value);
        return box;
      }
      if (field.kind === "part") {
        const box = make("input", { type: "checkbox", id, class: "ps-switch", role: "switch", "aria-describedby": `${id}-help`,
          onchange: () => { set(path, box.checked ? field.start : null); paint(props.value); } });
        box.checked = value !== null && value !== undefined;
        return box;
      }
      if (field.kind === "several") return ticks(field, path, id, value);
      if (field.lines) return lines(field, path, id, value);
      if (field.kind === "choice") {
        const pick = (picked) => set(path, picked);
        const letters = field.options.reduce((sum, option) => sum + option.label.length + 3, 0);
        return letters <= 30 ? segments(field.options, id, value, pick, field.title) : select(field.options, id, value, pick);
      }
      if (field.options?.length) return words(field, path, id, value);
      return textual(field) ? entry(field, path, id, value) : number(field, path, id, value);
    };

    const row = (field, path) => {
      const id = `${prefix}-${path.join("-")}`;
      const value = read(props.value.values, path);
      const inline = field.kind === "flag" || field.kind === "part";
      const shown = control(field, path, id, value);
      const single = !shown.classList.contains("ps-segments"); /* a group of radios carries its own name */
      const made = make("div", { class: "ps-field" + (inline ? " ps-inline" : ""), "data-path": path.join("."), "data-advanced": field.advanced ? "1" : null },
        make("div", { class: "ps-field-head" },
          make(single ? "label" : "span", { class: "ps-field-name", for: single ? id : null }, field.title),
          make("button", { type: "button", class: "ps-reset", title: `Back to ${field.shown_default}`, "aria-label": `Reset ${field.title} to ${field.shown_default}`,
            onclick: () => { set(path, field.default ?? null); paint(props.value, true); } }, "↺")),
        shown,
        make("p", { class: "ps-help", id: `${id}-help` }, field.help,
          ...new Set((field.options ?? []).map((option) => option.disabled).filter(Boolean).map((reason) => ` ${reason}`))));
      made.field = field;
      made.path = path;
      if (field.kind === "part" && value !== null && value !== undefined)
        made.append(make("div", { class: "ps-nested" }, ...field.fields.map((inner) => row(inner, [...path, inner.name]))));
      return made;
    };

    const refresh = () => {
      const values = props.value.values ?? {};
      for (const made of element.querySelectorAll(".ps-field")) {
        const { field, path } = made;
        const changed = !equal(read(values, path), field.default);
        made.classList.toggle("ps-changed", changed);
        const owner = read(values, path.slice(0, -1)) ?? {};
        const fits = Object.entries(field.shown_if ?? {}).every(([name, wanted]) =>
          Array.isArray(wanted) ? wanted.some((one) => equal(owner[name], one)) : equal(owner[name], wanted));
        made.hidden = !fits || (field.advanced && !advanced && !changed);
      }
      for (const group of element.querySelectorAll(".ps-group"))
        group.hidden = ![...group.querySelectorAll(".ps-field")].some((made) => !made.hidden);
    };

    const adopt = (values) => {
      for (const [group, fields] of Object.entries(values))
        for (const [name, value] of Object.entries(fields ?? {}))
          if (!equal(held[group]?.[name], value)) prepared = write(prepared, [group, name], value);
      held = values;
    };

    const paint = (state, force = false) => {
      adopt(state.values ?? {});
      const shape = JSON.stringify([state.groups, state.values]);
      if (!force && shape === drawn) return;
      drawn = shape;
      const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
      const level = segments([{ label: "Simple", value: false }, { label: "Advanced", value: true }], `${prefix}-level`, advanced, (picked) => {
        advanced = picked;
        try { localStorage.setItem(store, picked ? "1" : "0"); } catch { /* storage may be off */ }
        refresh();
      }, "How many settings to show");
      const several = (state.groups ?? []).some((group) => group.fields.some((field) => field.advanced));
      element.replaceChildren(several ? make("div", { class: "ps-level" }, level) : "",
        ...(state.groups ?? []).map((group) => make("fieldset", { class: "ps-group" },
          make("legend", {}, group.title), make("div", { class: "ps-fields" }, ...group.fields.map((field) => row(field, [group.key, field.name]))))));
      refresh();
      if (focused) document.getElementById(focused)?.focus();
    };
    watch("value", () => {
      /* an echo of what was just typed must not take the caret away */
      paint(props.value ?? {});
    });
    paint(props.value ?? {});
  }

  /* -- figures --------------------------------------------------------------------------------------------------- */

  let plotly = null;
  const loadPlotly = (url) => plotly ??= new Promise((done, failed) => {
    const script = make("script", { src: url });
    script.onload = () => done(window.Plotly);
    script.onerror = () => failed(new Error("The chart library could not be loaded."));
    document.head.append(script);
  });

  const coloured = (value, style) => {
    if (typeof value === "string") {
      const token = /^var\((--ps-[\w-]+)\)(?:\/([\d.]+))?$/.exec(value);
      if (!token) return value;
      const colour = style.getPropertyValue(token[1]).trim();
      if (!token[2]) return colour;
      return colour + Math.round(Number(token[2]) * 255).toString(16).padStart(2, "0");
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    return value;
  };

  function figure(element, props, trigger, watch) {
    const area = make("div", { class: "ps-plot" });
    const caption = make("figcaption", { class: "ps-hidden" });
    const nothing = make("p", { class: "ps-plot-empty" });
    const box = make("figure", { class: "ps-figure" }, area, nothing, caption);
    element.replaceChildren(box);
    let turn = 0;
    const paint = async () => {
      const state = props.value ?? {};
      const mine = ++turn;
      box.setAttribute("aria-label", state.label ?? "Chart");
      caption.textContent = state.summary ?? "";
      const bare = !state.data?.length;
      nothing.hidden = !bare;
      area.hidden = bare;
      nothing.textContent = state.empty ?? "Nothing to draw yet.";
      box.style.minHeight = bare ? "" : `${state.layout?.height ?? 280}px`;
      if (bare) return;
      try {
        const library = await loadPlotly(state.plotly);
        if (mine !== turn) return;
        const style = getComputedStyle(document.body);
        await library.react(area, coloured(state.data, style), coloured(state.layout, style),
          { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset", locale: "en-US" });
      } catch (problem) {
        nothing.hidden = false;
        nothing.textContent = problem.message;
      }
    };
    watch("value", paint);
    new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    paint();
  }

  /* -- the page: copy buttons, menu, light and dark, title --------------------------------------------------------- */

  const copied = async (button) => {
    const text = button.closest(".ps-code")?.querySelector("code")?.textContent ?? button.dataset.copy ?? "";
    try { await navigator.clipboard.writeText(text); }
    catch {
      const area = make("textarea", { class: "ps-hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  };

  const theme = (mode) => {
    if (mode) document.body.classList.toggle("dark", mode === "dark");
  };
  const chosenTheme = () => { try { return localStorage.getItem("studio.theme"); } catch { return null; } };

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    if (at("[data-copy]")) copied(at("[data-copy]"));
    else if (at("[data-menu]")) {
      const button = at("[data-menu]");
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      button.closest(".block").classList.toggle("ps-open", open);
    } else if (at("[data-theme-switch]")) {
      const mode = document.body.classList.contains("dark") ? "light" : "dark";
      try { localStorage.setItem("studio.theme", mode); } catch { /* storage may be off */ }
      theme(mode);
    }
  });

  /* Gradio's tabs do not listen to the arrow keys. */
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.("[role=tab]"), list = tab?.closest("[role=tablist]");
    if (!list || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const tabs = [...list.querySelectorAll("[role=tab]:not([disabled])")].filter((one) => one.offsetParent !== null);
    const last = tabs.length - 1, at = tabs.indexOf(tab);
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    tabs[next].focus();
    tabs[next].click();
  });

  /* When a page is left while an event is under way, Gradio reports its own cut connection as an error, and does so
     before anybody else hears that the page is left: so errors wait a moment. */
  let leaving = false;
  const report = console.error.bind(console), warn = console.warn.bind(console);
  /* Gradio's client closes the stream of an upload that has ended, which it has no way to do, and says so every time. */
  console.warn = (...words) => { if (words[0] !== "Method not implemented.") warn(...words); };
  console.error = (...words) => setTimeout(() => { if (!leaving) report(...words); }, 30);
  addEventListener("beforeunload", () => {
    leaving = true;
    setTimeout(() => { leaving = false; }, 5000);
  });

  new MutationObserver(() => {
    const mark = document.querySelector("[data-title]");
    if (mark) {
      const wanted = `${mark.dataset.title} · PEFT Studio`;
      if (document.title !== wanted) document.title = wanted;
      if (!document.body.dataset.studio) {
        document.body.dataset.studio = "ready";
        theme(chosenTheme());
      }
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  window.studio = { make, choice, picker, confirm, address, settings, figure };
  dispatchEvent(new Event("ps-script"));
})();
