// Which of some texts is nearest to a question.
//
//   node examples/embed.mjs "a question" "a text" "another text" ...

import { connect } from '../index.js'; // in your program: from 'offheap'

const [question = 'how do I pay', ...given] = process.argv.slice(2);
const texts = given.length > 0 ? given : ['The cashier takes cards and coins.', 'The warehouse is closed on Sundays.', 'Refunds take three days.'];

const client = await connect(); // without a project: embed only
const { vector: query, space } = await client.embed(question, { kind: 'query' });
const rows = await client.embedBatch(texts);
if (rows.space !== space) throw new Error('vectors of two spaces must not be compared');

// Vectors have length 1: their dot product is the cosine.
const cosine = (row) => row.reduce((sum, value, i) => sum + value * query[i], 0);
const ranked = texts.map((text, i) => ({ text, score: cosine(rows.row(i)), truncated: rows.truncated[i] })).sort((a, b) => b.score - a.score);
for (const { text, score, truncated } of ranked) console.log(`${score.toFixed(3)}  ${text}${truncated ? '  (only its beginning was read)' : ''}`);
await client.close();
