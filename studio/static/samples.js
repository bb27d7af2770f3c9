/* What it writes: answers to the same prompts at every evaluation; a slider goes through them. */
(() => {
  if (window.studioSamples) return;

  const make = (...made) => studio.make(...made);
  const split = (text) => (text ?? "").split(/(\s+)/).filter(Boolean);

  /* which words of `now` are not in the longest common subsequence with `before` */
  const fresh = (before, now) => {
    const rows = Array.from({ length: before.length + 1 }, () => new Array(now.length + 1).fill(0));
    for (let i = before.length - 1; i >= 0; i--)
      for (let j = now.length - 1; j >= 0; j--)
        rows[i][j] = before[i] === now[j] ? rows[i + 1][j + 1] + 1 : Math.max(rows[i + 1][j], rows[i][j + 1]);
    const added = new Set();
    for (let i = 0, j = 0; j < now.length;) {
      if (i < before.length && before[i] === now[j]) { i++; j++; }
      else if (i < before.length && rows[i + 1][j] >= rows[i][j + 1]) i++;
      else added.add(j++);
    }
    return added;
  };
  const written = (text, before) => {
    if (text === null || text === undefined) return make("p", { class: "ps-muted" }, "Nothing was kept here.");
    if (!text.trim()) return make("p", { class: "ps-muted" }, "(nothing)");
    const words = split(text);
    const added = before === undefined || before === null ? new Set() : fresh(split(before), words);
    return make("p", { class: "ps-samples-text" }, ...words.map((word, index) =>
      added.has(index) && word.trim() ? make("mark", {}, word) : word));
  };
  /* what may be too long for its place scrolls there, by keyboard too */
  const LONGEST = 6, LETTERS = 30; /* lines that surely fit, and letters of one */
  const lines = (text) => text.split("\n").reduce((sum, line) => sum + Math.ceil((line.length || 1) / LETTERS), 0);
  const scrolled = (text, name) => lines(text) > LONGEST ? { tabindex: "0", role: "group", "aria-label": name } : {};
  const prompt = (one, at) => make("article", { class: "ps-samples-prompt" },
    make("p", { class: "ps-samples-asked", ...scrolled(one.input, "Prompt") }, one.input),
    written(one.written[at], at ? one.written[at - 1] : undefined),
    one.expected ? make("p", { class: "ps-samples-expected", ...scrolled(one.expected, "Expected") }, make("b", {}, "Expected "), one.expected) : "");

  function samples(element, props, trigger, watch) {
    let drawn = "", at = null; /* null: the newest */
    const paint = () => {
      const state = props.value ?? {}, steps = state.steps ?? [];
      const now = JSON.stringify(state);
      if (now === drawn) return;
      drawn = now;
      if (!steps.length) { element.replaceChildren(); return; }
      const id = `${element.id || "samples"}-step`;
      const body = make("div", { class: "ps-samples-prompts" });
      const label = make("label", { for: id, class: "ps-samples-step" });
      const slider = make("input", { type: "range", id, class: "ps-range", min: "0", max: String(steps.length - 1), step: "1" });
      const show = () => {
        const place = at === null ? steps.length - 1 : Math.min(at, steps.length - 1);
        slider.value = String(place);
        slider.setAttribute("aria-valuetext", steps[place]);
        label.textContent = steps[place];
        body.replaceChildren(...state.prompts.map((one) => prompt(one, place)));
      };
      slider.addEventListener("input", () => { at = Number(slider.value) === steps.length - 1 ? null : Number(slider.value); show(); });
      const focused = document.activeElement?.id === id;
      element.replaceChildren(make("section", { class: "ps-card ps-samples-card" },
        make("h3", { class: "ps-chart-title" }, state.title),
        make("p", { class: "ps-muted" }, state.how),
        steps.length > 1 ? make("div", { class: "ps-samples-line" }, label, slider) : label,
        body));
      show();
      if (focused) slider.focus({ preventScroll: true });
    };
    watch("value", paint);
    paint();
  }

  window.studioSamples = { samples };
  dispatchEvent(new Event("ps-script"));
})();
