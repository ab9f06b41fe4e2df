"use strict";
(() => {
  const PER_PAGE = 25, KEPT = 8, AHEAD = 3;
  const $ = id => document.getElementById(id);
  const hidden = /[\ud800-\udbff][\udc00-\udfff]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/g;
  let index = null, found = [], at = 0, shown = null, search = 0;
  const shelves = new Map(), waiting = new Map();

  // What models wrote enters the page here and nowhere else: as text.
  const code = c => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  const visible = text => text.replace(/\r\n/g, "\n").replace(hidden, c => c.length > 1 ? c : code(c));
  function element(tag, text, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = visible(String(text));
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  }
  function marked(tag, text, query) {
    const made = element(tag), whole = visible(text), low = whole.toLowerCase();
    let from = 0;
    for (let to = query ? low.indexOf(query) : -1; to >= 0; to = low.indexOf(query, from)) {
      made.append(whole.slice(from, to), element("mark", whole.slice(to, to + query.length)));
      from = to + query.length;
    }
    made.append(whole.slice(from));
    return made;
  }

  // -- data: scripts beside the page, each of which calls this once
  window.pricematch = (kind, content) => {
    if (kind === "index") return open(content);
    const [number, entries] = content;
    shelves.set(number, entries);
    if (shelves.size > KEPT) shelves.delete(shelves.keys().next().value);
  };
  function load(name) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = `browse/${name}.js`;
      script.onload = () => { script.remove(); done(); };
      script.onerror = () => { script.remove(); failed(new Error(name)); };
      document.head.append(script);
    });
  }
  async function shelf(number) {
    if (!shelves.has(number)) {
      if (!waiting.has(number)) waiting.set(number, load(number).finally(() => waiting.delete(number)));
      await waiting.get(number);
    }
    return shelves.get(number);
  }

  // -- filters. A problem is [id, level, shelf, place on it, question's start, [[arm, outcomes], ...]]
  const wanted = () => ({
    query: $("query").value.trim().toLowerCase(), arm: $("arm").value === "" ? null : +$("arm").value,
    outcome: $("outcome").value === "" ? null : String.fromCharCode(97 + +$("outcome").value), level: $("level").value,
  });
  const fitting = (arm, outcomes, w) =>
    (w.arm === null || w.arm === arm) && (w.outcome === null || outcomes.includes(w.outcome));
  const passes = (problem, w) =>
    (!w.level || problem[1] === w.level) && problem[5].some(([arm, outcomes]) => fitting(arm, outcomes, w));
  const said = (problem, entry, w) =>
    problem[0].toLowerCase().includes(w.query) || (entry[0] || "").toLowerCase().includes(w.query) ||
    problem[5].some(([arm, outcomes], i) => fitting(arm, outcomes, w) && entry[2][i].some((draw, j) =>
      (w.outcome === null || outcomes[j] === w.outcome) && draw[3].toLowerCase().includes(w.query)));

  async function refresh() {
    const mine = ++search, w = wanted(), candidates = [];
    index.problems.forEach((problem, i) => { if (passes(problem, w)) candidates.push(i); });
    at = 0;
    if (!w.query) { found = candidates; list(); return status(`${many(found.length)}`); }
    found = [];
    list();
    const byShelf = new Map();
    for (const i of candidates) {
      const number = index.problems[i][2];
      if (!byShelf.has(number)) byShelf.set(number, []);
      byShelf.get(number).push(i);
    }
    let looked = 0;
    const numbers = [...byShelf.keys()];
    for (const [n, number] of numbers.entries()) {
      for (const next of numbers.slice(n + 1, n + 1 + AHEAD)) shelf(next).catch(() => {});
      const entries = await shelf(number), mates = byShelf.get(number);
      if (mine !== search) return;
      for (const i of mates) if (said(index.problems[i], entries[index.problems[i][3]], w)) found.push(i);
      looked += mates.length;
      if (found.length <= PER_PAGE || looked === candidates.length) list();
      status(`${many(found.length)} found; looked through ${count(looked)} of ${count(candidates.length)}`);
    }
    status(`${many(found.length)} found`);
  }
  const count = n => n.toLocaleString("en-US");
  const many = n => `${count(n)} problem${n === 1 ? "" : "s"}`;
  const status = text => { $("status").textContent = text; };

  // -- the list
  function list() {
    const page = found.slice(at, at + PER_PAGE);
    $("list").replaceChildren(...page.map(item));
    $("place").textContent = found.length ? `${count(at + 1)}–${count(at + page.length)} of ${count(found.length)}` : "nothing found";
    $("before").disabled = at === 0;
    $("after").disabled = at + PER_PAGE >= found.length;
  }
  function item(i) {
    const [key, level, , , question, drawn] = index.problems[i];
    const button = element("button", key + (level ? `, level ${level}`.replace("level level", "level") : ""), { type: "button" });
    if (i === shown) button.setAttribute("aria-current", "true");
    button.append(element("small", question), element("small", drawn.map(tally).join(" · ")));
    button.addEventListener("click", () => show(i, true));
    const row = element("li");
    row.append(button);
    return row;
  }
  const tally = ([arm, outcomes]) => `${index.arms[arm]} ${outcomes.split("a").length - 1}/${outcomes.length} correct`;
  function turn(by) { at = Math.max(0, at + by * PER_PAGE); list(); $("list").querySelector("button")?.focus(); }

  // -- one problem
  async function show(i, focus) {
    shown = i;
    for (const [n, button] of [...$("list").querySelectorAll("button")].entries())
      button.setAttribute("aria-current", String(found[at + n] === i));
    const problem = index.problems[i], entry = (await shelf(problem[2]))[problem[3]], w = wanted();
    if (shown !== i) return;
    const heading = element("h2", problem[0], { tabindex: "-1" }), two = element("div", null, { class: "two" });
    const order = problem[5].map((_, n) => n).sort((a, b) => fits(problem, b, w) - fits(problem, a, w) || a - b);
    two.append(column(problem, entry, order[0], w, "Left"));
    if (order.length > 1) two.append(column(problem, entry, order[1], w, "Right"));
    const question = entry[0] === null ? element("p", "The problem’s text was not at hand when this page was made.", { class: "note" })
      : marked("pre", entry[0], w.query);
    const gold = element("p", entry[1] === null ? "" : "Reference answer: ", { class: "note" });
    if (entry[1] !== null) gold.append(element("code", entry[1]));
    $("solutions").replaceChildren(heading, question, gold, two);
    if (focus) { heading.focus(); heading.scrollIntoView({ block: "nearest" }); }
  }
  const fits = (problem, n, w) => w.arm !== null && problem[5][n][0] === w.arm ? 1 : 0;

  function column(problem, entry, first, w, side) {
    const box = element("section", null, { "aria-label": `${side} solution` });
    const arms = element("select", null, { "aria-label": `${side}: model` }), draws = element("select", null, { "aria-label": `${side}: draw` });
    problem[5].forEach(([arm], n) => arms.append(element("option", index.arms[arm], { value: n })));
    arms.value = first;
    const body = element("div");
    const fill = () => {
      const outcomes = problem[5][arms.value][1];
      draws.replaceChildren(...entry[2][arms.value].map((draw, j) =>
        element("option", `draw ${draw[0] + 1}, ${index.outcomes[outcomes.charCodeAt(j) - 97]}`, { value: j })));
      draws.value = best(entry[2][arms.value], outcomes, w);
      text();
    };
    const text = () => {
      const outcome = index.outcomes[problem[5][arms.value][1].charCodeAt(+draws.value) - 97];
      const [, finish, extracted, written, length] = entry[2][arms.value][draws.value];
      const line = element("p", null, { class: "note" });
      line.append(element("span", outcome, { class: outcome }), extracted === null ? "" : ", answer ");
      if (extracted !== null) line.append(element("code", extracted));
      if (finish === "length") line.append(", truncated at max_tokens");
      body.replaceChildren(line, marked("pre", written, w.query));
      body.lastChild.setAttribute("dir", "auto");
      if (length > index.longest) body.append(element("p", `Cut here: ${count(index.longest)} of ${count(length)} characters are shown.`, { class: "note" }));
    };
    arms.addEventListener("change", fill);
    draws.addEventListener("change", text);
    const pick = element("div", null, { class: "pick" });
    pick.append(arms, draws);
    box.append(pick, body);
    fill();
    return box;
  }
  function best(draws, outcomes, w) {
    const fit = draws.map((draw, j) => (w.outcome === null || outcomes[j] === w.outcome ? 2 : 0) +
      (w.query && draw[3].toLowerCase().includes(w.query) ? 1 : 0));
    return fit.indexOf(Math.max(...fit));
  }

  // -- the beginning
  function open(content) {
    index = content;
    index.arms.forEach((name, i) => $("arm").append(element("option", name, { value: i })));
    index.outcomes.forEach((name, i) => $("outcome").append(element("option", name, { value: i })));
    const levels = [...new Set(index.problems.map(p => p[1]).filter(l => l !== null))].sort(new Intl.Collator("en", { numeric: true }).compare);
    levels.forEach(level => $("level").append(element("option", level, { value: level })));
    $("level").parentElement.hidden = levels.length < 2;
    refresh();
    if (index.problems.length) show(0, false);
  }
  let later = 0;
  $("query").addEventListener("input", () => { clearTimeout(later); later = setTimeout(() => index && refresh(), 200); });
  for (const id of ["arm", "outcome", "level"]) $(id).addEventListener("change", () => index && refresh());
  $("filters").addEventListener("submit", event => { event.preventDefault(); clearTimeout(later); if (index) refresh(); });
  $("before").addEventListener("click", () => turn(-1));
  $("after").addEventListener("click", () => turn(1));
  load("index").catch(() => status("The files beside this page (browse/) are not here: write the report again."));
})();
