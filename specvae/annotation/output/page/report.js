"use strict";
(function () {
  const SVG = "http://www.w3.org/2000/svg";
  const table = document.getElementById("queries");
  const groups = Array.from(table.tBodies);

  // --- Elements: text always goes in as text, so that no name from a file becomes markup ---------

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  function json(id) {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  }

  const minus = (text) => /^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "\u2212");
  const nats = (value) => (value > 0 ? "+" : "") + minus(value.toFixed(2));
  const percent = (value) => (100 * value).toFixed(1) + "\u00a0%";
  const counted = (n, noun) => `${n} ${n === 1 ? noun : noun + "s"}`;

  // --- Structures --------------------------------------------------------------------------------

  let drawings = null;

  function structure(number, marks, kind) {
    if (number === null || number === undefined) return null;
    drawings = drawings || json("drawings");
    const d = drawings[number];
    const svg = s("svg", { viewBox: `0 0 ${d.w} ${d.h}`, class: "structure", role: "img", "aria-label": d.s });
    if (marks && marks.length) {
      const chosen = new Set(marks);
      let path = "";
      // A line of no length is not drawn where it stands alone.
      for (const atom of chosen) path += `M${d.a[2 * atom]} ${d.a[2 * atom + 1]}h1`;
      for (let i = 0; i < d.b.length; i += 2) {
        const [a, b] = [d.b[i], d.b[i + 1]];
        if (chosen.has(a) && chosen.has(b)) {
          path += `M${d.a[2 * a]} ${d.a[2 * a + 1]}L${d.a[2 * b]} ${d.a[2 * b + 1]}`;
        }
      }
      svg.append(s("path", { d: path, class: "mark " + (kind || "") }));
    }
    for (const [stroke, inside, width, path] of d.p) {
      svg.append(s("path", { d: path, stroke, fill: inside, "stroke-width": width, "stroke-linecap": "round" }));
    }
    for (const [x, y, size, colour, text] of d.t) {
      svg.append(s("text", { x, y, "font-size": size, fill: colour }, text));
    }
    return svg;
  }

  // --- The query against a library spectrum ------------------------------------------------------

  const NARROW = window.matchMedia("(max-width: 40rem)").matches;
  const W = NARROW ? 430 : 900, LEFT = 46, RIGHT = 14, TOP = 22, BOTTOM = 34;

  function explainedBy(q) {
    const by = q.query.mz.map(() => ({}));
    for (const [who, found] of [["first", q.first], ["second", q.second]]) {
      for (const row of found ? found.peaks : []) by[row[0]][who] = row;
    }
    return by;
  }

  function classOf(by) {
    if (by.first && by.second) return "both";
    return by.first ? "first" : by.second ? "second" : "none";
  }

  function sharedWith(q) {
    if (!q.library) return { query: new Set(), library: new Set() };
    if (q.library.nominal) return { query: new Set(q.library.nominal[0]), library: new Set(q.library.nominal[1]) };
    const query = new Set(), library = new Set(), { mz, width } = q.library;
    q.query.mz.forEach((value, i) => {
      mz.forEach((other, j) => {
        if (Math.abs(value - other) <= width) { query.add(i); library.add(j); }
      });
    });
    return { query, library };
  }

  function plot(q) {
    const by = q.first ? explainedBy(q) : q.query.mz.map(() => ({}));
    const shared = sharedWith(q);
    const all = q.query.mz.concat(q.library ? q.library.mz : [], q.query.precursor ? [q.query.precursor] : []);
    const lowest = Math.min(...all), highest = Math.max(...all);
    const margin = Math.max(5, 0.03 * (highest - lowest));
    const whole = [Math.max(0, lowest - margin), highest + margin];
    let view = whole;
    const H = q.library ? 340 : 220;
    const middle = q.library ? (H - BOTTOM + TOP) / 2 : H - BOTTOM;
    const half = middle - TOP;
    const label = q.library ? `spectrum of ${q.id} above, library spectrum below` : `spectrum of ${q.id}`;
    const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "spectrum", role: "img", "aria-label": label });
    const x = (value) => LEFT + (value - view[0]) / (view[1] - view[0]) * (W - LEFT - RIGHT);
    const mzAt = (event) => {
      const box = svg.getBoundingClientRect();
      const place = (event.clientX - box.left) / box.width * W;
      return view[0] + (Math.min(Math.max(place, LEFT), W - RIGHT) - LEFT) / (W - LEFT - RIGHT) * (view[1] - view[0]);
    };

    function words(i) {
      const lines = [`m/z ${q.query.mz[i].toFixed(4)}, ${q.query.height[i]} %`];
      for (const [who, title] of [["first", "first candidate"], ["second", "second candidate"]]) {
        const row = by[i][who];
        if (row) lines.push(`${title}: ${row[1]}, ${minus(row[2].toFixed(1))} ppm`);
      }
      if (shared.query.has(i)) lines.push("in the library spectrum too");
      return lines.join("\n");
    }

    function draw() {
      svg.replaceChildren();
      const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].find((n) => (view[1] - view[0]) / n <= (NARROW ? 5 : 10)) || 1000;
      for (let tick = Math.ceil(view[0] / step) * step; tick <= view[1]; tick += step) {
        svg.append(s("line", { class: "tick", x1: x(tick), x2: x(tick), y1: H - BOTTOM, y2: H - BOTTOM + 4 }),
          s("text", { x: x(tick), y: H - BOTTOM + 16, "text-anchor": "middle" }, String(Math.round(tick * 100) / 100)));
      }
      for (const percent of q.library ? [100, 50, 0, -50, -100] : [100, 50, 0]) {
        const y = middle - half * percent / 100;
        svg.append(s("line", { class: "tick", x1: LEFT - 4, x2: LEFT, y1: y, y2: y }),
          s("text", { x: LEFT - 7, y: y + 4, "text-anchor": "end" }, String(Math.abs(percent))));
      }
      svg.append(s("line", { class: "tick", x1: LEFT, x2: LEFT, y1: TOP, y2: q.library ? middle + half : middle }));
      if (q.query.precursor && q.query.precursor >= view[0] && q.query.precursor <= view[1]) {
        const place = x(q.query.precursor);
        svg.append(s("line", { class: "precursor", x1: place, x2: place, y1: TOP - 8, y2: H - BOTTOM }));
      }
      const inView = (mz) => mz >= view[0] && mz <= view[1];
      q.query.mz.forEach((mz, i) => {
        if (!inView(mz)) return;
        const top = middle - half * q.query.height[i] / 100;
        svg.append(s("line", { class: classOf(by[i]), x1: x(mz), x2: x(mz), y1: middle, y2: top },
          s("title", {}, words(i))));
        if (shared.query.has(i)) svg.append(s("circle", { cx: x(mz), cy: middle, r: 2.4 }));
      });
      if (q.library) {
        q.library.mz.forEach((mz, j) => {
          if (!inView(mz)) return;
          const kind = shared.library.has(j) ? "library" : "library unmatched";
          svg.append(s("line", { class: kind, x1: x(mz), x2: x(mz), y1: middle, y2: middle + half * q.library.height[j] / 100 },
            s("title", {}, `library: m/z ${mz.toFixed(2)}, ${q.library.height[j]} %`)));
        });
      }
      svg.append(s("line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: middle, y2: middle }));
      const taken = [];
      q.query.mz.map((mz, i) => i).filter((i) => inView(q.query.mz[i]))
        .sort((a, b) => q.query.height[b] - q.query.height[a]).forEach((i) => {
          const left = Math.min(Math.max(x(q.query.mz[i]) - 29, LEFT), W - RIGHT - 58);
          const base = middle - half * q.query.height[i] / 100 - 4;
          if (taken.length >= 8 || taken.some(([a, b]) => Math.abs(a - left) < 58 && Math.abs(b - base) < 13)) return;
          taken.push([left, base]);
          svg.append(s("text", { class: "peak", x: left + 29, y: base, "text-anchor": "middle" }, q.query.mz[i].toFixed(4)));
        });
      svg.append(s("text", { x: 4, y: TOP - 10 }, "% of the highest peak"),
        s("text", { x: W - RIGHT, y: H - 4, "text-anchor": "end" }, "m/z (Th)"));
    }

    let start = null;
    svg.addEventListener("pointerdown", (event) => { start = mzAt(event); svg.setPointerCapture(event.pointerId); });
    svg.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const [a, b] = [x(start), x(mzAt(event))];
      const old = svg.querySelector(".zoom");
      if (old) old.remove();
      svg.append(s("rect", { class: "zoom", x: Math.min(a, b), width: Math.abs(b - a), y: TOP - 10, height: H - TOP - BOTTOM + 10 }));
    });
    svg.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const end = mzAt(event), [a, b] = [Math.min(start, end), Math.max(start, end)];
      start = null;
      if (b - a > (view[1] - view[0]) / 100) view = [a, b];
      draw();
    });
    const reset = () => { view = whole; draw(); };
    svg.addEventListener("dblclick", reset);
    draw();

    const n = { both: 0, first: 0, second: 0, none: 0 };
    by.forEach((each) => { n[classOf(each)] += 1; });
    const legend = h("ul", { class: "legend" },
      q.second ? [h("li", { class: "both" }, h("b"), `explained by both candidates (${n.both})`),
        h("li", { class: "first" }, h("b"), `by the first only (${n.first})`),
        h("li", { class: "second" }, h("b"), `by the second only (${n.second})`)]
        : q.first ? h("li", { class: "first" }, h("b"), `explained by the candidate (${n.first})`) : null,
      q.first ? h("li", {}, h("b"), `by neither (${n.none})`.replace("neither", q.second ? "neither" : "nothing")) : null,
      q.library ? h("li", { class: "library" }, h("b"), `library spectrum (dots: peaks ${q.library.nominal ? "of its nominal masses" : `within ${q.library.width} Th of one of it`})`) : null,
      h("li", { class: "hint" }, (() => { const b = h("button", { type: "button" }, "whole spectrum"); b.addEventListener("click", reset); return b; })(),
        " drag over the plot to look closer"));
    return h("div", { class: "plot" }, svg, legend);
  }

  function sharedPeaks(library) {
    if (library.nominal) return counted(library.shared, "shared peak");
    const bins = `${counted(library.shared, "shared bin")} of ${library.width} Th`;
    return library.shared || library.cosine < 0.005 ? bins : `${bins}: alike by neutral losses alone`;
  }

  function librarySays(library) {
    const whose = library.own ? "The best candidate’s own library spectrum" : "The nearest analogue’s library spectrum";
    const facts = [library.name || library.key, library.id ? (library.id === library.name ? null : library.id) : "accession not kept by this model", library.adduct,
      `cosine ${library.cosine.toFixed(2)}${library.nominal ? " by nominal masses, as one of the two is of low resolution" : ""}`, sharedPeaks(library)];
    if (library.shift) facts.push(`of the other ion mode: its peaks are drawn moved by two protons (${minus(library.shift.toFixed(4))} Th)`);
    return [h("h3", {}, `${whose}, below the query`), h("p", { class: "facts" }, facts.filter(Boolean).join(" · "))];
  }

  // --- First against second ----------------------------------------------------------------------

  function contestant(c, place) {
    const rows = [["probability", c.p === undefined ? null : percent(c.p)], ["score", c.score === undefined ? null : minus(c.score.toFixed(2)) + " nats"],
      ["formula", c.formula], ["adduct", c.adduct], ["mass error", c.ppm === undefined ? null : minus(c.ppm.toFixed(1)) + " ppm"],
      ["level", c.level], ["library cosine", c.cosine === undefined ? null : c.cosine.toFixed(2)], ["id", c.id]];
    return h("div", { class: "contestant " + place }, c.drawing === undefined ? h("code", {}, c.smiles) : structure(c.drawing),
      h("div", {}, h("div", { class: "name" }, `${c.rank}. ${c.name || "no name"}`), h("div", { class: "key" }, c.key || ""),
        h("dl", {}, rows.filter((row) => row[1]).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
        c.remarks ? h("div", { class: "key" }, c.remarks.join("; ")) : null));
  }

  // Of a query's only candidate, which is compared with nothing.
  function termsAlone(rows) {
    const line = ([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "number" }, minus(value.toFixed(2))));
    const total = rows.reduce((sum, row) => sum + row[1], 0);
    return h("table", { class: "terms alone" }, h("thead", {}, h("tr", {}, h("th", {}, "Evidence"), h("th", { class: "number" }, "Nats"))),
      h("tbody", {}, rows.map(line), h("tr", {}, h("th", {}, "sum: the score"), h("th", { class: "number" }, minus(total.toFixed(2))))));
  }

  function terms(rows) {
    const largest = Math.max(...rows.map((row) => Math.abs(row[1] - row[2])), 1e-9);
    const bar = (value) => {
      const size = 50 * Math.abs(value) / largest;
      const style = value > 0 ? `left:50%;width:${size}%` : `right:50%;width:${size}%`;
      return h("span", { class: "lead", "aria-hidden": "true" }, h("i", { style, class: value > 0 ? "" : "against" }));
    };
    const sum = (k) => rows.reduce((total, row) => total + row[k], 0);
    const lines = rows.map(([name, ours, theirs, say]) => h("tr", { class: say ? "" : "silent" }, h("td", {}, name),
      h("td", { class: "number" }, minus(ours.toFixed(2))), h("td", { class: "number" }, minus(theirs.toFixed(2))),
      h("td", { class: "number" }, nats(ours - theirs)), h("td", {}, say ? bar(ours - theirs) : "no effect")));
    lines.push(h("tr", {}, h("th", {}, "sum: the score"), h("th", { class: "number" }, minus(sum(1).toFixed(2))),
      h("th", { class: "number" }, minus(sum(2).toFixed(2))), h("th", { class: "number" }, nats(sum(1) - sum(2))), h("th")));
    return h("table", { class: "terms" }, h("thead", {}, h("tr", {}, h("th", {}, "Evidence, nats"), h("th", { class: "number" }, "First"),
      h("th", { class: "number" }, "Second"), h("th", { class: "number" }, "Difference"), h("th", {}, "second ◂ ▸ first"))), h("tbody", {}, lines));
  }

  // Peaks of one fragment stand together, so that each fragment is drawn once.
  function pieces(q, found, rows, kind, most) {
    const of = new Map();
    for (const row of rows) of.set(row[4], (of.get(row[4]) || []).concat([row]));
    const weight = (list) => list.reduce((total, row) => total + (row[3] || 0) * Math.sqrt(q.query.height[row[0]]), 0);
    const sorted = Array.from(of).sort((a, b) => weight(b[1]) - weight(a[1]));
    if (!sorted.length) return h("p", { class: "more" }, "none");
    return [h("ul", { class: "pieces" }, sorted.slice(0, most).map(([fragment, list]) => h("li", {},
      structure(found.drawing, found.fragments[fragment], kind),
      list.slice(0, 3).map((row) => h("div", {}, `${q.query.mz[row[0]].toFixed(4)} (${q.query.height[row[0]]} %) ${row[1]}, ${minus(row[2].toFixed(1))} ppm`)),
      list.length > 3 ? h("div", {}, `and ${list.length - 3} more`) : null))),
      sorted.length > most ? h("p", { class: "more" }, `${counted(sorted.length - most, "more fragment")}: see the table`) : null];
  }

  function fragments(q) {
    const by = explainedBy(q);
    const only = (who, other) => q[who].peaks.filter((row) => !by[row[0]][other]);
    const has = (row) => q.terms && q.terms.some((term) => term[0] === "fragments" && (term[3] || !q.second));
    if (!has()) return null;
    const parts = [];
    const ours = q.second ? only("first", "second") : [], theirs = q.second ? only("second", "first") : [];
    const isSame = q.second && !ours.length && !theirs.length;
    if (isSame) {
      const apart = by.map((each, i) => [i, each.first && each.second ? (each.first[3] || 0) - (each.second[3] || 0) : 0])
        .filter(([, lead]) => Math.abs(lead) >= 0.05).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 6);
      parts.push(h("h3", {}, "Peaks that only one of the two explains"),
        h("p", {}, by.some((each) => each.first) ? "None: both explain the same peaks, by fragments that are not equally likely."
          : "None: neither explains a peak. Their terms of fragments differ by what they should show and do not.",
          apart.length ? " They differ most in these (nats, first less second):" : null),
        apart.length ? h("ul", { class: "pieces apart" }, apart.map(([i, lead]) => h("li", {},
          structure(q.first.drawing, q.first.fragments[by[i].first[4]], "first"),
          structure(q.second.drawing, q.second.fragments[by[i].second[4]], "second"),
          h("div", {}, `${q.query.mz[i].toFixed(4)} (${q.query.height[i]} %) ${by[i].first[1]}`),
          h("div", { class: lead > 0 ? "for" : "against" }, `${nats(Math.abs(lead))} nats for the ${lead > 0 ? "first" : "second"}`)))) : null);
    } else if (q.second) {
      parts.push(h("h3", {}, "Peaks that only one of the two explains"), h("div", { class: "pair" },
        h("div", {}, h("h4", {}, "the first"), pieces(q, q.first, ours, "first", 6)),
        h("div", {}, h("h4", {}, "the second"), pieces(q, q.second, theirs, "second", 6))));
    } else {
      parts.push(h("h3", {}, "Peaks that its fragments explain"), pieces(q, q.first, q.first.peaks, "first", 8));
    }
    const cells = (row) => row ? [h("td", {}, row[1]), h("td", { class: "number" }, minus(row[2].toFixed(1))), h("td", { class: "number" }, row[3] === null ? "" : nats(row[3]))]
      : [h("td"), h("td"), h("td")];
    const rows = by.map((each, i) => [each, i]).filter(([each]) => each.first || each.second).map(([each, i]) => h("tr", {},
      h("td", { class: "number" }, q.query.mz[i].toFixed(4)), h("td", { class: "number" }, `${q.query.height[i]} %`), cells(each.first),
      q.second ? cells(each.second) : null));
    const heads = (who) => [h("th", {}, who), h("th", { class: "number" }, "ppm"), h("th", { class: "number" }, "nats")];
    if (rows.length) parts.push(h("details", { class: "all-peaks" }, h("summary", {}, rows.length === 1 ? "The explained peak" : `All ${rows.length} explained peaks`), h("table", {},
      h("thead", {}, h("tr", {}, h("th", { class: "number" }, "m/z"), h("th", { class: "number" }, "Height"), heads("First"), q.second ? heads("Second") : null)),
      h("tbody", {}, rows))));
    return parts;
  }

  function bits(q) {
    if (!q.bits || !q.bits.length) return null;
    return h("div", { class: "bits" }, h("h3", {}, "Predicted substructures that tell them apart"), h("ul", { class: "pieces" }, q.bits.map((bit) => h("li", {},
      structure(bit.drawing, bit.atoms.flat(), bit.first ? "first" : "second"),
      h("div", {}, h("code", {}, bit.fragment || bit.title), bit.n > 1 ? ` (${bit.n} places)` : ""),
      bit.fragment ? h("div", { class: "key" }, bit.title) : null,
      h("div", {}, `in the ${bit.first ? "first" : "second"}; predicted ${percent(bit.p)}`),
      h("div", { class: bit.gain > 0 ? "for" : "against" }, `${nats(Math.abs(bit.gain))} nats for the ${bit.gain > 0 ? "first" : "second"}`)))));
  }

  function candidates(q) {
    if (!q.candidates || q.candidates.length < 2) return null;
    return [h("h3", { class: "listed" }, "All candidates"), h("ol", { class: "candidates" }, q.candidates.map((c) => h("li", {},
      h("span", { class: "rank" }, String(c.rank)), c.drawing === undefined ? h("code", {}, c.smiles) : structure(c.drawing),
      h("div", {}, h("div", { class: "name" }, c.name || "no name"), h("div", { class: "key" }, [c.key, c.formula, c.adduct, c.id].filter(Boolean).join(" · ")),
        c.remarks ? h("div", { class: "key" }, c.remarks.join("; ")) : null),
      h("div", { class: "number" }, c.p === undefined ? "" : percent(c.p), h("br"), c.rank === q.candidates[0].rank ? "best" : nats(c.gap) + " nats")))),
      q.below > 0 ? h("p", { class: "more" }, `${q.below} more ${q.below === 1 ? "ranks" : "rank"} below these.`) : null];
  }

  function analogues(q) {
    if (!q.near || !q.near.length) return null;
    return [h("h3", { class: "listed" }, "Compounds of the library with like spectra"), h("ul", { class: "pieces" }, q.near.map((a) => h("li", {},
      a.drawing === null ? h("code", {}, a.smiles) : structure(a.drawing), a.name ? h("div", { class: "name" }, a.name) : null,
      h("div", { class: "key" }, a.key), h("div", {}, `cosine ${a.cosine.toFixed(2)}`))))];
  }

  function panel(q) {
    const parts = [h("p", { class: "facts" }, (q.facts || []).join(" · ")), h("p", { class: "why" }, q.why)];
    if (q.library) parts.push(librarySays(q.library));
    if (q.query && q.query.mz.length) parts.push(plot(q));
    if (q.second) {
      parts.push(h("h3", {}, "First against second"), h("div", { class: "pair" }, contestant(q.candidates[0], "first"), contestant(q.rival, "second")));
      if (q.terms.length) parts.push(terms(q.terms));
      parts.push(fragments(q), bits(q));
    } else if (q.first) {
      parts.push(contestant(q.candidates[0], "first"), q.terms.length ? termsAlone(q.terms) : null, fragments(q));
    }
    parts.push(candidates(q), analogues(q));
    return h("div", { class: "detail" }, parts);
  }

  // --- The overview ------------------------------------------------------------------------------

  function thumbnail(group) {
    const cell = group.rows[0].querySelector("td.picture");
    if (cell.dataset.drawing !== undefined && !cell.firstChild) cell.append(structure(Number(cell.dataset.drawing)));
  }

  function open(group) {
    if (group.classList.contains("open")) return;
    const q = json("d" + group.id.slice(1));
    if (!q) return;
    group.classList.add("open");
    thumbnail(group);
    group.append(h("tr", { class: "shown" }, h("td", {}, panel(q))));
    const link = group.querySelector("td.query a");
    if (link) link.setAttribute("aria-expanded", "true");
  }

  function close(group) {
    if (!group.classList.contains("open")) return;
    group.classList.remove("open");
    group.rows[1].remove();
    const link = group.querySelector("td.query a");
    if (link) link.setAttribute("aria-expanded", "false");
  }

  for (const group of groups) {
    group.rows[0].addEventListener("click", (event) => {
      const chosen = window.getSelection();
      if (chosen && String(chosen)) return;
      if (event.target.closest("a")) event.preventDefault();
      if (group.classList.contains("open")) close(group); else { open(group); history.replaceState(null, "", "#" + group.id); }
    });
  }

  const whole = document.querySelector(".whole");
  if (NARROW && whole) whole.open = false;

  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { thumbnail(entry.target); seen.unobserve(entry.target); }
    }, { rootMargin: "600px" });
    groups.forEach((group) => seen.observe(group));
  } else {
    groups.forEach(thumbnail);
  }
  window.addEventListener("beforeprint", () => groups.forEach(thumbnail));

  function openAddressed() {
    const group = document.getElementById(location.hash.slice(1));
    if (group && groups.includes(group)) { open(group); group.scrollIntoView(); }
  }
  window.addEventListener("hashchange", openAddressed);
  openAddressed();

  const box = document.getElementById("filter"), which = document.getElementById("which"), shown = document.getElementById("shown");
  box.closest("p").hidden = false;
  const texts = new Map();
  function filter() {
    const wanted = box.value.trim().toLowerCase(), kind = which.value;
    let n = 0;
    for (const group of groups) {
      if (wanted && !texts.has(group)) texts.set(group, group.rows[0].textContent.toLowerCase());
      const isBad = group.classList.contains("bad");
      const fits = kind === "" || (kind === "ranked" ? !isBad : kind === "unranked" ? isBad : group.dataset.p !== "" && Number(group.dataset.p) >= Number(kind));
      group.hidden = !(fits && (!wanted || texts.get(group).includes(wanted)));
      if (!group.hidden) n += 1;
    }
    shown.textContent = n < groups.length ? `${n} of ${groups.length}` : "";
  }
  box.addEventListener("input", filter);
  which.addEventListener("change", filter);
  document.getElementById("open-all").addEventListener("click", () => groups.filter((group) => !group.hidden).forEach(open));
  document.getElementById("close-all").addEventListener("click", () => groups.forEach(close));

  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    if (head.classList.contains("picture")) return;
    head.setAttribute("role", "button");
    head.tabIndex = 0;
    const isNumber = head.hasAttribute("data-number");
    function key(group) {
      const text = group.rows[0].cells[column].textContent.trim();
      if (!isNumber) return text.toLowerCase();
      const value = text === "tie" ? 0 : parseFloat(text.replace(/,/g, ""));
      return isNaN(value) ? -Infinity : value;
    }
    function sort() {
      const old = head.getAttribute("aria-sort");
      // Numbers that are better when larger come largest first.
      const down = old ? old === "ascending" : isNumber && !head.classList.contains("n");
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = groups.map((group) => [key(group), group]);
      keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
      table.append(...keyed.map(([, group]) => group));
    }
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
})();
