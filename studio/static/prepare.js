/* The steps of preparation of a dataset: each a card that can be moved, changed and taken out. */
(() => {
  if (window.studioPrepare) return;

  const make = (...made) => studio.make(...made);

  function steps(element, props, trigger, watch) {
    let drawn = "";
    const act = (what, index) => {
      props.value = { ...props.value, act: { do: what, index } };
      trigger("input");
    };
    const button = (words, label, what, index, disabled = false) => make("button", {
      type: "button", class: "ps-button ps-small", "aria-label": label, title: label, disabled, onclick: () => act(what, index) }, words);
    const card = (step, index, all, fixed) => {
      const name = `step ${index + 1}, ${step.title}`;
      const acts = fixed ? "" : make("div", { class: "ps-step-acts" },
        button("↑", `Move ${name} up`, "up", index, index === 0), button("↓", `Move ${name} down`, "down", index, index === all - 1),
        button("Change", `Change ${name}`, "edit", index), button("Take out", `Take out ${name}`, "remove", index));
      const about = make("div", {}, make("h3", {}, `${index + 1}. ${step.title}`), make("p", { class: "ps-muted" }, step.told));
      const body = make("div", {});
      body.innerHTML = step.html; /* made and escaped by the server */
      const open = opened.has(step.key);
      const details = body.querySelector("details");
      if (details) { details.open = open; details.addEventListener("toggle", () => { if (details.open) opened.add(step.key); else opened.delete(step.key); }); }
      return make("li", { class: step.failed ? "ps-step-failed" : null }, make("div", { class: "ps-step-head" }, about, acts), body);
    };
    const opened = new Set();
    const paint = () => {
      const state = props.value ?? {};
      const shape = JSON.stringify([state.steps, state.fixed, state.empty]);
      if (shape === drawn) return;
      drawn = shape;
      const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
      const list = state.steps ?? [];
      element.replaceChildren(list.length
        ? make("ol", { class: "ps-steps" }, ...list.map((step, index) => card(step, index, list.length, state.fixed)))
        : make("p", { class: "ps-muted" }, state.empty ?? ""));
      if (focused) [...element.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
    };
    watch("value", paint);
    paint();
  }

  window.studioPrepare = { steps };
  dispatchEvent(new Event("ps-script"));
})();
