/* What was learned: sections with a sentence that explains them, figures side by side, tables beneath. */
(() => {
  if (window.studioInsight) return;

  const make = (...made) => studio.make(...made);
  const ready = (text) => { const box = make("div"); box.innerHTML = text ?? ""; return box; };

  /* pixels that a cell needs for its number, and those of the names beside a map */
  const CELL = 50, NAMES = 150;
  const waiting = [];
  const figure = (part) => {
    const place = make("div", { class: "ps-widget ps-figure-place" });
    waiting.push([place, part.figure]);
    return make("div", { class: "ps-chart ps-insight-part" + (part.square ? " ps-insight-square" : "") },
      part.title ? make("h4", { class: "ps-insight-title" }, part.title) : "", place);
  };
  /* how wide a figure is shows only once it stands on the page */
  const drawFigures = () => {
    for (const [place, value] of waiting.splice(0)) {
      const words = value.layout?.annotations ?? [];
      const room = !words.length || place.clientWidth - NAMES > CELL * (value.data[0]?.x?.length ?? 0);
      const shown = room ? value : { ...value, layout: { ...value.layout, annotations: [] } };
      studio.figure(place, { value: shown }, () => {}, () => {});
    }
  };
  const table = (part) => {
    const box = ready(part.html);
    box.className = "ps-insight-part ps-insight-table ps-html";
    return box;
  };
  const section = (one) => {
    const figures = one.parts.filter((part) => part.figure).map(figure);
    const tables = one.parts.filter((part) => !part.figure).map(table);
    return make("section", { class: "ps-card ps-insight-section", "data-section": one.name },
      make("h3", { class: "ps-chart-title" }, one.title),
      make("p", { class: "ps-muted" }, one.how),
      one.note ? make("p", { class: "ps-muted ps-insight-note" }, one.note) : "",
      one.html ? ready(one.html) : "",
      figures.length ? make("div", { class: "ps-insight-figures", "data-count": String(figures.length) }, ...figures) : "",
      ...tables);
  };

  function sections(element, props, trigger, watch) {
    let drawn = "";
    const paint = () => {
      const state = props.value ?? {};
      const now = JSON.stringify(state);
      if (now === drawn) return;
      drawn = now;
      if (!state.title) { element.replaceChildren(); return; }
      const parts = [make("h2", { class: "ps-card-title" }, state.title)];
      if (state.html) parts.push(ready(state.html));
      if (state.again) parts.push(make("button", { type: "button", class: "ps-button", onclick: () => trigger("click") }, state.again));
      element.replaceChildren(...parts, ...(state.sections ?? []).map(section));
      drawFigures();
    };
    watch("value", paint);
    paint();
  }

  window.studioInsight = { sections };
  dispatchEvent(new Event("ps-script"));
})();
