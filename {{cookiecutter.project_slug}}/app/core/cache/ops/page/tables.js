// Tiles and tables. All texts come from outside: they become text, never markup.

function make(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [each, value] of Object.entries(attributes)) {
    if (value === null) continue;
    if (each === "class") made.className = value;
    else made.setAttribute(each, value);
  }
  made.append(...inside.filter((each) => each !== null && each !== ""));
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A text of outside without what deceives the eye: control characters, and what turns its direction.
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (each) => {
    const code = each.codePointAt(0);
    const [mark, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.toString(16).padStart(digits, "0")}`;
  });
}

// A row of a table that becomes a card on a small screen; `cells` are [label, content, class].
function row(head, cells) {
  return make("tr", { role: "row" }, head, ...cells.map(([label, content, style = ""]) => {
    const text = content === null || content === "" ? NOTHING : content;
    const none = text === NOTHING ? " none" : "";
    return make("td", { role: "cell", "data-label": label, class: `${style}${none}` || null }, text);
  }));
}

function rowHead(...content) {
  return make("th", { role: "rowheader", scope: "row" }, ...content);
}

function emptyRow(columns, text) {
  return make("tr", { role: "row" }, make("td", { role: "cell", colspan: columns, class: "empty" }, text));
}

function showTiles(state, chosen, lately) {
  const sum = emptySum(state.bounds);
  for (const process of chosen) {
    for (const counters of Object.values(process.prefixes)) addTo(sum, counters);
  }
  const total = (name) => chosen.reduce((all, process) => all + process[name], 0);
  const servers = [...new Set(chosen.flatMap((process) => process.open_breakers))];
  const failures = chosen.reduce((all, process) => all + sumOf(process.failures), 0);
  const undelivered = (name) => chosen.reduce((all, process) => all + (process.undelivered[name] || 0), 0);
  const invalidated = chosen.reduce((all, process) => all + sumOf(process.invalidations), 0);
  const saved = sum.runs ? (sum.served * sum.fillSeconds) / sum.runs : 0;
  const tiles = [
    ["Hit ratio", ofRatio(lately.ratio), `${ofRatio(ratioOf(sum))} since counting began`],
    ["Calls a second", ofRate(lately.rate), `${ofCount(sum.calls)} in all`],
    ["A hit takes", ofSeconds(lately.median), `95 % less than ${ofSeconds(lately.high)}`],
    ["A fill takes", ofSeconds(lately.fill), `${ofCount(sum.runs)} in all`],
    ["Time saved", ofSeconds(saved), `${ofSeconds(sum.fillSeconds)} spent on fills`],
    ["Breaker", servers.length ? "open" : "closed",
      servers.length ? servers.map(visible).join(", ") : `${ofCount(failures)} failures`, servers.length > 0],
    ["Pending invalidations", ofCount(total("pending")),
      `${ofCount(invalidated)} done, ${ofCount(undelivered("lost"))} lost`, total("pending") > 0],
    ["Near cache", state.has_near ? ofCount(total("near_entries")) : "off",
      state.has_near ? `${ofBytes(total("near_bytes"))}, flushed ${ofCount(total("near_flushes"))} times` : "this cache has none"],
  ];
  const host = byId("tiles");
  if (host.children.length !== tiles.length) {
    host.replaceChildren(...tiles.map(([name]) => make("div", {}, make("dt", {}, name), make("dd"), make("dd", { class: "note" }))));
  }
  tiles.forEach(([, value, note, bad = false], at) => {
    const tile = host.children[at];
    tile.className = bad ? "bad" : "";
    setText(tile.children[1], value);
    setText(tile.children[2], note);
  });
}

function showPrefixes(state, chosen) {
  const sums = new Map();
  for (const process of chosen) {
    for (const [name, counters] of Object.entries(process.prefixes)) {
      if (!sums.has(name)) sums.set(name, emptySum(state.bounds));
      addTo(sums.get(name), counters);
    }
  }
  const busiest = [...sums].sort(([, one], [, other]) => other.calls - one.calls);
  const rows = busiest.map(([name, sum]) => {
    const mean = sum.runs ? sum.fillSeconds / sum.runs : null;
    const reasons = Object.entries(sum.reasons).map(([word, number]) => `${visible(word)} ${ofCount(number)}`);
    return row(rowHead(make("span", { class: "key" }, visible(name))), [
      ["Calls", ofCount(sum.calls), "number"],
      ["Hit ratio", ofRatio(ratioOf(sum)), "number"],
      ["Hits", ofCount(sum.hits), "number"],
      ["Misses", ofCount(sum.misses), "number"],
      ["Mean fill", ofSeconds(mean), "number"],
      ["Spent", ofSeconds(sum.fillSeconds), "number"],
      ["Saved", mean === null ? NOTHING : ofSeconds(sum.served * mean), "number"],
      ["Not stored", reasons.join(", "), "small"],
    ]);
  });
  byId("prefixes").replaceChildren(...(rows.length ? rows : [emptyRow(9, "Nothing has asked the cache yet.")]));
}

function showProcesses(state) {
  byId("says-processes").textContent = !state.is_shared
    ? "What this backend holds is of this process alone, and so are the numbers."
    : !state.is_up
      ? "While the backend is away, nothing is known of other processes."
      : state.is_published
        ? "Each process that publishes its numbers is here."
        : "This process does not publish its numbers. It shows those of others that do.";
  const rows = state.processes.map((process) => {
    const sum = totalOf(process, state.bounds);
    const ago = Math.max(0, state.now - process.published);
    const own = process.id === state.own ? " (answers now)" : "";
    const near = process.near_entries ? `${ofCount(process.near_entries)}, ${ofBytes(process.near_bytes)}` : NOTHING;
    return row(rowHead(visible(`${process.host}, ${process.pid}`), own), [
      ["Counts since", ofDate(process.started)],
      ["Last heard", ago < 1 ? "now" : `${Math.round(ago)} s ago`],
      ["Calls", ofCount(sum.calls), "number"],
      ["Hit ratio", ofRatio(ratioOf(sum)), "number"],
      ["Pending", ofCount(process.pending), "number"],
      ["Breaker", process.open_breakers.length ? `open: ${process.open_breakers.map(visible).join(", ")}` : "closed"],
      ["Near cache", near, "number"],
    ]);
  });
  byId("processes").replaceChildren(...rows);
}

// The points as rows, one for each half minute, the last first.
function showNumbers(points) {
  if (!byId("numbers").open) return;
  const rows = [];
  let next = Infinity;
  for (const point of [...points].reverse()) {
    if (point.time > next) continue;
    next = point.time - 30;
    rows.push(make("tr", {}, make("th", { scope: "row" }, ofTime(point.time)),
      ...[ofRatio(point.ratio), ofRate(point.rate), ofSeconds(point.median), ofSeconds(point.high), ofSeconds(point.fill)]
        .map((text) => make("td", {}, text))));
  }
  byId("numbers-rows").replaceChildren(...rows);
}
