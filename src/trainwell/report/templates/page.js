"use strict";
(() => {
  const { figures, themes } = JSON.parse(document.getElementById("page-data").textContent);
  const places = [...document.querySelectorAll("[data-chart]")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = [];
  const config = { displayModeBar: false, responsive: true, scrollZoom: false };
  const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
  const theme = () => themes[dark.matches ? "dark" : "light"];

  function paint(template) {
    for (const place of drawn) Plotly.relayout(place, { template });
  }

  // One figure a turn, from the top: the page can be read and scrolled while the rest is drawn.
  function draw(turn) {
    if (turn === places.length) {
      document.documentElement.dataset.drawn = String(drawn.length);
      return;
    }
    const place = places[turn];
    const { data, layout } = figures[place.dataset.chart];
    Plotly.newPlot(place, data, { ...layout, template: theme(), dragmode }, config).then(
      () => drawn.push(place),
      (error) => {
        place.innerHTML = '<p class="failed"></p>';
        place.firstChild.textContent = `This chart could not be drawn: ${error.message}`;
        console.error(error);
      },
    ).then(() => setTimeout(draw, 0, turn + 1));
  }

  dark.addEventListener("change", () => paint(theme()));
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    paint(themes.light);
  });
  addEventListener("afterprint", () => paint(theme()));
  draw(0);
})();
