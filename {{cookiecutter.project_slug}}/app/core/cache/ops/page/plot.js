// Plots as SVG. A plot says in words what it shows, too.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [each, value] of Object.entries(attributes)) made.setAttribute(each, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Lines over the last minutes. `lines` are [class, name of a number of a point]; `ticks` are
// [value, text] from the bottom to the top; `scale` makes a height of a value.
function draw(host, points, now, { label, lines, ticks, scale = (value) => value, area = false }) {
  const width = Math.max(200, host.clientWidth);
  const height = Math.max(120, host.clientHeight);
  const low = scale(ticks[0][0]);
  const high = scale(ticks.at(-1)[0]);
  const minutes = spanOf(points, now);
  const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (now - time) / (60 * minutes));
  const y = (value) => {
    const share = Math.min(1, Math.max(0, (scale(value) - low) / (high - low)));
    return height - BOTTOM - (height - TOP - BOTTOM) * share;
  };
  const made = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const [value, text] of ticks) {
    made.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    made.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [ago, text, anchor] of [[minutes, `${minutes} min ago`, "start"], [0, "now", "end"]]) {
    made.append(svg("text", { x: x(now - 60 * ago), y: height - 5, "text-anchor": anchor }, text));
  }
  for (const [style, name] of lines) {
    for (const run of runsOf(points, name)) {
      const places = run.map((point) => `${x(point.time).toFixed(1)} ${y(point[name]).toFixed(1)}`);
      if (places.length === 1) places.push(places[0]);
      if (area) {
        const [first, last] = [x(run[0].time).toFixed(1), x(run.at(-1).time).toFixed(1)];
        const floor = height - BOTTOM;
        made.append(svg("path", { class: "area", d: `M${first} ${floor}L${places.join("L")}L${last} ${floor}Z` }));
      }
      made.append(svg("path", { class: style, d: `M${places.join("L")}` }));
    }
  }
  host.replaceChildren(made);
}

// How many minutes a plot shows: no more than there are points for.
function spanOf(points, now) {
  const passed = points.length ? now - points[0].time : 0;
  return [1, 2, 5].find((minutes) => passed <= 60 * minutes) || KEPT_SECONDS / 60;
}

// The points that have a number, without a gap between them.
function runsOf(points, name) {
  const runs = [];
  let before = null;
  for (const point of points) {
    const has = point[name] !== null;
    if (has && before !== null && point.time - before < 4 * POLL_SECONDS) runs.at(-1).push(point);
    else if (has) runs.push([point]);
    before = has ? point.time : null;
  }
  return runs;
}

function among(points, name) {
  return points.map((point) => point[name]).filter((value) => value !== null);
}

function drawRatio(host, points, now) {
  const found = among(points, "ratio");
  const says = found.length
    ? `Now ${ofRatio(points.at(-1).ratio)}, lowest ${ofRatio(Math.min(...found))}, highest ${ofRatio(Math.max(...found))}.`
    : "No calls yet.";
  draw(host, points, now, {
    label: `Hit ratio over time. ${says}`,
    lines: [["one", "ratio"]],
    ticks: [[0, "0 %"], [0.25, "25 %"], [0.5, "50 %"], [0.75, "75 %"], [1, "100 %"]],
    area: true,
  });
  return [[null, says]];
}

const POWERS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10];

function drawLatency(host, points, now) {
  const last = points.at(-1) || { median: null, high: null, fill: null };
  const found = ["median", "high", "fill"].flatMap((name) => among(points, name));
  const low = Math.max(0, POWERS.findLastIndex((power) => power <= Math.min(...found, 1e-4)));
  let high = POWERS.findIndex((power) => power >= Math.max(...found, 1e-2));
  if (high < 0) high = POWERS.length - 1;
  const says = [
    ["one", `hits, median ${ofSeconds(last.median)}`],
    ["two", `hits, 95 % ${ofSeconds(last.high)}`],
    ["three", `fills, median ${ofSeconds(last.fill)}`],
  ];
  draw(host, points, now, {
    label: `Latency over time, on a logarithmic scale. Now: ${says.map((each) => each[1]).join("; ")}.`,
    lines: [["one", "median"], ["two", "high"], ["three", "fill"]],
    ticks: POWERS.slice(low, high + 1).map((power) => [power, ofSeconds(power)]),
    scale: Math.log10,
  });
  return says;
}

function drawCalls(host, points, now) {
  const most = Math.max(1, ...among(points, "rate"));
  const step = 10 ** Math.floor(Math.log10(most));
  const top = [1, 2, 5, 10].map((times) => times * step).find((value) => value >= most);
  const says = `Now ${ofRate(points.length ? points.at(-1).rate : null)} a second, at most ${ofRate(points.length ? most : null)}.`;
  draw(host, points, now, {
    label: `Calls a second over time. ${says}`,
    lines: [["one", "rate"]],
    ticks: [[0, "0"], [top / 2, ofRate(top / 2)], [top, ofRate(top)]],
    area: true,
  });
  return [[null, says]];
}
