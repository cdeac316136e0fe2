// Entries: the search, the content of one, and invalidations, each after a question.

const base = location.pathname.replace(/\/+$/, "");
const PATIENCE_SECONDS = 15;
const LIMITS = [20, 100, 500];

const INCOMPLETE = {
  "": "",
  limit: " There are more.",
  time: " The search took too long and was ended: use a longer beginning of the keys.",
  away: " The backend does not answer, so there may be more.",
  text: " A key below the prefix is no text, so there may be more.",
};

const REPLIES = {
  401: "You have to log in.",
  403: "You may not do this.",
  404: "There is nothing, or you may not see it.",
};

// What the service answers to a question; raises an Error whose message is for people.
async function ask(path, options = {}) {
  let reply;
  try {
    const signal = AbortSignal.timeout(PATIENCE_SECONDS * 1000);
    reply = await fetch(`${base}/${path}`, { cache: "no-store", redirect: "error", signal, ...options });
  } catch {
    throw new Error("The service does not answer.");
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok && body !== null) return body;
  const detail = body && typeof body.detail === "string" ? body.detail : null;
  throw new Error(detail || REPLIES[reply.status] || `The service answers with ${reply.status}.`);
}

function say(node, text, bad = false) {
  node.className = bad ? "effect bad" : "effect";
  setText(node, text);
}

function patternOf(text) {
  const typed = text.trim();
  if (!typed) return "*";
  return typed.includes("*") ? typed : `*${typed}*`;
}

const search = { text: "", step: 0, number: 0 };

async function showEntries() {
  const number = (search.number += 1);
  const limit = LIMITS[search.step];
  setText(byId("found"), "Searching …");
  byId("more").hidden = true;
  let found;
  try {
    found = await ask(`entries?limit=${limit}&pattern=${encodeURIComponent(patternOf(search.text))}`);
  } catch (error) {
    if (number === search.number) setText(byId("found"), error.message);
    return;
  }
  if (number !== search.number) return; // a later search is under way
  const count = found.entries.length;
  const what = count === 1 ? "One entry." : count ? `${ofCount(count)} entries.` : "No entries.";
  setText(byId("found"), what + (INCOMPLETE[found.incomplete] || ""));
  byId("entries-table").hidden = !count;
  byId("more").hidden = found.incomplete !== "limit" || search.step + 1 === LIMITS.length;
  byId("entries").replaceChildren(...found.entries.map(entryRow));
}

function timeLeft(entry) {
  return entry.is_endless ? "no end" : ofSeconds(entry.expires_in);
}

function kindOf(entry) {
  const status = entry.status === null ? "" : ` ${entry.status}`;
  if (entry.is_current) return entry.is_stale ? `${entry.kind}${status}, stale` : `${entry.kind}${status}`;
  return make("span", { class: "spoilt" }, `${entry.kind}${status}, ${entry.kind === "computing" ? "not there yet" : "not served"}`);
}

function entryRow(entry) {
  const open = make("button", { type: "button", class: "link key" }, entry.shown);
  open.addEventListener("click", () => openEntry(entry.key));
  const tags = make("span", {}, ...entry.tags.map((tag) => make("span", { class: "tag" }, visible(tag))));
  return row(rowHead(open), [
    ["Kind", kindOf(entry)],
    ["Written by", visible(entry.function)],
    ["Time left", timeLeft(entry), "number"],
    ["Size", ofBytes(entry.size), "number"],
    ["Tags", entry.tags.length ? tags : ""],
  ]);
}

const opened = { key: null, by: null };

async function openEntry(key) {
  let entry;
  try {
    entry = await ask(`entry?key=${encodeURIComponent(key)}`);
  } catch (error) {
    const why = error instanceof URIError ? "it has half a character, so only the command line shows it." : error.message;
    setText(byId("found"), `${visible(key)}: ${why}`);
    byId("found").scrollIntoView({ block: "nearest" });
    return;
  }
  Object.assign(opened, { key, by: document.activeElement });
  say(byId("entry-effect"), "");
  byId("entry-title").replaceChildren("Entry ", make("span", { class: "key" }, entry.shown));
  const facts = [
    ["Kind", kindOf(entry)],
    ["Written by", visible(entry.function) || NOTHING],
    ["Written", entry.written === null ? "not known" : `${ofDate(entry.written)} (${ofSeconds(Math.max(0, Date.now() / 1000 - entry.written))} ago)`],
    ["Time left", timeLeft(entry)],
    ["Size", `${ofBytes(entry.size)}`],
  ];
  byId("entry-facts").replaceChildren(...factsOf(facts));
  byId("entry-tags").replaceChildren(...tagsOf(entry));
  byId("entry-headers").replaceChildren(...headersOf(entry));
  setText(byId("entry-content"), entry.content);
  if (!byId("entry").open) byId("entry").showModal();
  byId("entry").scrollTop = 0;
}

function tagsOf(entry) {
  if (!entry.tags.length) return [];
  const buttons = entry.tags.map((tag) => {
    const button = make("button", { type: "button", class: "danger" }, `Invalidate the tag ${visible(tag)} …`);
    button.addEventListener("click", () => confirmThen("tag", tag, byId("entry-effect")));
    return button;
  });
  return [make("h3", {}, "Tags"), make("div", { class: "row" }, ...buttons)];
}

function factsOf(facts) {
  return facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}

function headersOf(entry) {
  if (!entry.headers.length) return [];
  return [make("h3", {}, "Headers"), make("dl", { class: "facts" }, ...factsOf(entry.headers.map((pair) => pair.map(visible))))];
}

const QUESTIONS = {
  key: "Remove this entry? The next call computes it anew.",
  pattern: "Remove every entry whose key matches? The next calls compute them anew, all at once if there are many.",
  tag: "Invalidate every entry that has this tag? None of them is served any more.",
};

const wish = { what: "", name: "", effect: null };

// Ask whether something is meant, and tell its effect in `effect`.
function confirmThen(what, name, effect) {
  Object.assign(wish, { what, name, effect });
  const everything = what === "pattern" && /^\*+$/.test(name);
  setText(byId("confirm-title"), `Invalidate ${everything ? "everything" : `the ${what}`}?`);
  setText(byId("confirm-text"), everything ? "Remove every entry of this cache? The next calls compute all anew." : QUESTIONS[what]);
  setText(byId("confirm-name"), visible(name));
  byId("confirm").showModal();
}

function effectOf({ what, name, done, number }) {
  const it = `The ${what} ${visible(name)}`;
  if (!done) return `${it} could not be invalidated now. It is kept, and is invalidated when the backend answers; until then this process serves nothing of it.`;
  if (what === "tag") return `${it} is invalidated: no entry that had it is served any more.`;
  if (number === null) return `${it} is invalidated.`;
  return `${it} is invalidated: ${number === 1 ? "one key was" : `${number ? ofCount(number) : "no"} keys were`} removed.`;
}

async function invalidate() {
  const { what, name, effect } = wish;
  byId("confirm").close();
  try {
    const told = await ask("invalidate", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Cache-Page": "1" },
      body: JSON.stringify({ [what]: name }),
    });
    say(effect, effectOf(told), !told.done);
  } catch (error) {
    say(effect, `The ${what} ${visible(name)} is not invalidated: ${error.message}`, true);
  }
  if (search.number) await showEntries();
}

const NAMES = {
  key: "The key, without the prefix of all keys",
  pattern: "A pattern: * stands for any characters, as in users:*",
  tag: "The tag",
};

function beginEntries() {
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    Object.assign(search, { text: byId("pattern").value, step: 0 });
    showEntries();
  });
  byId("more").addEventListener("click", () => {
    search.step += 1;
    showEntries();
  });
  const form = byId("invalidate");
  form.addEventListener("change", () => setText(byId("name-label"), NAMES[form.elements.what.value]));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    confirmThen(form.elements.what.value, byId("name").value, byId("effect"));
  });
  byId("entry-invalidate").addEventListener("click", () => confirmThen("key", opened.key, byId("entry-effect")));
  byId("confirm-do").addEventListener("click", invalidate);
  byId("entry").addEventListener("close", () => {
    if (!opened.by.isConnected) byId("pattern").focus(); // the list was made anew
  });
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}
