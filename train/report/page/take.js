"use strict";
// Tables and charts to copy or save, and shadows at the edges of tables that scroll.
(() => {
  const make = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // --- formats

  const plain = (cell) => cell.innerText.replace(/\s+/g, " ").trim();
  const cellsOf = (table) => [...table.rows].map((row) => [...row.cells].map(plain));
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const csv = (rows) => rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  function markdown([header, ...rows]) {
    const line = (cells) => `| ${cells.map((cell) => cell.replace(/\\/g, "\\\\").replace(/\|/g, "\\|")).join(" | ")} |`;
    return [line(header), `|${" --- |".repeat(header.length)}`, ...rows.map(line), ""].join("\n");
  }
  const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "×": "$\\times$", "−": "$-$" };
  const tex = (text) => text.replace(/[\\~^±×−]|[&%$#_{}]/g, (letter) => TEX[letter] ?? `\\${letter}`);
  function latex([header, ...rows], caption) {
    const line = (cells) => `  ${cells.map(tex).join(" & ")} \\\\`;
    const [name, ...others] = header;
    return [
      `% ${caption}`, `\\begin{tabular}{l${"r".repeat(others.length)}}`, "  \\toprule", line([name, ...others]), "  \\midrule",
      ...rows.map(line), "  \\bottomrule", "\\end{tabular}", "",
    ].join("\n");
  }

  // What a chart looks like here, written into it, so that it looks so elsewhere.
  const STYLES = [
    "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size",
    "font-family", "font-weight", "paint-order",
  ];
  function svg(chart) {
    const copy = chart.cloneNode(true);
    const drawn = [copy, ...copy.querySelectorAll("*")];
    [chart, ...chart.querySelectorAll("*")].forEach((shown, place) => {
      if (shown.tagName === "title") return;
      const style = getComputedStyle(shown);
      const around = place ? getComputedStyle(shown.parentElement) : null; // all but opacity is handed down
      drawn[place].removeAttribute("class");
      STYLES.forEach((name) => {
        const value = style.getPropertyValue(name);
        if (name === "opacity" ? value !== "1" : value !== around?.getPropertyValue(name)) drawn[place].setAttribute(name, value);
      });
    });
    const [, , width, height] = chart.getAttribute("viewBox").split(" ");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const paper = document.createElementNS(chart.namespaceURI, "rect");
    paper.setAttribute("width", "100%");
    paper.setAttribute("height", "100%");
    paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
    copy.prepend(paper);
    return `${new XMLSerializer().serializeToString(copy)}\n`;
  }

  // --- copying and saving

  async function copy(text, button) {
    const before = button.textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", text);
      area.value = text;
      (button.closest("dialog") ?? document.body).append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? "Copied" : "Not copied: select the text";
    setTimeout(() => { button.textContent = before; }, 1500);
  }
  function save(text, name, type) {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const dialog = make("dialog", undefined, "taken");
  dialog.setAttribute("aria-label", "Copy or save");
  document.body.append(dialog);
  function offer(name, formats) {
    const [area, kinds, bar] = [make("textarea"), make("fieldset"), make("div", undefined, "bar")];
    area.readOnly = true;
    area.rows = 12;
    area.setAttribute("aria-label", "The text");
    let [chosen] = formats;
    const choose = (format) => {
      chosen = format;
      area.value = format.text();
    };
    kinds.append(make("legend", "Format"));
    formats.forEach((format, place) => {
      const [label, radio] = [make("label"), make("input")];
      Object.assign(radio, { type: "radio", name: "format", checked: place === 0 });
      radio.addEventListener("change", () => choose(format));
      label.append(radio, format.title);
      kinds.append(label);
    });
    choose(chosen);
    const button = (text, act) => {
      const made = make("button", text);
      made.addEventListener("click", () => act(made));
      return made;
    };
    bar.append(
      kinds, button("Copy", (made) => copy(area.value, made)),
      button("Save", () => save(area.value, `${name}.${chosen.ending}`, chosen.type)), button("Close", () => dialog.close()),
    );
    dialog.replaceChildren(bar, area);
    dialog.showModal();
  }

  const KINDS = [
    { title: "CSV", ending: "csv", type: "text/csv" },
    { title: "Markdown", ending: "md", type: "text/markdown" },
    { title: "LaTeX", ending: "tex", type: "application/x-tex" },
  ];
  const named = (text) => text.toLowerCase().replace(/[^a-z0-9.]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "data";
  const tableFormats = (table) => {
    const [rows, caption] = [() => cellsOf(table), plain(table.caption)];
    const write = { csv, md: markdown, tex: (cells) => latex(cells, caption) };
    return KINDS.map((kind) => ({ ...kind, text: () => write[kind.ending](rows()) }));
  };
  function taking(label, open) {
    const button = make("button", "copy or save", "take");
    button.type = "button";
    button.setAttribute("aria-label", `Copy or save: ${label}`);
    button.addEventListener("click", open);
    return button;
  }
  const texts = JSON.parse(document.getElementById("texts-data").textContent);
  document.querySelectorAll(".take.all").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => offer("report", KINDS.map((kind) => ({ ...kind, text: () => texts[kind.ending] }))));
  });
  document.querySelectorAll("main table").forEach((table) => {
    const name = plain(table.caption);
    const button = taking(name, () => offer(named(name), tableFormats(table)));
    table.closest(".frame").after(button);
  });
  document.querySelectorAll("main figure").forEach((figure) => {
    const caption = figure.querySelector("figcaption");
    const name = plain(caption);
    const seen = () => [...figure.querySelectorAll(".chart svg[role=img]")].find((chart) => chart.getClientRects().length);
    caption.append(" ", taking(name, () => {
      offer(named(name), [{ title: "SVG", ending: "svg", type: "image/svg+xml", text: () => svg(seen()) }]);
    }));
  });
  document.querySelectorAll(".copy").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => copy(button.parentElement.querySelector("code").textContent, button));
  });

  // --- links to what is folded away

  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && (target.closest("details") ?? target.querySelector(":scope > details"));
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  // --- edges

  const edges = (wide) => {
    const left = wide.scrollLeft > 2, right = wide.scrollLeft + wide.clientWidth < wide.scrollWidth - 2;
    wide.parentElement.classList.toggle("more-left", left);
    wide.parentElement.classList.toggle("more-right", right);
  };
  const sized = new ResizeObserver((changes) => changes.forEach(({ target }) => edges(target)));
  document.querySelectorAll(".wide").forEach((wide) => {
    wide.addEventListener("scroll", () => edges(wide), { passive: true });
    sized.observe(wide);
  });
})();
