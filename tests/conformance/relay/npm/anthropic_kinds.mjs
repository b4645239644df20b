// What programs do with Anthropic's npm SDK beyond single messages. Prints what they saw as JSON.
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { cities, failing, key, model, url } from './asked.mjs';

const client = new Anthropic({ authToken: key, apiKey: null, baseURL: url, maxRetries: 0 });
const seen = {};
const say = (content) => [{ role: 'user', content }];
const ask = { model, max_tokens: 200 };

const weather = betaZodTool({
  name: 'get_weather',
  description: 'Now.',
  inputSchema: z.object({ city: z.string() }),
  run: ({ city }) => `rain in ${city}`,
});
const runner = client.beta.messages.toolRunner({ ...ask, messages: say(cities), tools: [weather] });
seen.run = (await runner.runUntilDone()).content[0].text;
const format = zodOutputFormat(z.object({ name: z.string(), age: z.number() }));
const parsed = await client.messages.parse({ ...ask, messages: say('{"name": "Ada", "age": 36}'), output_config: { format } });
seen.parsed = Object.keys(parsed.parsed_output);

const batches = client.messages.batches;
const requests = ['one', 'two'].map((name) => ({ custom_id: name, params: { ...ask, messages: say(name) } }));
let batch = await batches.create({ requests });
while (batch.processing_status !== 'ended') batch = await batches.retrieve(batch.id);
seen.results = {};
for await (const row of await batches.results(batch.id)) seen.results[row.custom_id] = row.result.message.content[0].text;
const later = await batches.create({ requests });
seen.batches = [];
for await (const each of batches.list({ limit: 1 })) seen.batches.push(each.id);
seen.batches = seen.batches.indexOf(later.id) === 0 && seen.batches[1] === batch.id;
seen.deleted = (await batches.delete(batch.id)).type;

const page = await toFile(Buffer.from('a page'), 'page.txt', { type: 'text/plain' });
const file = await client.beta.files.upload({ file: page });
seen.file = [file.filename, file.mime_type, file.size_bytes];
seen.listed = [];
for await (const each of client.beta.files.list({ limit: 1 })) seen.listed.push(each.id);
seen.listed = seen.listed.includes(file.id);
await client.beta.files.delete(file.id);
seen.gone = await failing(() => client.beta.files.retrieveMetadata(file.id));

seen.models = [];
for await (const each of client.models.list({ limit: 2 })) seen.models.push(each.id);
seen.models = seen.models.includes(model) && new Set(seen.models).size === seen.models.length;
console.log(JSON.stringify(seen));
