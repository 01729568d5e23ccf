// Turns the results of `compare.mjs` into a Markdown table and an SVG picture. Equal results give equal bytes.

/** The figures of a run, and whether more is better. Keys as in the peers' `measure.mjs`. */
const ROWS = [
  ['chunks_per_s', 'chunks/s', 'more'],
  ['single_p50_ms', 'one query, p50 ms', 'less'],
  ['single_p99_ms', 'one query, p99 ms', 'less'],
  ['ten_p50_ms', 'ten queries, p50 ms', 'less'],
  ['first_ms', 'first embedding, ms', 'less'],
  ['node_rss_added_mb', 'RSS added to Node, MB', 'less'],
  ['daemon_anon_mb', 'daemon, anonymous MB', 'less'],
  ['daemon_file_mb', 'daemon, file-backed MB', 'less'],
];

/** The median of a key's values. Null where no run has it. */
export function median(runs, key) {
  const found = runs.map((run) => run[key]).filter((value) => typeof value === 'number').sort((a, b) => a - b);
  return found.length > 0 ? found[Math.floor(found.length / 2)] : null;
}

const digits = (x) => (x >= 100 ? String(Math.round(x)) : String(Number(x.toPrecision(3))));
/** How many times better the first engine is than `theirs`. Below 1 it is worse. */
const ratio = (ours, theirs, better) => {
  const times = better === 'more' ? ours / theirs : theirs / ours;
  return times >= 10 ? String(Math.round(times)) : times.toPrecision(2);
};
const peersOf = (engines) => engines.filter(({ peer }) => peer);

/** A Markdown table: a row for each figure, a column for each engine, and the ratio of the first engine to each peer. */
export function table({ engines }) {
  const peers = peersOf(engines);
  const lines = [['', ...engines.map(({ name }) => name), ...peers.map(({ name }) => `vs ${name}`)]];
  for (const [key, label, better] of ROWS) {
    const value = ({ runs }) => median(runs, key);
    const ours = value(engines[0]);
    lines.push([
      label,
      ...engines.map((engine) => (value(engine) === null ? '' : digits(value(engine)))),
      ...peers.map((peer) => (ours !== null && value(peer) !== null ? `${ratio(ours, value(peer), better)}x` : '')),
    ]);
  }
  lines.splice(1, 0, lines[0].map((_, i) => (i === 0 ? '---' : '---:')));
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n');
}

/** Colours for light and dark pages. GitHub shows an SVG by the reader's setting. */
const STYLE = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .head { font-weight: 600; font-size: 14px } .muted { fill: #59636e; font-size: 12px } .ours { font-weight: 600 }
  .end { text-anchor: end } .card { fill: #ffffff; stroke: #d1d9e0 }
  .bar { fill: #0969da } .shared { fill: #80bbff } .peer { fill: #939ca6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .muted { fill: #9198a1 } .card { fill: #0d1117; stroke: #3d444d }
    .bar { fill: #4493f8 } .shared { fill: #1f5fb3 } .peer { fill: #6b737d }
  }`;
const [WIDTH, PAD, LEFT, BAR, ROW] = [760, 20, 190, 370, 24];

const escape = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const text = (x, y, content, style = '') => `<text x="${x}" y="${y}"${style && ` class="${style}"`}>${escape(content)}</text>`;
const bar = (x, y, width, style) => `<rect x="${x}" y="${y}" width="${Math.max(1, Math.round(width))}" height="${ROW - 8}" rx="2" class="${style}"/>`;

/** The panels of the picture. An engine's value may be a sum of parts, such as this process's memory and the daemon's. */
const PANELS = [
  { head: 'Throughput', note: 'chunks a second, more is better', better: 'more', unit: '', parts: ['chunks_per_s'] },
  { head: 'Latency', note: 'one query, p50 in ms, less is better', better: 'less', unit: ' ms', parts: ['single_p50_ms'] },
  { head: 'Memory', note: 'added, in MB, less is better', better: 'less', unit: ' MB', parts: ['node_rss_added_mb', 'daemon_anon_mb'] },
];

/** An SVG of horizontal bars: a panel for each figure, and at each peer how many times better the first engine is. */
export function plot({ engines, machine, commit, date, rounds }) {
  const out = [];
  const sentences = [];
  let y = PAD;
  for (const { head, note, better, unit, parts } of PANELS) {
    const rows = engines.map((engine) => {
      const values = parts.map((key) => median(engine.runs, key) ?? 0);
      return { ...engine, values, sum: values.reduce((a, b) => a + b, 0) };
    });
    const most = Math.max(...rows.map(({ sum }) => sum));
    out.push(text(PAD, y + 14, head, 'head'), text(LEFT, y + 14, note, 'muted'), text(WIDTH - PAD, y + 14, engines.length > 1 ? 'ratio' : '', 'muted end'));
    y += 26;
    for (const { name, peer, values, sum } of rows) {
      let x = LEFT;
      values.forEach((value, i) => {
        if (value === 0) return;
        const width = (value / most) * BAR;
        out.push(bar(x, y, width, peer ? 'peer' : i === 0 ? 'bar' : 'shared'));
        x += Math.max(1, Math.round(width));
      });
      const shown = values.length > 1 && values[1] > 0 ? `${digits(values[0])} + ${digits(values[1])}${unit}` : `${digits(sum)}${unit}`;
      const times = peer ? `${ratio(rows[0].sum, sum, better)}×` : '';
      out.push(text(PAD, y + 13, name, peer ? '' : 'ours'), text(x + 8, y + 13, shown, peer ? '' : 'ours'));
      if (times) out.push(text(WIDTH - PAD, y + 13, times, 'end'));
      sentences.push(`${head}, ${name}: ${shown}${times && `, ratio ${times}`}`);
      y += ROW;
    }
    y += 14;
  }
  const mapped = median(engines[0].runs, 'daemon_file_mb');
  const notes = [
    `Ratio: how many times better ${engines[0].name} is; below 1 it is worse.`,
    'Memory: added to Node + anonymous in the daemon, which all processes share.',
    // Without this note the memory ratio would claim more than was measured.
    mapped === null ? '' : `Not counted: what the daemon maps of files, ${digits(mapped)} MB. The peers' figures contain their models.`,
    `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; medians of ${rounds} run${rounds === 1 ? '' : 's'} in one sitting, ${date}, ${commit}.`,
  ];
  for (const note of notes.filter(Boolean)) {
    y += 4;
    out.push(text(PAD, y + 8, note, 'muted'));
    y += 14;
  }
  const height = y + PAD - 6;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="t d">
<title id="t">${escape(`${engines[0].name} and its peers`)}</title>
<desc id="d">${escape(`${sentences.join('. ')}.`)}</desc>
<style>${STYLE}
</style>
<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="6" class="card"/>
${out.join('\n')}
</svg>
`;
}
