"use strict";
// The gallery: tickets, random subsets, stages and scores drawn over one copy of each image, from the page's own JSON.
(() => {
  const block = document.getElementById("gallery-data");
  if (!block) return;
  const { classes, images, sets } = JSON.parse(block.textContent);
  const SLATE = "rgba(88, 96, 112, 0.78)"; // over what is dropped, so that black patches show too
  const HEAT = [[10, 10, 40], [80, 20, 110], [180, 50, 90], [240, 120, 40], [250, 240, 150]];
  const STAGES = ["rgba(12, 16, 60, 0.86)", "rgba(36, 92, 170, 0.78)", "rgba(120, 180, 225, 0.7)", "rgba(200, 225, 240, 0.66)"];
  const at = (id) => document.getElementById(id);

  // --- data

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const whole = (text) => new Uint16Array(bytes(text).buffer);
  const className = (index) => classes[index] ?? `class ${index}`;
  const stageOf = (set, rank) => Math.min(set.counts.findIndex((count) => rank >= count), STAGES.length - 1); // -1: never
  const said = (set, by, i) => set.said[by]?.[i] ?? null;
  const isRight = (set, by, i) => said(set, by, i) !== null && said(set, by, i)[0] === images[i].label;
  const confidence = (set, by, i) => said(set, by, i)?.[1] ?? 0;

  const OUTCOMES = {
    "all": () => true,
    "only the ticket run is right": (set, i) => isRight(set, "lt", i) && !isRight(set, "dense", i),
    "only the dense run is right": (set, i) => !isRight(set, "lt", i) && isRight(set, "dense", i),
    "the ticket run is right, the random run is not": (set, i) => isRight(set, "lt", i) && !isRight(set, "rc", i),
    "the random run is right, the ticket run is not": (set, i) => !isRight(set, "lt", i) && isRight(set, "rc", i),
    "ticket and dense run are right": (set, i) => isRight(set, "lt", i) && isRight(set, "dense", i),
    "neither of these is right": (set, i) => !isRight(set, "lt", i) && !isRight(set, "dense", i),
  };
  const disagreement = (set, i) => {
    const [lt, dense] = [said(set, "lt", i), said(set, "dense", i)];
    return lt && dense && lt[0] !== dense[0] ? 1 + lt[1] + dense[1] : 0;
  };
  const ORDERS = { "key": () => 0 };
  if (sets.some((set) => set.said.lt && set.said.dense)) {
    ORDERS["disagreement of ticket and dense run"] = (set, i) => -disagreement(set, i);
  }
  for (const [by, name] of [["dense", "dense run"], ["lt", "ticket run"], ["selector", "selector"]]) {
    if (!sets.some((set) => set.said[by])) continue;
    ORDERS[`${name}: least sure first`] = (set, i) => confidence(set, by, i);
    ORDERS[`${name}: surest first`] = (set, i) => -confidence(set, by, i);
  }

  // --- drawing

  function make(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  const pictures = images.map(({ src }) => {
    const picture = new Image();
    picture.src = src;
    return picture;
  });

  function cells(pen, side, grid, colourOf) {
    for (let patch = 0; patch < grid * grid; patch++) {
      const colour = colourOf(patch);
      if (!colour) continue;
      const [left, top] = [patch % grid, Math.floor(patch / grid)].map((n) => Math.round((n * side) / grid));
      const [right, bottom] = [patch % grid + 1, Math.floor(patch / grid) + 1].map((n) => Math.round((n * side) / grid));
      pen.fillStyle = colour;
      pen.fillRect(left, top, right - left, bottom - top);
    }
  }

  function heat(pen, side, grid, values) {
    const small = make("canvas");
    small.width = small.height = grid;
    const pixels = new ImageData(grid, grid);
    values.forEach((value, patch) => {
      const place = (value / 255) * (HEAT.length - 1);
      const from = Math.min(Math.floor(place), HEAT.length - 2);
      const colour = HEAT[from].map((low, c) => low + (HEAT[from + 1][c] - low) * (place - from));
      pixels.data.set([...colour, 255], 4 * patch);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    pen.globalCompositeOperation = "saturation"; // grey below the colours
    pen.fillStyle = "#808080";
    pen.fillRect(0, 0, side, side);
    pen.globalCompositeOperation = "source-over";
    pen.globalAlpha = 0.65;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(small, 0, 0, side, side);
    pen.globalAlpha = 1;
  }

  const PANELS = {
    image: { title: "image", draw: () => {} },
    ticket: {
      title: "ticket",
      draw: (pen, side, set, i) => {
        const rank = whole(set.ranks[i]);
        cells(pen, side, set.grid, (patch) => rank[patch] >= set.kept && SLATE);
      },
    },
    random: {
      title: "random",
      draw: (pen, side, set, i) => {
        const kept = new Set(whole(set.random[i]));
        cells(pen, side, set.grid, (patch) => !kept.has(patch) && SLATE);
      },
    },
    stage: {
      title: "stage",
      draw: (pen, side, set, i) => {
        const rank = whole(set.ranks[i]);
        cells(pen, side, set.grid, (patch) => STAGES[stageOf(set, rank[patch])]);
      },
    },
    score: {
      title: "score",
      draw: (pen, side, set, i) => set.scores[i] && heat(pen, side, set.grid, bytes(set.scores[i])),
    },
  };

  const FEW = ["image", "ticket", "random"]; // in a tile; all in full
  function panels(set, i, side, all) {
    const row = make("span", undefined, "panels");
    for (const [name, { title, draw }] of Object.entries(PANELS)) {
      if (!all && !FEW.includes(name)) continue;
      if ((name === "stage" && set.counts.length < 2) || (name === "score" && !set.scores[i])) continue;
      const canvas = make("canvas");
      canvas.width = canvas.height = side;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", title);
      const show = () => {
        const pen = canvas.getContext("2d");
        pen.imageSmoothingEnabled = pictures[i].naturalWidth > side;
        pen.drawImage(pictures[i], 0, 0, side, side);
        draw(pen, side, set, i);
      };
      if (pictures[i].complete) show();
      else pictures[i].addEventListener("load", show, { once: true });
      const panel = make("span");
      panel.append(canvas, title);
      row.append(panel);
    }
    return row;
  }

  // What the rows answer: dense, ticket and random in a tile, all others too in full.
  const NAMES = {
    dense: (row) => row, lt: (row) => `ticket (${row})`, rc: (row) => `random (${row})`, selector: () => "selector",
  };
  function verdicts(set, i, all) {
    const lines = make("span", undefined, "said");
    const others = Object.keys(set.said).filter((by) => !(by in NAMES));
    for (const by of [...Object.keys(NAMES), ...(all ? others : [])]) {
      const found = said(set, by, i);
      if (!found) continue;
      const [sure, right] = [found[1] === null ? "" : ` ${Math.round(100 * found[1])}%`, isRight(set, by, i)];
      const line = make("span", undefined, right ? "right" : "wrong");
      line.append(make("span", right ? "right: " : "wrong: ", "aloud"), `${NAMES[by]?.(set.rows[by]) ?? by}: `, make("b", className(found[0])), sure);
      lines.append(line);
    }
    return lines;
  }

  // --- the page

  const chosen = {};
  const FIRST = 24; // tiles before the button that shows all
  let shown = [];

  function choice(name, label, options) {
    const select = make("select");
    options.forEach(([value, text]) => select.append(new Option(text, value)));
    select.addEventListener("change", update);
    const around = make("label", label);
    around.append(select);
    if (options.length > 1) at("gallery-controls").append(around);
    chosen[name] = select;
  }

  function key(set) {
    const colours = [[SLATE, `dropped; ${set.kept} of ${set.grid ** 2} patches are kept`]];
    if (set.counts.length > 1) {
      set.counts.forEach((_, stage) => colours.push([STAGES[stage], `dropped in stage ${stage + 1}`]));
    }
    if (set.scores.some((score) => score)) {
      colours.push([`rgb(${HEAT[0]})`, "least score"], [`rgb(${HEAT[4]})`, "greatest score"]);
    }
    at("gallery-key").replaceChildren(...colours.map(([colour, text]) => {
      const item = make("span");
      const sample = make("i");
      sample.style.background = colour;
      item.append(sample, text);
      return item;
    }));
  }

  function update() {
    const set = sets[chosen.set.value];
    const [kind, order] = [OUTCOMES[chosen.outcome.value], ORDERS[chosen.order.value]];
    shown = images.map((_, i) => i)
      .filter((i) => chosen.class.value === "" || images[i].label === Number(chosen.class.value))
      .filter((i) => kind(set, i))
      .sort((a, b) => order(set, a) - order(set, b) || a - b);
    key(set);
    at("gallery-count").textContent = `${shown.length} of ${images.length} images`;
    const tiles = at("gallery-tiles");
    tiles.replaceChildren(...shown.slice(0, FIRST).map((i, place) => tile(set, i, place)));
    if (shown.length <= FIRST) return;
    const more = make("button", `Show all ${shown.length}`, "more");
    more.addEventListener("click", () => {
      more.replaceWith(...shown.slice(FIRST).map((i, place) => tile(set, i, FIRST + place)));
      tiles.children[FIRST].focus();
    });
    tiles.append(more);
  }

  function tile(set, i, place) {
    const button = make("button", undefined, "tile");
    button.type = "button";
    const name = make("span", undefined, "name");
    name.append(make("b", className(images[i].label)), ` ${images[i].key}`);
    button.append(name, panels(set, i, 200), verdicts(set, i));
    button.addEventListener("click", () => open(place));
    return button;
  }

  function open(place) {
    const [set, i, dialog] = [sets[chosen.set.value], shown[place], at("gallery-dialog")];
    const bar = make("div", undefined, "bar");
    const go = (text, step) => {
      const button = make("button", text);
      button.disabled = !(place + step in shown);
      button.addEventListener("click", () => open(place + step));
      return button;
    };
    const close = make("button", "Close");
    close.addEventListener("click", () => dialog.close());
    bar.append(make("b", `${className(images[i].label)}: ${images[i].key}`), go("Previous", -1), go("Next", 1), close);
    dialog.replaceChildren(bar, panels(set, i, 480, true), verdicts(set, i, true));
    dialog.onkeydown = ({ key: pressed }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[pressed];
      if (step && place + step in shown) open(place + step);
    };
    if (!dialog.open) dialog.showModal();
    close.focus();
  }

  choice("set", "Tickets", sets.map((set, index) => [index, set.name]));
  choice("order", "Sorted by", Object.keys(ORDERS).map((name) => [name, name]));
  const present = [...new Set(images.map(({ label }) => label))].sort((a, b) => a - b);
  choice("class", "Class", [["", "all"], ...present.map((label) => [label, className(label)])]);
  choice("outcome", "Show", Object.keys(OUTCOMES).map((name) => [name, name]));
  update();
})();
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((folded) => { folded.open = true; }));
