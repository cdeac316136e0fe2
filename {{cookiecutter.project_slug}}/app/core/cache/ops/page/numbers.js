// Numbers: how they are written, and how counters that only grow become points over time.

const POLL_SECONDS = 2;
const WINDOW_SECONDS = 10;
const KEPT_SECONDS = 600;

const counting = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });
const dates = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

const NOTHING = "–";

function ofCount(number) {
  return counting.format(number);
}

function ofRatio(ratio) {
  return ratio === null ? NOTHING : `${(100 * ratio).toFixed(ratio < 1 && ratio > 0.995 ? 2 : 1)}\u00a0%`;
}

function ofRate(rate) {
  return rate === null ? NOTHING : rate < 10 ? rate.toFixed(1) : counting.format(rate);
}

function ofSeconds(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds === 0) return "0\u00a0s";
  if (seconds < 0.001) return `${precise.format(seconds * 1e6)}\u00a0µs`;
  if (seconds < 1) return `${precise.format(seconds * 1e3)}\u00a0ms`;
  if (seconds < 120) return `${precise.format(seconds)}\u00a0s`;
  if (seconds < 7200) return `${precise.format(seconds / 60)}\u00a0min`;
  if (seconds < 172800) return `${precise.format(seconds / 3600)}\u00a0h`;
  return `${precise.format(seconds / 86400)}\u00a0days`;
}

function ofBytes(bytes) {
  if (bytes < 1000) return `${bytes}\u00a0B`;
  return bytes < 1e6 ? `${precise.format(bytes / 1e3)}\u00a0kB` : `${precise.format(bytes / 1e6)}\u00a0MB`;
}

function ofTime(seconds) {
  return clock.format(new Date(seconds * 1000));
}

function ofDate(seconds) {
  return dates.format(new Date(seconds * 1000));
}

function sumOf(words) {
  return Object.values(words).reduce((sum, number) => sum + number, 0);
}

// Counters of several functions, or processes, added up.
function emptySum(bounds) {
  const times = () => new Array(bounds.length + 1).fill(0);
  return {
    calls: 0, served: 0, hits: 0, misses: 0, runs: 0,
    hitSeconds: 0, fillSeconds: 0, hitTimes: times(), fillTimes: times(), reasons: {},
  };
}

function addTo(sum, counters) {
  const served = counters.hits + counters.near_hits + counters.stale;
  sum.served += served;
  sum.hits += served;
  sum.misses += counters.misses + counters.shared;
  sum.calls += served + counters.misses + counters.shared + sumOf(counters.bypasses);
  sum.runs += counters.stored + sumOf(counters.refused) + counters.raised;
  sum.hitSeconds += counters.hit_seconds;
  sum.fillSeconds += counters.fill_seconds;
  counters.hit_times.forEach((number, at) => { sum.hitTimes[at] += number; });
  counters.fill_times.forEach((number, at) => { sum.fillTimes[at] += number; });
  const reasons = [["not stored", counters.refused], ["past the cache", counters.bypasses]];
  for (const [what, words] of reasons) {
    for (const [word, number] of Object.entries(words)) {
      const name = `${what}: ${word}`;
      sum.reasons[name] = (sum.reasons[name] || 0) + number;
    }
  }
  if (counters.raised) sum.reasons.raised = (sum.reasons.raised || 0) + counters.raised;
}

function ratioOf(sum) {
  return sum.calls ? sum.served / sum.calls : null;
}

// About the duration below which this share of the counted ones are; null if there are none.
function quantile(bounds, times, share) {
  const all = times.reduce((sum, number) => sum + number, 0);
  let left = all * share;
  if (!all) return null;
  for (let at = 0; at < times.length; at += 1) {
    if (times[at] && left <= times[at]) {
      const low = at ? bounds[at - 1] : bounds[0] / 2;
      return low * 2 ** (left / times[at]);
    }
    left -= times[at];
  }
  return bounds[bounds.length - 1] * 2;
}

function totalOf(process, bounds) {
  const sum = emptySum(bounds);
  for (const counters of Object.values(process.prefixes)) addTo(sum, counters);
  return sum;
}

// The last samples of each process, so that what happened lately is a difference.
class Samples {
  constructor() {
    this.of = new Map();
  }

  add(processes, bounds) {
    const there = new Set(processes.map((process) => process.id));
    for (const id of this.of.keys()) if (!there.has(id)) this.of.delete(id);
    for (const process of processes) {
      const kept = this.of.get(process.id) || [];
      const last = kept.at(-1);
      if (!last || process.published > last.process.published) {
        kept.push({ process, total: totalOf(process, bounds) });
      }
      while (kept.length > 2 && kept[1].process.published <= kept.at(-1).process.published - WINDOW_SECONDS) {
        kept.shift();
      }
      this.of.set(process.id, kept);
    }
  }

  latest(ids) {
    return ids.map((id) => this.of.get(id)).filter(Boolean).map((kept) => kept.at(-1).process);
  }

  // What these processes did in the last seconds.
  lately(ids, bounds) {
    const sum = emptySum(bounds);
    let rate = null;
    for (const id of ids) {
      const kept = this.of.get(id);
      if (!kept || kept.length < 2) continue;
      const [first, last] = [kept[0], kept.at(-1)];
      const passed = last.process.published - first.process.published;
      for (const name of ["calls", "served"]) sum[name] += Math.max(0, last.total[name] - first.total[name]);
      for (const name of ["hitTimes", "fillTimes"]) {
        last.total[name].forEach((number, at) => { sum[name][at] += Math.max(0, number - first.total[name][at]); });
      }
      rate = (rate || 0) + Math.max(0, last.total.calls - first.total.calls) / passed;
    }
    return {
      ratio: ratioOf(sum),
      rate,
      median: quantile(bounds, sum.hitTimes, 0.5),
      high: quantile(bounds, sum.hitTimes, 0.95),
      fill: quantile(bounds, sum.fillTimes, 0.5),
    };
  }
}
