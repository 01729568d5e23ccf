// Texts for benchmarks, equal on every machine and in every run. Written for this purpose.

const VERBS = 'open read write close find sort merge split retry drain flush watch queue store fetch check'.split(' ');
const NOUNS = 'lock file page node edge frame batch chunk token score route cache table block entry stream'.split(' ');
const KINDS = 'stale shared empty broken nested remote sealed mapped pinned spare'.split(' ');

/** A seeded generator of whole numbers below `n`: the high bits of a 32-bit linear congruential generator. */
function dice(seed) {
  let state = BigInt.asUintN(32, BigInt(seed) * 2654435761n);
  return (n) => {
    state = BigInt.asUintN(32, state * 1664525n + 1013904223n);
    return Number((state >> 8n) % BigInt(n));
  };
}

const upper = (word) => word[0].toUpperCase() + word.slice(1);

/** Texts like code, of about 220 WordPiece tokens. */
export function chunks(count, seed = 1) {
  const roll = dice(seed);
  const pick = (words) => words[roll(words.length)];
  return Array.from({ length: count }, () => {
    const [verb, noun, kind, other] = [pick(VERBS), pick(NOUNS), pick(KINDS), pick(NOUNS)];
    const lines = [
      `/** Asks the ${kind} ${noun} to ${verb} its ${other}. */`,
      `async ${verb}${upper(kind)}${upper(noun)}(${other}, { limit = ${roll(900)} } = {}) {`,
      `  if (!${other}) throw new TypeError("no ${other} to ${verb}");`,
    ];
    while (lines.length < 11) {
      const [a, b, does] = [pick(NOUNS), pick(NOUNS), pick(VERBS)];
      const bodies = [
        `  const ${a}${upper(b)} = await this.${does}${upper(a)}(${other}, limit);`,
        `  for (const ${a} of this.${b}s.values()) ${a}.${does}(${noun}, ${roll(4096)});`,
        `  while (${a}.size > ${roll(4096)}) this.${b}.${does}(${a}.pop());`,
        `  log.debug("${does} %s after %d ${a}s", ${other}, ${b}.length);`,
      ];
      lines.push(bodies[roll(bodies.length)]);
    }
    lines.push(`  return ${other};`, '}');
    return lines.join('\n');
  });
}

/** Questions of about 15 WordPiece tokens. */
export function queries(count, seed = 2) {
  const roll = dice(seed);
  const pick = (words) => words[roll(words.length)];
  return Array.from(
    { length: count },
    () => `where does the ${pick(KINDS)} ${pick(NOUNS)} ${pick(VERBS)} a ${pick(NOUNS)} before we ${pick(VERBS)} it`,
  );
}
