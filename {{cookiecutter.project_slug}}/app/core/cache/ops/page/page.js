// The page: it asks for the state every two seconds, and shows it.

const samples = new Samples();
const page = { state: null, pinned: null, points: { own: [], all: [] }, paused: false };

function scope() {
  return document.querySelector("input[name=scope]:checked").value;
}

// Several processes may answer in turn; the page goes on to show the first one as "this process".
function pin(state) {
  const ids = state.processes.map((process) => process.id);
  if (!ids.includes(page.pinned)) {
    page.pinned = state.own;
    page.points.own = [];
  }
  return { own: [page.pinned], all: ids };
}

function take(state) {
  samples.add(state.processes, state.bounds);
  const ids = pin(state);
  page.state = state;
  for (const each of ["own", "all"]) {
    const points = page.points[each];
    points.push({ time: state.now, ...samples.lately(ids[each], state.bounds) });
    while (points[0].time < state.now - KEPT_SECONDS) points.shift();
  }
}

function show() {
  const { state } = page;
  if (!state) return;
  const ids = scope() === "all" ? state.processes.map((process) => process.id) : [page.pinned];
  const points = page.points[scope()];
  setText(byId("prefix"), visible(state.key_prefix));
  setText(byId("backend"), visible(state.backend));
  byId("scopes").hidden = !state.is_shared;
  const health = byId("health");
  health.className = state.is_up && state.is_enabled ? "pill" : "pill bad";
  setText(health, state.is_enabled ? (state.is_up ? "Up" : "Away") : "Switched off");
  note(state.is_up ? "" : "The backend does not answer. Functions run for every call, and invalidations are kept until it does.");
  const chosen = samples.latest(ids);
  showTiles(state, chosen, points.at(-1));
  showPrefixes(state, chosen);
  showProcesses(state);
  showPlots(points);
  showNumbers(points);
}

function showPlots(points) {
  const plots = [["ratio", drawRatio], ["latency", drawLatency], ["calls", drawCalls]];
  for (const [name, drawIt] of plots) {
    const says = drawIt(byId(`plot-${name}`), points, page.state.now);
    const parts = says.map(([style, text]) => (style === null ? text : make("span", { class: `legend ${style}` }, text)));
    byId(`says-${name}`).replaceChildren(...parts);
  }
}

function note(text) {
  const node = byId("notice");
  setText(node, text);
  node.hidden = !text;
}

async function poll() {
  if (!page.paused && !document.hidden) {
    try {
      take(await ask("data"));
      show();
    } catch (error) {
      byId("health").className = "pill bad";
      setText(byId("health"), "No answer");
      note(error.message);
    }
  }
  setTimeout(poll, POLL_SECONDS * 1000);
}

const THEMES = ["auto", "light", "dark"];
const isDark = matchMedia("(prefers-color-scheme: dark)");

function remembered(theme) {
  try {
    if (theme) localStorage.setItem("cache-page-theme", theme);
    return localStorage.getItem("cache-page-theme");
  } catch { // storage may be forbidden
    return theme || null;
  }
}

function applyTheme(theme) {
  const shown = theme === "auto" ? (isDark.matches ? "dark" : "light") : theme;
  document.documentElement.dataset.theme = shown;
  setText(byId("theme"), `Theme: ${theme}`);
}

function beginTheme() {
  let theme = remembered();
  if (!THEMES.includes(theme)) theme = "auto";
  applyTheme(theme);
  isDark.addEventListener("change", () => applyTheme(theme));
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remembered(theme);
    applyTheme(theme);
  });
}

beginTheme();
beginEntries();
byId("pause").addEventListener("click", () => {
  page.paused = !page.paused;
  byId("pause").setAttribute("aria-pressed", String(page.paused));
  setText(byId("pause"), page.paused ? "Go on" : "Pause");
});
for (const choice of document.querySelectorAll("input[name=scope]")) choice.addEventListener("change", show);
byId("numbers").addEventListener("toggle", () => show());
new ResizeObserver(() => page.state && showPlots(page.points[scope()])).observe(document.querySelector(".plots"));
poll();
